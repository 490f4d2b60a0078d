"""Contains the entries of MVSplat in the table of models."""

from __future__ import annotations

from recon.models.mvsplat.model import MVSplatModel
from recon.models.mvsplat.network import MVSplatParams
from recon.models.mvsplat.published import KEYS, NAMES, configured, recognise, run, sizes
from recon.models.spec import ModelSpec, Published, Weights

PUBLISHED = Published(keys=KEYS, recognise=recognise, sizes=sizes, configured=configured, run=run)
FETCH = "the Google Drive folder that github.com/donydchen/mvsplat names"
TRAINED_ON = {"mvsplat-re10k": "RealEstate10K", "mvsplat-acid": "ACID"}
ENTRIES = {
    name: ModelSpec(
        name=name, family="mvsplat", build=MVSplatModel, params=MVSplatParams(),
        weights=Weights(file=f"{name.removeprefix('mvsplat-')}.ckpt", fetch=FETCH),
        licence=f"MIT; trained on {TRAINED_ON[name]}, whose videos are their owners'", commercial=True, needs_cameras=True, gives_gaussians=True,
        metric=False, inputs="2 or more photos, with cameras or without", outputs="Gaussians, depth", parameters=11_955_734, published=PUBLISHED,
        summary="MVSplat at 256 x 256; cameras from recon-small where none are given",
    )
    for name in NAMES
}  # fmt: skip
