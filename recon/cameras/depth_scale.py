"""Contains the scale of each view's predicted depth in the world of the cameras: from tracks, or from baselines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from recon.cameras.sight import Sight
from recon.photos.moves import move_points

if TYPE_CHECKING:
    from recon.cameras.bundle import Bundle
    from recon.scene import Images


def log_scale(ratio: np.ndarray) -> float:
    """Robust centre of log ratios [n]: the median, then the mean of those within 0.3 of it."""
    middle = float(np.median(ratio))
    near = ratio[np.abs(ratio - middle) < 0.3]
    return float(near.mean()) if len(near) else middle


def depth_scales(sight: Sight, fine: Images, bundle: Bundle | None, T: np.ndarray) -> np.ndarray:
    """Log factor [V] that brings each view's depth to the world's scale; NaN where the view sees no track and nothing else tells."""
    V = len(T)
    scales = np.full(V, np.nan)
    if bundle is not None:
        for v in range(V):
            _, ratio, _ = track_ratios(sight, fine, bundle, T, v)
            if len(ratio) >= 5:
                scales[v] = log_scale(ratio)
    if np.isfinite(scales).any():
        return np.where(np.isfinite(scales), scales, np.nanmedian(scales))
    known = np.flatnonzero(np.isfinite(T).all((1, 2)))
    if len(known) >= 2:  # cameras without tracks: the ratio of baselines
        span = lambda P: np.linalg.norm(P[known][:, None, :3, 3] - P[known][None, :, :3, 3], axis=-1).max()
        mine, theirs = span(T), span(sight.cam_to_world)
        return np.full(V, math.log(mine / theirs) if mine > 1e-9 and theirs > 1e-9 else 0.0)
    return np.zeros(V)


def track_ratios(
    sight: Sight, fine: Images, bundle: Bundle, T: np.ndarray, v: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the tracks that view v sees: pixels on the pointmap grid [n, 2], log(track depth / predicted depth) [n], log predicted [n]."""
    mine = bundle.view == v
    if not mine.any() or not np.isfinite(T[v]).all():
        return np.zeros((0, 2)), np.zeros(0), np.zeros(0)
    world_to_cam = np.linalg.inv(T[v])
    z = (bundle.points[bundle.point[mine]] @ world_to_cam[:3, :3].T + world_to_cam[:3, 3])[:, 2]
    predicted = sight.log_depth_at(v, bundle.xy[mine], fine)
    good = np.isfinite(z) & (z > 1e-9)
    return move_points(bundle.xy[mine], v, fine, sight.grid)[good], np.log(z[good]) - predicted[good], predicted[good]
