"""Weights on disk: int8 rows with float scales in safetensors, strict keys and shapes, and where the packaged ones lie.

A weights file is untrusted input: safetensors, or a torch file read with weights_only=True; nothing in it is ever executed.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from recon.errors import ReconError

SCALE = ".scale"  # "<key>.scale" [rows] beside an int8 "<key>" [rows, ...]; the value is int8 * scale


class WeightsError(ReconError):
    """A weights file that is absent, unreadable or made for another network."""


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 rows and float scales [rows] of a matrix or kernel [rows, ...]; the error is at most half a scale."""
    flat = weight.detach().float().cpu().flatten(1)
    scale = flat.abs().amax(1).clamp(min=1e-12) / 127
    return (flat / scale[:, None]).round().to(torch.int8).reshape(weight.shape), scale


def pack(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Writes a state dict: matrices and kernels named `.weight` as int8 rows, every other tensor as float16; whole or not at all."""
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        if value.dim() >= 2 and key.endswith(".weight"):
            out[key], out[key + SCALE] = quantise(value)
        else:
            out[key] = value.detach().cpu().half().contiguous()
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(out, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Key -> shape of a safetensors file, from its header alone."""
    with safe_open(path, "pt") as file:
        return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118


def _list(keys: set[str]) -> str:
    shown = sorted(keys)
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")


def check(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Raises WeightsError unless keys and shapes are the same."""
    missing, extra = set(wanted) - set(found), set(found) - set(wanted)
    if missing or extra:
        parts = [f"missing {_list(missing)}"] * bool(missing) + [f"unknown {_list(extra)}"] * bool(extra)
        raise WeightsError(f"{path} does not belong to this network: {'; '.join(parts)}")
    for key, shape in wanted.items():
        if found[key] != shape:
            raise WeightsError(f"{path}: {key} is {list(found[key])}, wanted {list(shape)}")


def _read_safetensors(path: Path, wanted: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    shapes = read_shapes(path)
    scales = {k for k in shapes if k.endswith(SCALE) and k not in wanted and k.removesuffix(SCALE) in shapes}
    check({k: s for k, s in shapes.items() if k not in scales}, wanted, path)
    state: dict[str, Tensor] = {}
    with safe_open(path, "pt") as file:
        for key, shape in wanted.items():
            value = file.get_tensor(key)
            if key + SCALE in scales:
                if value.dtype != torch.int8 or shapes[key + SCALE] != shape[:1]:
                    got = f"{value.dtype} with scales {list(shapes[key + SCALE])}"
                    raise WeightsError(f"{path}: {key} is {got}, wanted int8 with scales {list(shape[:1])}")
                value = value.float() * file.get_tensor(key + SCALE).float().reshape(-1, *[1] * (len(shape) - 1))
            elif not value.is_floating_point():
                raise WeightsError(f"{path}: {key} is {value.dtype} without scales")
            state[key] = value.float()
    return state


def _read_torch(path: Path, wanted: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    raw = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(raw, dict) and isinstance(raw.get("model"), dict):
        raw = raw["model"]
    if not isinstance(raw, dict) or not all(isinstance(v, Tensor) for v in raw.values()):
        raise WeightsError(f"{path} holds no table of tensors")
    check({k: tuple(v.shape) for k, v in raw.items()}, wanted, path)
    return {k: v.float() for k, v in raw.items()}


def read(path: str | Path, wanted: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """float32 tensors of a weights file with exactly the keys and shapes wanted; WeightsError says what is wrong with it."""
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no weights file {path}")
    try:
        state = (_read_safetensors if path.suffix == ".safetensors" else _read_torch)(path, wanted)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        if isinstance(error, ReconError):
            raise
        raise WeightsError(f"{path} cannot be read as weights: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from error
    broken = [k for k, v in state.items() if not torch.isfinite(v).all()]
    if broken:
        raise WeightsError(f"{path}: {_list(set(broken))} holds values that are not finite")
    return state


def load_into(net: nn.Module, path: str | Path) -> None:
    """Fills `net` with the weights of a file; strict."""
    net.load_state_dict(read(path, {k: tuple(v.shape) for k, v in net.state_dict().items()}), strict=True)


def assets_folder() -> Path:
    """The folder `assets`: inside the package when installed from a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "assets", package.parent / "assets"):
        if folder.is_dir():
            return folder
    return package.parent / "assets"


def packaged(name: str) -> Path:
    """Path of the default weights `name`; WeightsError when this installation has none."""
    path = assets_folder() / "weights" / name
    if not path.is_file():
        raise WeightsError(f"the default weights are absent: no file {path}; give weights=PATH, or take a checkout that holds assets/weights/")
    return path
