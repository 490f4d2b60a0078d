"""Contains the merging of depth maps to one surface: where several views show the same place, one of them keeps its pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.geometry import unproject
from recon.surfaces.consistency import compare

COARSER = 1.4  # a pixel that is this many times larger than ours does not stand for ours
SAME_PX, SAME_DEPTH = 1.0, 0.02  # how near a kept pixel must be in the picture, and in depth


def footprints(depth: Tensor, K: Tensor) -> Tensor:  # [V, h, w], [V, 3, 3] -> [V, h, w]
    """The width of a pixel on a surface that faces the camera, in the world's unit."""
    return depth / K[:, [0, 1], [0, 1]].mean(1)[:, None, None]


def fuse_depth(depth: Tensor, relative_error: Tensor, mask: Tensor, K: Tensor, cam_to_world: Tensor, partners: list[list[int]]) -> Tensor:
    """Depth [V, h, w] as the mean of all views that agree on a pixel, weighted by 1 / error^2; pixels outside of mask stay as they are."""
    points = unproject(depth, K, cam_to_world)
    hidden = torch.where(mask, depth, torch.nan)
    weight = relative_error.clamp(min=1e-4) ** -2
    out = depth.clone()
    for a, others in enumerate(partners):
        total, sum_ = weight[a].clone(), (weight[a] * depth[a].log())
        for b in others:
            same = compare(depth[a], K[a], cam_to_world[a], hidden[b], K[b], cam_to_world[b], points=points[a])
            size = same.xy.new_tensor([depth.shape[2], depth.shape[1]])
            grid = (same.xy / size * 2 - 1)[None]
            there = F.grid_sample(weight[b][None, None], grid, align_corners=False, mode="nearest")[0, 0] * same.agrees
            total += there
            sum_ += torch.where(same.agrees, there * same.depth.clamp(min=1e-9).log(), 0)
        out[a] = torch.where(mask[a], (sum_ / total).exp(), depth[a])
    return out


def one_layer(depth: Tensor, mask: Tensor, K: Tensor, cam_to_world: Tensor, partners: list[list[int]]) -> Tensor:  # -> [V, h, w] bool
    """Which pixels of mask are left when each place of the surface is shown by one view: the one that sees it best, as a rule the nearest.

    Views are taken in the order of their mean pixel size, finest first; a pixel goes where it agrees with a kept pixel of an earlier view that is
    not much coarser.
    """
    size = footprints(depth, K)
    mean = [float(size[v][mask[v]].mean()) if mask[v].any() else float("inf") for v in range(len(depth))]
    order = sorted(range(len(depth)), key=lambda v: (mean[v], v))
    points = unproject(depth, K, cam_to_world)
    kept = mask.clone()
    for place, a in enumerate(order):
        for b in (v for v in order[:place] if v in partners[a]):
            same = compare(depth[a], K[a], cam_to_world[a], depth[b], K[b], cam_to_world[b], points=points[a])
            covered = F.max_pool2d(kept[b][None, None].float(), 3, 1, 1)[0, 0]
            grid = (same.xy / same.xy.new_tensor([depth.shape[2], depth.shape[1]]) * 2 - 1)[None]
            stands = F.grid_sample(torch.stack([covered, size[b]])[None], grid, align_corners=False, mode="nearest")[0]
            kept[a] &= ~(same.agrees & (stands[0] > 0.5) & (stands[1] < COARSER * size[a]))
    return kept


def off_surface(depth: Tensor, jump: float = 0.03) -> Tensor:  # [V, h, w] -> [V, h, w] bool
    """Pixels that hang between two surfaces: their 3x3 neighbours span more than `jump` in log depth and they lie near neither end."""
    logs = depth.log()[:, None]
    highest, lowest = F.max_pool2d(logs, 3, 1, 1), -F.max_pool2d(-logs, 3, 1, 1)
    between = torch.minimum(highest - logs, logs - lowest)
    return ((highest - lowest > jump) & (between > 0.25 * (highest - lowest)))[:, 0]
