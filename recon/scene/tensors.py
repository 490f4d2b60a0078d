"""Contains what all types share: checks of shapes, moving to a device, selecting rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from recon.errors import ShapeError

Index = int | slice | list[int] | np.ndarray | Tensor


def as_tensor(value: Any) -> Tensor:
    """A tensor of the value; float64 becomes float32."""
    tensor = torch.as_tensor(np.asarray(value))
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def check_shapes(owner: object, shapes: Mapping[str, str], **sizes: int) -> dict[str, int]:
    """The size of each letter in `shapes` (field -> for example "V 4 4"); fields that are None are skipped, other values made tensors.

    A letter stands for one size throughout; sizes known before are given by name. Raises ShapeError.
    """
    for name, shape in shapes.items():
        value = getattr(owner, name)
        if value is None:
            continue
        if not isinstance(value, Tensor):
            try:
                value = as_tensor(value)
            except (TypeError, ValueError) as error:
                raise ShapeError(f"{type(owner).__name__}.{name} is {type(value).__name__}, wanted a tensor or an array") from error
            object.__setattr__(owner, name, value)
        letters, got = shape.split(), list(value.shape)
        known = dict(sizes)
        fits = len(got) == len(letters)
        for letter, size in zip(letters, got, strict=False):
            fits &= size == (int(letter) if letter.isdigit() else known.setdefault(letter, size))
        if not fits:
            told = ", ".join(f"{a}={sizes[a]}" for a in dict.fromkeys(letters) if a in sizes)
            raise ShapeError(f"{type(owner).__name__}.{name} is {got}, wanted [{', '.join(letters)}]" + (f" ({told})" if told else ""))
        sizes = known
    return sizes


def rows_of(index: Index, count: int) -> Tensor:
    """Row numbers [n] of an index into `count` rows."""
    index = index.cpu() if isinstance(index, Tensor) else torch.as_tensor(index) if isinstance(index, list | np.ndarray) else index
    return torch.arange(count)[index].reshape(-1)


class Tensors:
    """Moving and selecting, for dataclasses of tensors."""

    def to(self, device: str | torch.device) -> Self:
        """The same on another device."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.init}  # type: ignore[arg-type]
        return replace(self, **{k: v.to(device) for k, v in values.items() if isinstance(v, Tensor | Tensors)})  # type: ignore[type-var]

    def _take(self, index: Index, count: int) -> Self:
        rows = rows_of(index, count)
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        taken = {k: v[rows.to(v.device)] for k, v in values.items() if isinstance(v, Tensor)}
        taken |= {k: tuple(v[i] for i in rows.tolist()) for k, v in values.items() if isinstance(v, tuple) and len(v) == count}
        return replace(self, **taken)  # type: ignore[type-var]


class Scalable(Tensors):
    """Tensors of which some are in the world's unit: `lengths` names them."""

    lengths: ClassVar[tuple[str, ...]] = ()

    def scaled(self, factor: float) -> Self:
        """The same `factor` times as large, about the world's origin."""
        return replace(self, **{name: getattr(self, name) * factor for name in self.lengths})  # type: ignore[type-var]


def default(owner: object, name: str, value: Any) -> None:
    """Fills in a field that was left out."""
    if getattr(owner, name) is None:
        object.__setattr__(owner, name, value)


GRID_SHAPES = {"photo_width": "V", "photo_height": "V", "grid_scale": "V 2", "grid_offset": "V 2"}
