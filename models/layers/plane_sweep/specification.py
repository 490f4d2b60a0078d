"""Contains the plane sweep in plain PyTorch: what the kernels must equal. Differentiable, on any device; writes out the warped features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from recon.models.layers.plane_sweep.arguments import LEAST_WEIGHT, NEAREST_Z, NONE_SEES, Sweep, SweepArguments


def sweep_torch(a: SweepArguments) -> Sweep:
    """The sweep by `grid_sample`, in float32 also under autocast."""
    with torch.autocast(a.reference.device.type, enabled=False):
        places, seen = project(a)
        similarity = correlate(a, places, seen)
        if not a.pooled:
            return Sweep(similarity, seen, None)
        return Sweep(*pool(similarity, seen, a.weights))


def project(a: SweepArguments) -> tuple[Tensor, Tensor]:
    """Where each hypothesis lies in each source [M, S, D, h, w, 2] (0..1), and whether it is before it and inside [M, S, D, h, w]."""
    height, width = a.reference.shape[-2:]
    like = {"dtype": torch.float32, "device": a.reference.device}
    u, v = (torch.arange(width, **like) + 0.5) / width, (torch.arange(height, **like)[:, None] + 0.5) / height
    planes = torch.arange(a.planes, **like)[:, None, None]
    inverse_depth = (a.first[:, None] + planes * a.step[:, None]).clamp(min=0)[:, None]  # [M, 1, D, h, w]
    rows = a.matrix[..., None, None]  # sums rather than a product of matrices: that would lose digits to TF32
    x, y, z = (
        (rows[:, :, i, 0] * u + rows[:, :, i, 1] * v + rows[:, :, i, 2])[:, :, None] + inverse_depth * a.offset[:, :, i, None, None, None]
        for i in range(3)
    )
    places = torch.stack([x, y], -1) / z.clamp(min=NEAREST_Z)[..., None]
    return places, (z > NEAREST_Z) & ((places > 0) & (places < 1)).all(-1)


def correlate(a: SweepArguments, places: Tensor, seen: Tensor) -> Tensor:
    """Dot products of reference and warped source features, group by group [M, S, G, D, h, w]; 0 where not seen."""
    references, sources, planes, height, width = seen.shape
    grid = torch.where(seen[..., None], places * 2 - 1, -4.0)  # -4: outside
    maps = a.sources.float()[a.source_index.flatten()]
    warped = grid_sample(maps, grid.reshape(references * sources, planes, height * width, 2), align_corners=False, padding_mode="zeros")
    warped = warped.reshape(references, sources, a.groups, a.reference.shape[1] // a.groups, planes, height, width)
    reference = a.reference.float().reshape(references, 1, a.groups, a.reference.shape[1] // a.groups, 1, height, width)
    return (reference * warped).sum(3) * seen[:, :, None]


def pool(similarity: Tensor, seen: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted mean over the sources that see [M, G, D, h, w], `seen` itself, and the greatest similarity [M, G, D, h, w]."""
    share = seen.float() if weights is None else seen * weights[:, :, None]
    mean = (share[:, :, None] * similarity).sum(1) / share.sum(1).clamp(min=LEAST_WEIGHT)[:, None]
    best = similarity.masked_fill(~seen[:, :, None], -torch.inf).max(1).values
    return mean, seen, torch.where(seen.any(1)[:, None], best, NONE_SEES)
