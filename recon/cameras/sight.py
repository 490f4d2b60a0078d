"""Contains Sight: what a network tells of lenses, depth and rough poses before any match is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from recon.photos.moves import move_points, sample_points

if TYPE_CHECKING:
    from recon.scene import Images


@dataclass(frozen=True, kw_only=True)
class Sight:
    """A network's word on V views. Depths and poses are in the network's own scale; lenses are in pixels of the grid that matches are made on."""

    focal: np.ndarray  # [V] pixels of the match grid: where the prior has its mean
    sigma: float  # its width in log focal
    log_prior: Callable[[np.ndarray], np.ndarray] | None  # of log factors on `focal`, common to all views; None: the focals are known
    grid: Images  # the grid of the maps below
    log_depth: Tensor  # [V, h, w]
    local: np.ndarray  # [V, h, w, 3] points in each view's axes
    cam_to_world: np.ndarray  # [V, 4, 4] in the axes of the first view of its group
    group: np.ndarray  # [V] views that the network saw together
    residual: np.ndarray  # [V] relative residual of those poses

    def points(self, view: int, xy: np.ndarray, images: Images) -> np.ndarray:  # [n, 2] -> [n, 3]
        """The network's points in the view's axes at pixels of the grid of `images`."""
        at = move_points(xy, view, images, self.grid)
        return np.stack([sample_points(self.local[view, ..., k], at) for k in range(3)], -1)

    def log_depth_at(self, view: int, xy: np.ndarray, images: Images) -> np.ndarray:  # [n, 2] -> [n]
        """The network's log depth at pixels of the grid of `images`."""
        return sample_points(self.log_depth[view].double().numpy(), move_points(xy, view, images, self.grid))
