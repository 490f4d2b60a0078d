"""Contains the fit of predicted depth to triangulated tracks: one scale a view, then a smooth correction that respects edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from recon.cameras.depth_scale import track_ratios
from recon.cameras.sight import Sight
from recon.cameras.solve import Placed
from recon.cores import in_threads

if TYPE_CHECKING:
    from recon.cameras.bundle import Bundle
    from recon.scene import Images

OBSERVATIONS = 600  # tracks a view that enter the smooth correction
REACH, LOG_DEPTH_REACH = 0.08, 0.15  # width of the kernel: share of the long side, and log depth
ROWS_AT_ONCE = {"cuda": 16}  # of the map; elsewhere one, whose kernel stays in a processor's cache
PRIOR = 1.5  # observations that "no correction" is worth


def aligned_log_depth(
    sight: Sight, fine: Images, placed: Placed, bundle: Bundle | None, seed: int, *, device: torch.device | str = "cpu"
) -> Tensor:  # [V, h, w]
    """The network's log depth on its own grid, in the world's scale and bent to the tracks where there are any; `device` works that out."""
    log_depth = sight.log_depth + torch.as_tensor(placed.log_scales, dtype=torch.float32)[:, None, None]
    if bundle is None:
        return log_depth

    def correction(v: int) -> Tensor:
        xy, ratio, at = track_ratios(sight, fine, bundle, placed.cam_to_world, v)
        return smooth_correction(sight.log_depth[v].to(device), xy, ratio - placed.log_scales[v], at, seed).cpu()

    views = range(len(log_depth))
    return log_depth + torch.stack(in_threads(correction, views) if torch.device(device).type == "cpu" else [correction(v) for v in views])


def smooth_correction(log_depth: Tensor, xy: np.ndarray, ratio: np.ndarray, log_at: np.ndarray, seed: int) -> Tensor:
    """Correction [h, w] of log depth [h, w] from log ratios [n] at pixels xy [n, 2], where the prediction is log_at [n].

    Kernel regression in place and log depth, shrunk to zero where no track is near.
    """
    height, width = log_depth.shape
    keep = np.flatnonzero(np.abs(ratio) < 0.7)
    if len(keep) < 8:
        return torch.zeros_like(log_depth)
    if len(keep) > OBSERVATIONS:
        keep = np.random.default_rng(seed).choice(keep, OBSERVATIONS, replace=False)
    reach = REACH * max(height, width)
    to = lambda x: torch.as_tensor(x, dtype=torch.float32, device=log_depth.device)
    centre, value, level = to(xy[keep] / reach), to(ratio[keep]), to(log_at[keep] / LOG_DEPTH_REACH)
    x = (torch.arange(width, device=log_depth.device) + 0.5) / reach
    y = (torch.arange(height, device=log_depth.device) + 0.5) / reach
    near_x = torch.exp(-0.5 * (x[:, None] - centre[:, 0]) ** 2)  # [w, n]: the kernel in place is a product
    near_y = torch.exp(-0.5 * (y[:, None] - centre[:, 1]) ** 2)  # [h, n]
    rows = []
    step = ROWS_AT_ONCE.get(log_depth.device.type, 1)
    for r in range(0, height, step):
        level_here = torch.exp(-0.5 * (log_depth[r : r + step, :, None] / LOG_DEPTH_REACH - level) ** 2)
        weight = near_x * near_y[r : r + step, None] * level_here  # [step, w, n]
        rows.append((weight @ value) / (weight.sum(-1) + PRIOR))
    return torch.cat(rows)
