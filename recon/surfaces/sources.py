"""Contains the choice of the views that a view is swept against: those that see the same surface from another place, and sharply."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recon.geometry import invert_rigid, project, unproject

SAMPLES = 24  # points along the longer side of each depth map that stand for it
LEAST_ANGLE_DEGREES, GOOD_ANGLES_DEGREES, WIDE_ANGLE_DEGREES = 0.4, (3.0, 25.0), 60.0
LEAST_OVERLAP = 0.1  # of a view's points that a source must see
TRACK_SHARE = 0.5  # of a source's worth that hangs on shared tracks, where there are any


def angle_worth(degrees: Tensor) -> Tensor:
    """0..1: nothing below LEAST_ANGLE (no parallax), all of it at GOOD_ANGLES, little at WIDE_ANGLE (other sides of things)."""
    low, high = GOOD_ANGLES_DEGREES
    rise = ((degrees / LEAST_ANGLE_DEGREES).log() / np.log(low / LEAST_ANGLE_DEGREES)).clamp(0, 1)
    fall = 1 - 0.9 * ((degrees - high) / (WIDE_ANGLE_DEGREES - high)).clamp(0, 1)
    return rise * fall


def view_worths(depth: Tensor, K: Tensor, cam_to_world: Tensor) -> Tensor:  # [V, h, w], [V, 3, 3], [V, 4, 4] -> [V, V]
    """How much view q tells of the depth of view r, [r, q], 0..1: share of r's points that q sees, times the worth of the median angle between
    their rays. The depth need only be roughly right."""
    views, height, width = depth.shape
    stride = max(1, max(height, width) // SAMPLES)
    points = unproject(depth, K, cam_to_world)[:, stride // 2 :: stride, stride // 2 :: stride].reshape(views, -1, 3).double()
    centres, world_to_cam = cam_to_world[:, :3, 3].double(), invert_rigid(cam_to_world.double())
    size = torch.tensor([width, height], dtype=torch.float64)
    worth = torch.zeros(views, views, dtype=torch.float64)
    for r in range(views):
        xy, z = project(points[r].expand(views, -1, 3), K.double(), world_to_cam)  # [V, n, 2], [V, n]
        inside = (z > 0) & (xy > 0).all(-1) & (xy < size).all(-1)
        rays = torch.nn.functional.normalize(points[r] - centres[:, None], dim=-1)  # [V, n, 3]
        angle = torch.rad2deg(torch.linalg.cross(rays, rays[r].expand_as(rays)).norm(dim=-1).clamp(max=1).asin())
        median = torch.where(inside, angle, torch.nan).nanmedian(-1).values.nan_to_num(0)
        overlap = inside.double().mean(-1)
        worth[r] = torch.where(overlap >= LEAST_OVERLAP, overlap * angle_worth(median), 0)
    return worth.fill_diagonal_(0)


def shared_tracks(view: Tensor, point: Tensor, views: int) -> Tensor:  # [O], [O] -> [V, V]
    """How many tracks two views share."""
    seen = torch.zeros(views, int(point.max()) + 1 if len(point) else 1)
    seen[view, point] = 1
    return seen @ seen.T


def choose_sources(
    depth: Tensor, K: Tensor, cam_to_world: Tensor, usable: np.ndarray, *, sharpness: Tensor, tracks: Tensor | None, most: int = 4
) -> Tensor:  # fmt: skip
    """The views [V, most] that each view is swept against, best first, -1 where there are no more; none for views that are not usable.

    depth [V, h, w] rough, on the grid of K [V, 3, 3]; usable [V] bool: whose pose is trusted; sharpness [V] > 0, compared among the views;
    tracks [V, V] of `shared_tracks`.
    """
    worth = view_worths(depth, K, cam_to_world)
    if tracks is not None:
        worth = worth * (1 - TRACK_SHARE + TRACK_SHARE * tracks / tracks.clone().fill_diagonal_(0).amax(1, keepdim=True).clamp(min=1))
    worth = worth * (sharpness / sharpness.median()).clamp(0.25, 1)
    trusted = torch.as_tensor(usable)
    worth = worth * trusted * trusted[:, None]
    value, order = worth.topk(min(most, len(depth)), dim=1)
    chosen = torch.where(value > 0, order, -1)
    return torch.nn.functional.pad(chosen, (0, most - chosen.shape[1]), value=-1)
