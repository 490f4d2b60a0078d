"""Contains the entries of DUSt3R and MASt3R in the table of models."""

from __future__ import annotations

from recon.models.dust3r.model import Dust3rModel
from recon.models.dust3r.network import Dust3rParams
from recon.models.dust3r.published import KEYS, configured, recognise, run, sizes
from recon.models.spec import ModelSpec, Published, Weights

PUBLISHED = Published(keys=KEYS, recognise=recognise, sizes=sizes, configured=configured, run=run)
LICENCE = "CC BY-NC-SA 4.0 (Naver); the training data sets ask for more"


def _spec(name: str, published_name: str, params: Dust3rParams, parameters: int, outputs: str, summary: str, *, metric: bool = False) -> ModelSpec:
    return ModelSpec(
        name=name, family="dust3r", build=Dust3rModel, params=params, weights=Weights(hub_id=f"naver/{published_name}", file="model.safetensors"),
        licence=LICENCE, commercial=False, needs_cameras=False, gives_gaussians=True, metric=metric, inputs="1 or more photos", outputs=outputs,
        parameters=parameters, published=PUBLISHED, summary=summary,
    )  # fmt: skip


_PREFIX, _OUTPUTS = "DUSt3R_ViTLarge_BaseDecoder_", "cameras, pointmaps, Gaussians"
ENTRIES = {
    entry.name: entry
    for entry in (
        _spec("dust3r-224-linear", f"{_PREFIX}224_linear", Dust3rParams(head="linear", long_side=224), 532_342_784, _OUTPUTS, "DUSt3R at 224 x 224"),
        _spec("dust3r-512-linear", f"{_PREFIX}512_linear", Dust3rParams(head="linear"), 532_342_784, _OUTPUTS, "DUSt3R at 512, linear head"),
        _spec("dust3r-512-dpt", f"{_PREFIX}512_dpt", Dust3rParams(), 571_171_208, _OUTPUTS, "DUSt3R at 512, dense head"),
        _spec(
            "mast3r-metric", "MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric", Dust3rParams(head="catmlp+dpt"), 688_638_856,
            f"{_OUTPUTS}, tracks", "MASt3R at 512: metric, with descriptors", metric=True,
        ),
    )
}  # fmt: skip
