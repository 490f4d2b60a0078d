"""Contains the entry of TriplaneGaussian in the table of models."""

from __future__ import annotations

from recon.models.spec import ModelSpec, Outside, Published, Weights
from recon.models.triplane_gaussian.model import TriplaneGaussianModel
from recon.models.triplane_gaussian.network import TriplaneGaussianParams
from recon.models.triplane_gaussian.published import FROZEN, KEYS, NAME, configured, recognise, run, sizes

DINO = Outside(prefix=FROZEN, folder="dinov2-base", weights=Weights(hub_id="facebook/dinov2-base", file="model.safetensors"))
ENTRIES = {
    NAME: ModelSpec(
        name=NAME,
        family="triplane-gaussian",
        build=TriplaneGaussianModel,
        params=TriplaneGaussianParams(),
        weights=Weights(hub_id="VAST-AI/TriplaneGaussian", file="model_lvis_rel.ckpt"),
        licence="Apache-2.0 (and DINOv2's, Apache-2.0); trained on Objaverse-LVIS, whose objects have licences of their own",
        commercial=True,
        needs_cameras=False,
        gives_gaussians=True,
        metric=False,
        inputs="1 photo of an object",
        outputs="Gaussians, depth",
        parameters=347_082_964,
        published=Published(keys=KEYS, recognise=recognise, sizes=sizes, configured=configured, run=run, outside=(DINO,)),
        summary="an object from one photo, with the frozen DINOv2-base that is outside its checkpoint",
    )
}
