"""Contains the way from a model's name and weights to its network: packaged files, a hub's, or foreign checkpoints of any size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from recon.models.checkpoints import SUFFIXES, Checkpoint, fit, read_checkpoint
from recon.models.hub import HUB_ID, hub_folder
from recon.weights import WeightsError, load_into

if TYPE_CHECKING:
    from torch import nn

    from recon.models.spec import ModelSpec, Published


def locate(weights: str | Path) -> Path:
    """The file or folder of a path or a hub id; WeightsError when it is not there."""
    path = Path(weights)
    if path.exists() or path.suffix in SUFFIXES or not HUB_ID.fullmatch(str(weights)):
        return path
    return hub_folder(str(weights))


def candidates(checkpoint: Checkpoint, entries: list[ModelSpec]) -> tuple[str, ...]:
    """The models that a checkpoint can be of, by its keys, the likeliest first."""
    for entry in entries:
        if entry.published is not None and (names := entry.published.recognise(inner_shapes(checkpoint, entry), checkpoint.about)):
            return names
    return ()


def inner_shapes(checkpoint: Checkpoint, entry: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Shapes of the entries of the network itself, by published names."""
    assert entry.published is not None, entry.name
    return {key: tuple(value.shape) for key, value in entry.published.keys.inner(checkpoint.entries).items()}


def load_network(entry: ModelSpec, weights: str | Path | None, params: Any) -> nn.Module:
    """The network on the CPU: its sizes are `params` or read from the file. Raises WeightsError for weights of another network."""
    if weights == "random":
        return entry.build(params or entry.params)
    path = entry.weights.path() if weights is None else locate(weights)
    if entry.published is None:
        net = entry.build(params or entry.params)
        load_into(net, path)
        return net
    return from_checkpoint(entry, whole(entry.published, read_checkpoint(path), path), path, params)


def whole(published: Published, checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """The checkpoint with the parts that are outside of it: from a folder beside it, else from where they are published."""
    entries = dict(checkpoint.entries)
    for part in published.outside:
        if not any(key.startswith(part.prefix) for key in entries):
            beside = (path if path.is_dir() else path.parent) / part.folder
            other = read_checkpoint(beside if beside.is_dir() else part.weights.path())
            entries |= {f"{part.prefix}{key}": value for key, value in other.entries.items()}
    return Checkpoint(entries, checkpoint.about)


def from_checkpoint(entry: ModelSpec, checkpoint: Checkpoint, path: Path, params: Any = None) -> nn.Module:
    """The network that a foreign checkpoint holds; built without memory and then given the file's own tensors."""
    assert entry.published is not None, entry.name
    names = candidates(checkpoint, [entry])
    if params is None:
        params = entry.published.sizes(inner_shapes(checkpoint, entry), entry.params) if entry.name in names else entry.params
    with torch.device("meta"):
        net = entry.build(params)
    state = fit(checkpoint, entry.published.keys, {key: tuple(value.shape) for key, value in net.state_dict().items()}, path)
    if entry.name not in names:
        raise WeightsError(f"{path} holds {' or '.join(names) or 'another network'}, not {entry.name}")
    net.load_state_dict(state, strict=True, assign=True)
    return net
