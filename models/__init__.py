"""Networks behind one protocol: the table MODELS, load_model and list_models. Nothing heavy is imported before a model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

    from recon.models.spec import ModelSpec

DEFAULT = "recon-small"
AUTO = "auto"  # the model that the weights belong to
FAMILIES = {  # folder -> names in its entries.py
    "recon_small": (DEFAULT,),
    "dust3r": ("dust3r-224-linear", "dust3r-512-linear", "dust3r-512-dpt", "mast3r-metric"),
    "mvsplat": ("mvsplat-re10k", "mvsplat-acid"),
    "triplane_gaussian": ("triplane-gaussian",),
}


def _entry(family: str, name: str) -> ModelSpec:
    return import_module(f"recon.models.{family}.entries").ENTRIES[name]


MODELS: dict[str, Callable[[], ModelSpec]] = {  # name -> function that gives the ModelSpec
    name: partial(_entry, family, name) for family, names in FAMILIES.items() for name in names
}


def model_spec(name: str) -> ModelSpec:
    """The table entry of a model; ReconError for an unknown name."""
    from recon.errors import ReconError

    if name not in MODELS:
        raise ReconError(f"unknown model {name!r}; one of: {', '.join(MODELS)}")
    return MODELS[name]()


def detect(weights: str | Path) -> str:
    """The name of the model that a checkpoint file, folder or hub id belongs to, by its keys; ReconError for one that is known to no model."""
    from recon.models.checkpoints import read_checkpoint
    from recon.models.loading import candidates, locate
    from recon.weights import WeightsError

    path = locate(weights)
    checkpoint = read_checkpoint(path)
    names = candidates(checkpoint, [make() for make in MODELS.values()])
    if not names:
        raise WeightsError(f"{path} belongs to no model here; its first keys: {', '.join(list(checkpoint.entries)[:3])}")
    return names[0]


def load_model(
    name: str = DEFAULT, *, weights: str | Path | None = None, device: str | None = None, params: Any = None,
    fast: bool | Literal["once"] = True,
) -> nn.Module:
    """The network with its weights, in evaluation mode: `.forward` takes tensors, calling it takes Images and gives a Scene.

    `name`: of `list_models()`, or "auto" for the model that `weights` belong to. `weights`: a file (.safetensors, .pth, .ckpt), a folder, a hub id
    ("owner/name", "owner/name@revision") instead of the default ones, or "random" for an untrained network; `params`: other sizes than the default
    ones or the file's; `fast`: on a GPU, networks that can take 16-bit weights, have their kernels fused (torch.compile: the first run takes
    ten seconds to a minute) and record their runs (CUDA graphs); "once": without fusing, for a single job. Raises ReconError for an unknown
    model, weights that are absent or of another network.
    """
    import torch

    from recon.errors import ReconError
    from recon.models.layers.acceleration import Accelerated
    from recon.models.loading import load_network

    if name == AUTO:
        if weights in (None, "random"):
            raise ReconError(f"model 'auto' is told by the weights: give weights=PATH, or one of: {', '.join(MODELS)}")
        name = detect(weights)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    net = load_network(model_spec(name), weights, params).eval().requires_grad_(False).to(place)
    if fast and place.type == "cuda" and isinstance(net, Accelerated):
        net.accelerate(fuse=fast is True)
    return net


def fingerprint(name: str, weights: str | Path | None) -> str | dict[str, str]:
    """Which weights these are, for a report: their file and its sha256 (of a folder, the largest file's), or "random"."""
    from recon.models.loading import locate

    if weights == "random":
        return "random"
    return _sum(model_spec(name).weights.path() if weights is None else locate(weights))


def second_stage_fingerprint(name: str) -> dict[str, str] | None:
    """The same of the network that a model runs after its own; None where there is none."""
    second = model_spec(name).second_stage
    return None if second is None else _sum(second.path())


def _sum(path: Path) -> dict[str, str]:
    import hashlib

    path = max(path.iterdir(), key=lambda file: file.stat().st_size) if path.is_dir() else path
    with open(path, "rb") as stream:
        return {"file": path.name, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def list_models() -> list[dict[str, Any]]:
    """One record a model: what a user must know of it before loading it, and its sizes as `params`."""
    from dataclasses import asdict

    keys = ("name", "family", "inputs", "outputs", "parameters", "needs_cameras", "gives_gaussians", "metric", "licence", "commercial", "summary")
    entries = [make() for make in MODELS.values()]
    return [{key: getattr(e, key) for key in keys} | {"params": asdict(e.params)} for e in entries]
