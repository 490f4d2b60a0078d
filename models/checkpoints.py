"""Contains foreign checkpoint files read safely, and their entries fitted strictly to a network by explicit tables of names.

Read: .safetensors, sharded safetensors with their index, torch files (bare state dicts, `model` beside an argparse.Namespace, Lightning's
`state_dict`), or a folder with one of these. Torch files go through torch's restricted unpickler; nothing in a file is ever executed.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from recon.errors import ReconError
from recon.weights import WeightsError, check

Shapes = Mapping[str, tuple[int, ...]]
SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
INDEX = ".safetensors.index.json"
TABLES = ("model", "state_dict")  # where torch files keep their entries


LIGHTNING = ("lightning.fabric.utilities.data", "lightning_fabric.utilities.data", "pytorch_lightning.utilities.parsing")  # homes of AttributeDict
SAFE = [  # what torch files may hold besides tensors and plain values: data, no behaviour
    argparse.Namespace, pathlib.PosixPath, pathlib.PurePosixPath,
    *((OrderedDict, f"{package}.AttributeDict") for package in LIGHTNING),
    np.dtype, *(type(np.dtype(kind)) for kind in ("float32", "float64", "int64")),
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"), (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
]  # fmt: skip


class Checkpoint(NamedTuple):
    """A file's entries by their published names, and what it says of its configuration."""

    entries: dict[str, Tensor]
    about: str = ""  # the file's name, its argparse string or its config.json, as text

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {key: tuple(value.shape) for key, value in self.entries.items()}


@dataclass(frozen=True, kw_only=True)
class KeyTable:
    """How the published names of a family's entries become ours. All patterns are regular expressions that start at the beginning of a name."""

    renames: tuple[tuple[str, str], ...] = ()  # pattern -> replacement; each rule is applied, in order
    aliases: tuple[tuple[str, str], ...] = ()  # entries that repeat another one: pattern -> the published name of that one
    prefix: str = ""  # of the network's entries in files that hold more than the network
    beside: tuple[str, ...] = ()  # entries such files hold beside it (losses of the training), which are left out

    def own(self, published: str) -> str:
        """Our name of a published one."""
        for pattern, replacement in self.renames:
            published = re.sub(f"^{pattern}", replacement, published)
        return published

    def inner(self, entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The network's entries under their published names; entries that are neither its own nor known to lie beside it stay and will not fit."""
        if not self.prefix or not any(key.startswith(self.prefix) for key in entries):
            return dict(entries)
        return {k.removeprefix(self.prefix): v for k, v in entries.items() if not any(re.match(p, k) for p in self.beside)}

    def source_of(self, published: str) -> str | None:
        """The published name of the entry that this one repeats; None for one of its own."""
        for pattern, target in self.aliases:
            if re.match(pattern, published):
                return re.sub(f"^{pattern}", target, published)
        return None


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The entries of a file or folder, still to be fitted. Raises WeightsError for what is absent, unreadable, or would run code."""
    path = Path(path)
    try:
        if path.is_dir():
            return _read_folder(path)
        if not path.is_file():
            raise WeightsError(f"no weights file {path}")
        if path.name.endswith(INDEX):
            return _read_shards(path)
        if path.suffix == ".safetensors":
            return Checkpoint(load_file(path), path.name)
        return _read_torch(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        if isinstance(error, ReconError):
            raise
        raise WeightsError(f"{path} cannot be read as weights: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What is wrong in one line; of a pickle that holds more than data, the name of it (torch's own text advises to run it)."""
    if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"it would run {found[1]}, and only tensors and plain values are read"
    if isinstance(error, pickle.UnpicklingError):
        return "it is no torch file, or holds more than tensors and plain values"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _read_folder(folder: Path) -> Checkpoint:
    """The only checkpoint of a folder, and its config.json."""
    files = sorted(folder.glob(f"*{INDEX}")) or sorted(f for f in folder.iterdir() if f.suffix in SUFFIXES)
    if len(files) != 1:
        what = ", ".join(f.name for f in files) or "none"
        raise WeightsError(f"{folder} must hold one checkpoint ({', '.join(SUFFIXES)}), got {what}")
    found = read_checkpoint(files[0])
    config = folder / "config.json"
    return Checkpoint(found.entries, " ".join([folder.name, found.about, config.read_text() if config.is_file() else ""]))


def _read_shards(index: Path) -> Checkpoint:
    """The entries that an index names, from the files beside it."""
    names = json.loads(index.read_text())["weight_map"]
    entries: dict[str, Tensor] = {}
    for shard in sorted(set(names.values())):
        if Path(shard).name != shard:
            raise WeightsError(f"{index}: shards must lie beside it, got {shard}")
        entries |= load_file(index.parent / shard)
    if set(entries) != set(names):
        raise WeightsError(f"{index} names {len(names)} entries, its files hold {len(entries)} that differ: {sorted(set(entries) ^ set(names))[:3]}")
    return Checkpoint(entries, index.name)


def _read_torch(path: Path) -> Checkpoint:
    with torch.serialization.safe_globals(SAFE):
        try:
            raw = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # files older than torch 1.6 cannot be mapped
            raw = torch.load(path, map_location="cpu", weights_only=True)
    about = [path.name]
    if isinstance(raw, dict):
        about.append(str(getattr(raw.get("args"), "model", "")))
        raw = next((raw[table] for table in TABLES if isinstance(raw.get(table), dict)), raw)
    if not isinstance(raw, dict) or not raw or not all(isinstance(v, Tensor) for v in raw.values()):
        raise WeightsError(f"{path} holds no table of tensors")
    return Checkpoint(dict(raw), " ".join(about))


def fit(checkpoint: Checkpoint, table: KeyTable, wanted: Shapes, path: str | Path) -> dict[str, Tensor]:
    """Entries by our names with exactly the keys and shapes wanted, floats as float32. Raises WeightsError with the first keys that do not fit."""
    inner = table.inner(checkpoint.entries)
    state: dict[str, Tensor] = {}
    for name, value in inner.items():
        source = table.source_of(name)
        if source is None:
            state[table.own(name)] = value.float() if value.is_floating_point() else value
        elif source not in inner or not torch.equal(inner[source], value):
            raise WeightsError(f"{path}: {name} must repeat {source}, which is {'different' if source in inner else 'absent'}")
    check({key: tuple(value.shape) for key, value in state.items()}, wanted, Path(path))
    broken = [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise WeightsError(f"{path}: {', '.join(broken[:3])} holds values that are not finite")
    return state
