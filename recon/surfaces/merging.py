"""Contains the merging of depth maps to one surface: where several views show the same place, one of them keeps its pixel.

Behind the views there may be a dimension of scenes that are worked on together; in the pipeline there is none.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.geometry import invert_rigid, project, unproject
from recon.surfaces.consistency import compare, sample

COARSER = 1.4  # a pixel that is this many times longer on the surface than ours does not stand for ours
GRAZING = 0.1  # cosine between ray and normal, below which what a depth map says of the slant is noise
SAME_DEPTH = 0.02  # relative; what is nearer than that stands before a surface


def footprints(depth: Tensor, K: Tensor) -> Tensor:  # [V, ..., h, w], [V, ..., 3, 3] -> [V, ..., h, w]
    """The width of a pixel on a surface that faces the camera, in the world's unit."""
    return depth / K[..., [0, 1], [0, 1]].mean(-1)[..., None, None]


def finest_first(depth: Tensor, mask: Tensor, K: Tensor) -> Tensor:  # [V, ..., h, w] twice, [V, ..., 3, 3] -> [V, ...] int64
    """The views (of each scene) in the order of their mean pixel size; those without a pixel in mask come last."""
    size = torch.where(mask, footprints(depth, K), 0).sum((-2, -1)) / mask.sum((-2, -1))  # 0 / 0: sorted as the largest
    return size.argsort(dim=0, stable=True)


def fuse_depth(depth: Tensor, relative_error: Tensor, mask: Tensor, K: Tensor, cam_to_world: Tensor, partners: list[list[int]]) -> Tensor:
    """Depth [V, ..., h, w] as the mean of all views that agree on a pixel, weighted by 1 / error^2; pixels outside of mask stay as they are."""
    hidden = torch.where(mask, depth, torch.nan)
    weight = relative_error.clamp(min=1e-4) ** -2
    out = depth.clone()
    for a, others in enumerate(partners):
        if not others:
            continue
        points = unproject(depth[a], K[a], cam_to_world[a])
        total, sum_ = weight[a].clone(), (weight[a] * depth[a].log())
        for b in others:
            same = compare(depth[a], K[a], cam_to_world[a], hidden[b], K[b], cam_to_world[b], points=points)
            there = sample(weight[b].unsqueeze(-3), same.xy, "nearest").squeeze(-3) * same.agrees
            total += there
            sum_ += torch.where(same.agrees, there * same.depth.clamp(min=1e-9).log(), 0)
        out[a] = torch.where(mask[a], (sum_ / total).exp(), depth[a])
    return out


def closed(mask: Tensor) -> Tensor:  # [..., h, w] bool -> [..., 1, h, w] 0 or 1
    """The mask without its gaps of a pixel or two, and no larger: a rim that it claimed beyond itself would be a crack in the merged surface."""
    grown = F.max_pool2d(mask.float().unsqueeze(-3), 3, 1, 1)
    return -F.max_pool2d(-grown, 3, 1, 1)


def coarseness(depth: Tensor, K: Tensor) -> Tensor:  # [..., h, w], [..., 3, 3] -> [..., h, w]
    """How long a pixel is on its surface, in the world's unit: its footprint, drawn out where the surface is seen at a slant."""
    points = unproject(depth, K)
    along, down = points.diff(dim=-2), points.diff(dim=-3)
    normal = torch.linalg.cross(torch.cat([along, along[..., -1:, :]], -2), torch.cat([down, down[..., -1:, :, :]], -3))
    cosine = (normal * points).sum(-1).abs() / (normal.norm(dim=-1) * points.norm(dim=-1)).clamp(min=1e-12)
    return footprints(depth, K) / cosine.clamp(min=GRAZING)


def one_layer(depth: Tensor, mask: Tensor, K: Tensor, cam_to_world: Tensor, partners: list[list[int]], order: list[int]) -> Tensor:
    """Which pixels of mask [V, ..., h, w] are left when each place of the surface is shown by one view: the one that sees it best.

    Views are taken in the given order (see finest_first), so that large parts of the surface come from one. A pixel goes where it agrees with a kept
    pixel of an earlier view that is not much coarser; where one is much coarser, it goes instead, as on a wall that an earlier view sees at a slant.
    """
    size = torch.stack([coarseness(*view) for view in zip(depth, K, strict=True)])  # of hundreds at once the rays alone would take gigabytes
    kept = mask.clone()

    def outdone(a: int, b: int, points: Tensor, coarser: float) -> Tensor:  # [..., h, w] bool
        """The pixels of a that agree with a kept pixel of b that is less than `coarser` times as coarse."""
        same = compare(depth[a], K[a], cam_to_world[a], depth[b], K[b], cam_to_world[b], points=points)
        stands = sample(torch.cat([closed(kept[b]), size[b].unsqueeze(-3)], -3), same.xy, "nearest")
        return same.agrees & (stands.select(-3, 0) > 0.5) & (stands.select(-3, 1) < coarser * size[a])

    for place, a in enumerate(order):
        others = [v for v in order[:place] if v in partners[a]]
        points = unproject(depth[a], K[a], cam_to_world[a]) if others else depth[a]
        for b in others:
            kept[a] &= ~outdone(a, b, points, COARSER)
        for b in others:
            kept[b] &= ~outdone(b, a, unproject(depth[b], K[b], cam_to_world[b]), 1 / COARSER)
    return kept


def contradicted(depth: Tensor, seen: Tensor, K: Tensor, cam_to_world: Tensor, partners: list[list[int]]) -> Tensor:  # -> [V, h, w] bool
    """Pixels that partners look through: they stand before a surface that a partner has seen.

    A guess (a pixel that is not `seen` itself) goes by one such witness; what is seen goes by two, when no more partners see it at its depth.
    """
    surface = torch.where(seen, depth, 0)
    out = torch.zeros_like(seen)
    shape = depth.shape[1:]
    for a, others in enumerate(partners):
        points = unproject(depth[a], K[a], cam_to_world[a]) if others else depth[a]
        through, there = (torch.zeros(shape, dtype=torch.int32, device=depth.device) for _ in range(2))
        for b in others:
            xy, z = (x.unflatten(0, shape) for x in project(points.flatten(0, 1), K[b], invert_rigid(cam_to_world[b])))
            behind = sample(surface[b][None], xy, "nearest")[0]
            through += (z > 0) & (z < (1 - SAME_DEPTH) * behind)
            there += (z - behind).abs() < SAME_DEPTH * behind
        out[a] = torch.where(seen[a], (through > 1) & (through > there), through > 0)
    return out


def off_surface(depth: Tensor, jump: float = 0.03) -> Tensor:  # [V, h, w] -> [V, h, w] bool
    """Pixels that hang between two surfaces: their 3x3 neighbours span more than `jump` in log depth and they lie near neither end."""
    logs = depth.log()[:, None]
    highest, lowest = F.max_pool2d(logs, 3, 1, 1), -F.max_pool2d(-logs, 3, 1, 1)
    between = torch.minimum(highest - logs, logs - lowest)
    return ((highest - lowest > jump) & (between > 0.25 * (highest - lowest)))[:, 0]
