"""Contains DepthMaps: the depth of posed views with what is known of its error, from whatever network or method it comes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.photos.moves import move_maps, sampling_grids

if TYPE_CHECKING:
    from recon.scene import Images

CONFIDENCE_OF_ERROR = 0.2  # confidence = this / expected relative error
POINTMAP_ERROR = 0.1  # / recon-small's own confidence: its relative error on photos with known depth is a third of that (things) to as much (rooms)
ONE_SURFACE = 1.04  # ratio of neighbouring depths up to which a value between them is interpolated


@dataclass(frozen=True, kw_only=True)
class DepthMaps:
    """Depth of V views on one grid, in the world's scale."""

    depth: Tensor  # [V, h, w] z > 0
    relative_error: Tensor  # [V, h, w] expected |estimate / truth - 1|
    valid: Tensor  # [V, h, w] 0..1: something is there, rather than sky
    seen: Tensor  # [V, h, w] bool: held by more than one view, or sure by itself
    corrections: Tensor | None = None  # [V, h, w, 13] of `pixel_gaussians`, float

    @property
    def confidence(self) -> Tensor:  # [V, h, w] >= 1
        """The project's measure of confidence: 1 for an error of a fifth or more, 10 for one of 2 %."""
        return (CONFIDENCE_OF_ERROR / self.relative_error).clamp(min=1)

    def moved(self, source: Images, target: Images) -> DepthMaps:
        """The same on another grid of the same photos: depth is interpolated within a surface and never across an edge."""
        if source is target:
            return self
        smooth = move_maps(torch.stack([self.relative_error.log(), self.valid, self.seen.float()], 1), source, target)
        corrections = None if self.corrections is None else move_maps(self.corrections.permute(0, 3, 1, 2), source, target).permute(0, 2, 3, 1)
        return replace(
            self, depth=move_depth(self.depth, source, target), relative_error=smooth[:, 0].exp(), valid=smooth[:, 1], seen=smooth[:, 2] > 0.5,
            corrections=corrections,
        )  # fmt: skip


def move_depth(depth: Tensor, source: Images, target: Images) -> Tensor:  # [V, h, w] -> [V, H, W]
    """Depth at the pixels of another grid: log-linear where the neighbours lie on one surface, else the nearest pixel's."""
    logs = depth.log()[:, None]
    one = F.max_pool2d(logs, 3, 1, 1) + F.max_pool2d(-logs, 3, 1, 1) < math.log(ONE_SURFACE)
    grids = torch.stack(sampling_grids(source, target)).to(depth)
    pick = lambda x, mode: F.grid_sample(x, grids, mode=mode, padding_mode="border", align_corners=False)[:, 0]
    return torch.where(pick(one.float(), "nearest") > 0.5, pick(logs, "bilinear"), pick(logs, "nearest")).exp()
