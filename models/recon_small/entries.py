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
        inputs="1 to 300 photos",
        outputs="cameras, pointmaps, Gaussians, tracks",
        parameters=20_048_354,
        second_stage=Weights(file="recon-mvs.safetensors"),
        summary="the default: photos without cameras, on a laptop; what two of them see is swept by recon-mvs",
    )
}
