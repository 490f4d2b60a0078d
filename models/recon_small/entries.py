"""Contains the default model's entry of the table of models."""

from recon.models.recon_small.model import ReconSmallModel
from recon.models.recon_small.network import ReconSmallParams
from recon.models.spec import ModelSpec, Weights

ENTRIES = {
    "recon-small": ModelSpec(
        name="recon-small",
        family="recon-small",
        build=ReconSmallModel,
        params=ReconSmallParams(),
        weights=Weights(file="recon-small.safetensors"),
        licence="as this project; trained on procedural scenes only",
        commercial=True,
        needs_cameras=False,
        gives_gaussians=True,
        metric=False,
        inputs="1 to 20 photos",
        outputs="cameras, pointmaps, Gaussians, tracks",
        parameters=20_048_354,
        summary="the default: 1 to 20 photos without cameras, on a laptop",
    )
}
