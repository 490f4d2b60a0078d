"""Contains the weights of parity fixtures, recomputed from the names of their entries (recipe "rs-crc32-v1" of the fixtures' README)."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

Manifest = Mapping[str, Mapping[str, Any]]  # published name -> {"shape": [...], "dtype": "float32", maybe "alias_of": name}
TABLES = ("token", "pos_embed", "embeddings", "position")  # parameters of several dimensions that are no matrices
CONSTANTS = ("ray_dirs", "sh_to_v_transform", "v_to_sh_transform")  # buffers whose values the network computes


def entry(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 values drawn from a generator seeded by the name, scaled to what the entry is."""
    draws = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(int(np.prod(shape))).astype(np.float32).reshape(shape)
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.float32)
    if leaf == "running_var":
        return 1 + np.float32(0.1) * np.abs(draws)
    if len(shape) >= 2:
        table = any(word in leaf for word in TABLES)
        return draws * np.float32(0.2 if table else 1 / np.sqrt(max(int(np.prod(shape[1:])), 1)))
    gain = leaf in ("weight", "gamma", "lambda1", "weight_g")
    return np.float32(gain) + np.float32(0.1) * draws


def state_dict(manifest: Manifest, fixture: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
    """The entries of a manifest under their published names, with what a fixture changes: `overrides`, `explicit` and `explicit_tensors`."""
    fixture = fixture or {}
    state: dict[str, Tensor] = {}
    for name, told in manifest.items():
        if name in CONSTANTS:
            continue
        if "alias_of" in told:
            state[name] = state[told["alias_of"]]
            continue
        dtype, shape = getattr(torch, told["dtype"]), tuple(told["shape"])
        value = torch.from_numpy(np.asarray(entry(name, shape), np.float32)) if dtype.is_floating_point else torch.zeros(shape, dtype=dtype)
        for part, factor in (fixture.get("overrides") or {}).items():
            value = value * factor if part in name and dtype.is_floating_point else value
        state[name] = value
    for target, change in (fixture.get("explicit") or {}).items():
        _change(state, target, change)
    return state | dict(fixture.get("explicit_tensors") or {})


def _change(state: dict[str, Tensor], target: str, change: float | str) -> None:
    """One `explicit` line: "name" or "name[3:]" set to a number, or "+= number"."""
    found = re.fullmatch(r"(.+?)(?:\[(\d+):\])?", target)
    assert found, target
    values = state[found[1]][int(found[2] or 0) :] if found[2] else state[found[1]]
    operation, _, number = str(change).rpartition(" ")
    if operation == "+=":
        values.add_(float(number))
    else:
        values.fill_(float(number))
