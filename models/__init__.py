"""Networks behind one protocol: the table MODELS, load_model and list_models. Nothing heavy is imported before a model is loaded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from recon.models.spec import ModelSpec

DEFAULT = "recon-small"


def _recon_small() -> ModelSpec:
    from recon.models.recon_small.model import ReconSmallModel
    from recon.models.recon_small.network import ReconSmallParams
    from recon.models.spec import ModelSpec, Weights

    return ModelSpec(
        name=DEFAULT,
        family="pointmap",
        build=ReconSmallModel,
        params=ReconSmallParams(),
        weights=Weights(file="recon-small.safetensors"),
        licence="as this project; trained on procedural scenes only",
        commercial=True,
        needs_cameras=False,
        gives_gaussians=True,
        metric=False,
        summary="1 to 20 photos without cameras to pointmaps, cameras and Gaussians; 20 M parameters",
    )


MODELS = {DEFAULT: _recon_small}  # name -> function that makes the ModelSpec


def model_spec(name: str) -> ModelSpec:
    """The table entry of a model; ReconError for an unknown name."""
    from recon.errors import ReconError

    if name not in MODELS:
        raise ReconError(f"unknown model {name!r}; one of: {', '.join(MODELS)}")
    return MODELS[name]()


def load_model(name: str = DEFAULT, *, weights: str | Path | None = None, device: str | None = None, params: Any = None) -> nn.Module:
    """The network with its weights, in evaluation mode: `.forward` takes tensors, calling it takes Images and gives a Scene.

    `weights`: a file (safetensors or a torch state dict) instead of the default ones, or "random" for an untrained network;
    `params`: other sizes than the default ones. Raises ReconError for an unknown model, weights that are absent or of another network.
    """
    import torch

    from recon.weights import load_into

    entry = model_spec(name)
    net = entry.build(params or entry.params)
    if weights != "random":
        load_into(net, entry.weights.path() if weights is None else weights)
    return net.eval().requires_grad_(False).to(torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))


def list_models() -> list[dict[str, Any]]:
    """One record a model: name, family, needs_cameras, gives_gaussians, metric, licence, commercial, summary, params."""
    keys = ("name", "family", "needs_cameras", "gives_gaussians", "metric", "licence", "commercial", "summary")
    entries = [make() for make in MODELS.values()]
    return [{key: getattr(e, key) for key in keys} | {"params": asdict(e.params)} for e in entries]
