"""Contains a stand-in for models/layers/plane_sweep until that branch is merged."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def plane_sweep(
    reference: Tensor, sources: Tensor, source_index: Tensor, matrix: Tensor, offset: Tensor, first: Tensor, step: Tensor, planes: int, *, groups: int = 1
) -> tuple[Tensor, Tensor]:
    """similarity [M, S, G, D, h, w] (no G where groups is 1) and seen [M, S, D, h, w]."""
    m, c, h, w = reference.shape
    s = source_index.shape[1]
    height, width = sources.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h, device=first.device) + 0.5, torch.arange(w, device=first.device) + 0.5, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)]).flatten(1)
    inverse = first[:, None] + step[:, None] * torch.arange(planes, device=first.device)[None, :, None, None]
    inverse = inverse.expand(m, planes, h, w).flatten(2)
    p = (matrix @ pixels)[:, :, None] + offset[:, :, None, :, None] * inverse[:, None, :, None]  # [M, S, D, 3, hw]
    z = p[..., 2, :]
    size = p.new_tensor([width, height])
    at = p[..., :2, :] / z.clamp(min=1e-4)[..., None, :] / size[:, None]
    seen = (z > 1e-4) & (at > 0).all(-2) & (at < 1).all(-2)
    grid = (at * 2 - 1).clamp(-4, 4).transpose(-1, -2).flatten(0, 1)  # [MS, D, hw, 2]
    warped = F.grid_sample(sources[source_index.flatten()], grid.to(sources.dtype), align_corners=False)
    both = reference.unflatten(1, (groups, -1)).flatten(3)[:, None, :, :, None] * warped.unflatten(1, (groups, -1)).unflatten(0, (m, s))
    similarity = both.sum(3).float() * seen[:, :, None]
    similarity = similarity.unflatten(-1, (h, w))
    return (similarity[:, :, 0] if groups == 1 else similarity), seen.unflatten(-1, (h, w))
