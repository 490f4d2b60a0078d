"""Contains the check of depth maps against each other: a surface that another view has at the same place is no guess.

Leading dimensions are scenes that are worked on together; in the pipeline there are none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.geometry import invert_rigid, pixel_grid, project, unproject, unproject_at

REPROJECTION_PX, DEPTH_TOLERANCE = 1.5, 0.01  # what agrees: Yao et al., MVSNet, 2018, section 4.2


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Pixels of one view against another view's depth."""

    agrees: Tensor  # [..., h, w] bool
    xy: Tensor  # [..., h, w, 2] where they lie in the other view
    depth: Tensor  # [..., h, w] what the other view says of their depth, in their own view


def sample(maps: Tensor, xy: Tensor, mode: str, padding: str = "zeros") -> Tensor:  # [..., c, h, w], [..., h', w', 2] -> [..., c, h', w']
    """The maps at pixels xy; mode and padding are grid_sample's."""
    grid = xy / xy.new_tensor([maps.shape[-1], maps.shape[-2]]) * 2 - 1
    flat = maps.reshape(-1, *maps.shape[-3:]), grid.reshape(-1, *grid.shape[-3:])
    found = F.grid_sample(*flat, mode=mode, padding_mode=padding, align_corners=False)
    return found.reshape(*xy.shape[:-3], *found.shape[1:])


def sample_depth(depth: Tensor, xy: Tensor) -> Tensor:  # [..., h, w], [..., h', w', 2] -> [..., h', w']
    """1 / z interpolated bilinearly (exact on planes), 0 outside."""
    inverse = sample(1 / depth[..., None, :, :], xy, "bilinear", "border").squeeze(-3)
    inside = ((xy > 0) & (xy < xy.new_tensor([depth.shape[-1], depth.shape[-2]]))).all(-1)
    return torch.where(inside, 1 / inverse.clamp(min=1e-12), 0)


def compare(depth_a: Tensor, K_a: Tensor, T_a: Tensor, depth_b: Tensor, K_b: Tensor, T_b: Tensor, *, points: Tensor | None = None) -> Agreement:
    """Each pixel of view a sent to view b by its depth and back by b's depth there.

    It agrees where it comes back within REPROJECTION_PX and the depth within DEPTH_TOLERANCE. depth [..., h, w], K [..., 3, 3], T [..., 4, 4]
    cam_to_world; `points` [..., h, w, 3]: a's pixels in the world, where they are at hand.
    """
    world = (unproject(depth_a, K_a, T_a) if points is None else points).flatten(-3, -2)
    shape = depth_a.shape[-2:]
    xy, z = project(world, K_b, invert_rigid(T_b))
    there = sample_depth(depth_b, xy.unflatten(-2, shape)).flatten(-2)
    returned, depth = project(unproject_at(xy, there, K_b), K_a, invert_rigid(T_a) @ T_b)
    off = (returned - pixel_grid(*shape, device=depth_a.device).flatten(0, 1)).norm(dim=-1)
    near = (depth / depth_a.flatten(-2) - 1).abs() < DEPTH_TOLERANCE
    agrees = (z > 0) & (there > 0) & (off < REPROJECTION_PX) & near
    return Agreement(agrees=agrees.unflatten(-1, shape), xy=xy.unflatten(-2, shape), depth=depth.unflatten(-1, shape))


def confirmations(depth: Tensor, K: Tensor, cam_to_world: Tensor, partners: list[list[int]]) -> Tensor:  # [V, h, w], ... -> [V, h, w] int
    """How many of its partners (views) each pixel of each view agrees with."""
    points = unproject(depth, K, cam_to_world)
    out = torch.zeros(depth.shape, dtype=torch.int32, device=depth.device)
    for a, others in enumerate(partners):
        for b in others:
            out[a] += compare(depth[a], K[a], cam_to_world[a], depth[b], K[b], cam_to_world[b], points=points[a]).agrees
    return out
