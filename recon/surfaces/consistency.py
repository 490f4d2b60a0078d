"""Contains the check of depth maps against each other: a surface that another view has at the same place is no guess."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.geometry import invert_rigid, pixel_grid, transform, unproject

REPROJECTION_PX, DEPTH_TOLERANCE = 1.5, 0.01  # what agrees: Yao et al., MVSNet, 2018, section 4.2


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Pixels of one view against another view's depth."""

    agrees: Tensor  # [h, w] bool
    xy: Tensor  # [h, w, 2] where they lie in the other view
    depth: Tensor  # [h, w] what the other view says of their depth, in their own view


def unproject_at(xy: Tensor, depth: Tensor, K: Tensor) -> Tensor:  # [..., 2], [...], [3, 3] -> [..., 3]
    """Points in camera axes of pixels with depth."""
    y = (xy[..., 1] - K[1, 2]) / K[1, 1]
    x = (xy[..., 0] - K[0, 2] - K[0, 1] * y) / K[0, 0]
    return torch.stack([x, y, torch.ones_like(x)], -1) * depth[..., None]


def sample_depth(depth: Tensor, xy: Tensor) -> Tensor:  # [h, w], [..., 2] -> [...]
    """1 / z interpolated bilinearly (exact on planes), 0 outside."""
    size = xy.new_tensor([depth.shape[1], depth.shape[0]])
    grid = (xy / size * 2 - 1).reshape(1, 1, -1, 2)
    inverse = F.grid_sample((1 / depth)[None, None], grid, align_corners=False, padding_mode="border").reshape(xy.shape[:-1])
    inside = ((xy > 0) & (xy < size)).all(-1)
    return torch.where(inside, 1 / inverse.clamp(min=1e-12), 0)


def compare(depth_a: Tensor, K_a: Tensor, T_a: Tensor, depth_b: Tensor, K_b: Tensor, T_b: Tensor, *, points: Tensor | None = None) -> Agreement:
    """Each pixel of view a sent to view b by its depth and back by b's depth there.

    It agrees where it comes back within REPROJECTION_PX and the depth within DEPTH_TOLERANCE. depth [h, w], K [3, 3], T [4, 4] cam_to_world;
    `points` [h, w, 3]: a's pixels in the world, where they are at hand.
    """
    world = unproject(depth_a, K_a, T_a) if points is None else points
    to_b, to_a = invert_rigid(T_b), invert_rigid(T_a)
    local = transform(to_b, world.reshape(-1, 3)).reshape(world.shape)
    pixels = local @ K_b.T
    xy = pixels[..., :2] / pixels[..., 2:].clamp(min=1e-9)
    there = sample_depth(depth_b, xy)
    back = transform(to_a @ T_b, unproject_at(xy, there, K_b).reshape(-1, 3)).reshape(world.shape)
    returned = back @ K_a.T
    off = (returned[..., :2] / returned[..., 2:].clamp(min=1e-9) - pixel_grid(*depth_a.shape, device=depth_a.device)).norm(dim=-1)
    agrees = (local[..., 2] > 0) & (there > 0) & (off < REPROJECTION_PX) & ((back[..., 2] / depth_a - 1).abs() < DEPTH_TOLERANCE)
    return Agreement(agrees=agrees, xy=xy, depth=back[..., 2])


def confirmations(depth: Tensor, K: Tensor, cam_to_world: Tensor, partners: list[list[int]]) -> Tensor:  # [V, h, w], ... -> [V, h, w] int
    """How many of its partners (views) each pixel of each view agrees with."""
    points = unproject(depth, K, cam_to_world)
    out = torch.zeros(depth.shape, dtype=torch.int32, device=depth.device)
    for a, others in enumerate(partners):
        for b in others:
            out[a] += compare(depth[a], K[a], cam_to_world[a], depth[b], K[b], cam_to_world[b], points=points[a]).agrees
    return out
