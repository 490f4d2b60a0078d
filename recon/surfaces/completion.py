"""Contains the completion of depth: where views do not hold a place together, the surface goes on as it does beside it.

What a network says there is guessed pixel by pixel, and bulges; walls, floors and the sides of things are smooth up to their edges, which show in
the photo. So the inverse depth (planes are linear in it) becomes a thin plate that is bound to what is seen and, as far as it is sure, to what is
guessed, and that may break where color or depth does: Terzopoulos, Multilevel computational processes for visual surface reconstruction, 1983; with
the weights of edges of Ferstl et al., Image guided depth upsampling using anisotropic total generalized variation, 2013.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor
from torch.nn import functional as F

from recon.cores import in_threads
from recon.surfaces.depth_maps import DepthMaps

CELLS = 160  # of the plate, along the longer side: its bends are larger than that, and the work grows with its cells
BEND = 0.003  # second differences of neighbouring cells, over the inverse depth: usual within a surface
COLOR_STEP = 0.05  # at which a plate begins to break, of 0..1
DEPTH_STEP = 0.05  # likewise, in log depth
LEAST_HOLD = 1e-4  # across any step of color: a line on a wall is no edge
SUREST = 0.002  # relative error, at least
NEAREST_TO_ZERO = 1e-6  # of the largest inverse depth: sky is at 0
FARTHEST = 3.0  # ratio to what the network says, at most
LEAST_SEEN = 200  # pixels that a plate must be bound to


def completed(maps: DepthMaps, rgb: Tensor) -> DepthMaps:
    """The maps with the depth of unseen pixels [V, h, w] drawn on from the seen ones; rgb [V, h, w, 3] 0..1 on their grid. Seen pixels stay."""
    bound = [v for v in range(len(rgb)) if LEAST_SEEN <= int(maps.seen[v].sum()) < maps.seen[v].numel()]
    depth = maps.depth.clone()
    there = lambda v: (maps.depth[v], maps.relative_error[v], maps.seen[v], rgb[v].cpu().float())
    for v, drawn in zip(bound, in_threads(lambda v: _drawn_on(*there(v)), bound), strict=True):
        depth[v] = drawn
    return replace(maps, depth=depth)


def _drawn_on(depth: Tensor, error: Tensor, seen: Tensor, rgb: Tensor) -> Tensor:  # [h, w] three times, [h, w, 3] -> [h, w]
    """One view's depth: by the plate's ratio to it where it is not seen."""
    step = math.ceil(max(depth.shape) / CELLS)
    pool = lambda x: F.adaptive_avg_pool2d(x, (math.ceil(depth.shape[0] / step), math.ceil(depth.shape[1] / step)))
    weight = error.clamp(min=SUREST) ** -2
    weights, sums = pool(torch.stack([weight, weight / depth]))
    x = (sums / weights).double().numpy()
    x = np.maximum(x, NEAREST_TO_ZERO * x.max())
    relative = (weights**-0.5).double().numpy()
    color = pool(rgb.permute(2, 0, 1)).double().numpy()
    ratio = np.clip(plate(x, relative, color) / x, 1 / FARTHEST, FARTHEST)
    logs = F.interpolate(torch.from_numpy(np.log(ratio)).float()[None, None], size=depth.shape, mode="bilinear", align_corners=False)[0, 0]
    return torch.where(seen, depth, depth * (-logs).exp())


def plate(x: np.ndarray, relative_error: np.ndarray, color: np.ndarray) -> np.ndarray:  # [h, w] twice, [3, h, w] -> [h, w]
    """The inverse depth y that makes sum ((y - x) / (e x))^2 + sum g (y'' / (BEND x))^2 least: e the relative error, y'' the second differences
    along rows and columns (x the largest of the three), g falling from 1 with the steps of color and depth."""
    data = (relative_error * x) ** -2
    matrix = sparse.diags(data.ravel())
    number = np.arange(x.size).reshape(x.shape)
    level, tint = x.ravel(), color.reshape(3, -1)
    for lines in (number.T, number):  # three neighbours in a column, in a row
        a, b, c = (lines.T[k : len(lines.T) - 2 + k].ravel() for k in range(3))
        if not len(b):
            continue
        steps = np.abs(tint[:, a] - tint[:, b]).mean(0) + np.abs(tint[:, b] - tint[:, c]).mean(0)
        jump = np.maximum(np.abs(np.log(level[a] / level[b])), np.abs(np.log(level[b] / level[c])))
        usual = BEND * np.maximum(level[b], np.maximum(level[a], level[c]))
        hold = (np.exp(-steps / COLOR_STEP) + LEAST_HOLD) / (1 + (jump / DEPTH_STEP) ** 4) / usual**2
        row = np.arange(len(b))
        ones = np.ones(len(b))
        second = sparse.csr_matrix((np.r_[ones, -2 * ones, ones], (np.r_[row, row, row], np.r_[a, b, c])), (len(b), x.size))
        matrix = matrix + second.T @ sparse.diags(hold) @ second
    factors = splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})  # positive definite
    return factors.solve((data * x).ravel()).reshape(x.shape)
