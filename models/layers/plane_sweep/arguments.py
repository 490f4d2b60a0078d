"""Contains what a plane sweep is given, checked once for all backends, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from recon.errors import ShapeError

NEAREST_Z, LEAST_WEIGHT, NONE_SEES = 1e-4, 1e-6, -1.0  # the kernels in cuda/plane_sweep.cu have the same numbers


class Sweep(NamedTuple):
    """The result of `plane_sweep`."""

    similarity: Tensor  # [M, S, G, D, h, w] of each source, or [M, G, D, h, w] their mean; float32
    seen: Tensor  # [M, S, D, h, w] bool: the hypothesis lies before the source, inside its picture
    best: Tensor | None  # [M, G, D, h, w] greatest similarity among the sources that see, -1 where none does; only with reduce="mean"


@dataclass(frozen=True)
class SweepArguments:
    """The arguments of `plane_sweep`; features as they were given, geometry as float32 without gradient."""

    reference: Tensor  # [M, C, h, w]
    sources: Tensor  # [N, C, H, W]
    source_index: Tensor  # [M, S] int64
    matrix: Tensor  # [M, S, 3, 3]
    offset: Tensor  # [M, S, 3]
    first: Tensor  # [M, h, w] or [M, 1, 1]
    step: Tensor  # as first
    planes: int
    groups: int
    weights: Tensor | None  # [M, S, h, w] float32
    pooled: bool

    @property
    def wants_gradient(self) -> bool:
        """Whether autograd will ask something of this sweep."""
        tensors = (self.reference, self.sources, self.weights)
        return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def checked(
    reference: Tensor, sources: Tensor, source_index: Tensor, matrix: Tensor, offset: Tensor, first: Tensor, step: Tensor, planes: int,
    groups: int, weights: Tensor | None, pooled: bool,
) -> SweepArguments:  # fmt: skip
    """The arguments as one value. Raises ShapeError with the name, what it must be and what it is."""
    _expect(reference.ndim == 4 and reference.is_floating_point(), "reference", "floats [M, C, h, w]", reference)
    references, channels, height, width = reference.shape
    fits = sources.ndim == 4 and sources.is_floating_point() and sources.shape[1] == channels
    _expect(fits, "sources", f"floats [N, {channels}, H, W], as many channels as reference", sources)
    fits = source_index.ndim == 2 and len(source_index) == references and source_index.dtype == torch.int64
    _expect(fits, "source_index", f"int64 [{references}, S], a row for each reference", source_index)
    pairs = tuple(source_index.shape)
    _expect(matrix.shape == (*pairs, 3, 3), "matrix", f"{[*pairs, 3, 3]}", matrix)
    _expect(offset.shape == (*pairs, 3), "offset", f"{[*pairs, 3]}", offset)
    for name, value in (("first", first), ("step", step)):
        fits = tuple(value.shape) in ((references, 1, 1), (references, height, width))
        _expect(fits, name, f"[{references}, 1, 1] or {[references, height, width]}", value)
    fits = weights is None or tuple(weights.shape) == (*pairs, height, width)
    _expect(fits, "weights", f"{[*pairs, height, width]}", weights)
    if weights is not None and not pooled:
        raise ShapeError('weights are of the mean over the sources: give reduce="mean" with them, or leave them out')
    if planes < 1:
        raise ShapeError(f"planes must be at least 1, got {planes}")
    if groups < 1 or channels % groups:
        raise ShapeError(f"groups must divide the {channels} channels, got {groups}")
    if not 1 <= pairs[1] <= 127:
        raise ShapeError(f"each reference is swept against 1 to 127 sources, got {pairs[1]}")
    _expect_one_device(reference, sources, source_index, matrix, offset, first, step, weights)
    if source_index.device.type == "cpu" and source_index.numel() and not 0 <= int(source_index.min()) <= int(source_index.max()) < len(sources):
        raise ShapeError(f"source_index must name rows 0 to {len(sources) - 1} of sources, got {source_index.min()} to {source_index.max()}")
    plain = lambda x: x.detach().float()
    return SweepArguments(
        reference, sources, source_index, plain(matrix), plain(offset), plain(first), plain(step), planes, groups,
        weights.float() if weights is not None else None, pooled,
    )  # fmt: skip


def _expect(holds: bool, name: str, wanted: str, got: Tensor | None) -> None:
    if not holds and got is not None:
        raise ShapeError(f"{name} must be {wanted}; got {got.dtype} {list(got.shape)}")


def _expect_one_device(*tensors: Tensor | None) -> None:
    devices = sorted({str(t.device) for t in tensors if t is not None})
    if len(devices) > 1:
        raise ShapeError(f"all arguments of a plane sweep must lie on one device; got {', '.join(devices)}")
