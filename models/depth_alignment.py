"""Contains the fit of predicted depth to triangulated tracks: one scale a view, then a smooth correction that respects edges."""

import numpy as np
import torch
from torch import Tensor

OBSERVATIONS = 600  # tracks a view that enter the smooth correction
REACH, LOG_DEPTH_REACH = 0.08, 0.15  # width of the kernel: share of the long side, and log depth
PRIOR = 1.5  # observations that "no correction" is worth


def log_scale(ratio: np.ndarray) -> float:
    """Robust centre of log ratios [n]: the median, then the mean of those within 0.3 of it."""
    middle = float(np.median(ratio))
    near = ratio[np.abs(ratio - middle) < 0.3]
    return float(near.mean()) if len(near) else middle


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
    for r in range(height):
        level_here = torch.exp(-0.5 * (log_depth[r, :, None] / LOG_DEPTH_REACH - level) ** 2)
        weight = near_x * near_y[r] * level_here
        rows.append((weight @ value) / (weight.sum(1) + PRIOR))
    return torch.stack(rows)
