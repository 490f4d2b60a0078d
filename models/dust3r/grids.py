"""Contains the pixel grids that DUSt3R's networks were trained on, and which pixels of another grid they cover."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recon.models.dust3r.network import PATCH
from recon.photos.grid import resize
from recon.photos.moves import sampling_grids

if TYPE_CHECKING:
    from recon.scene import Images

SQUARE = 224  # the network of this size reads nothing but squares


def network_grid(images: Images, long_side: int) -> Images:
    """The photos as the network reads them: at its long side, or for the small network the middle square."""
    if long_side != SQUARE:
        return resize(images, long_side, multiple=PATCH)
    height, width = images.rgb.shape[1:3]
    whole = resize(images, max(SQUARE, PATCH * -(-SQUARE * max(height, width) // (PATCH * min(height, width)))), multiple=PATCH)
    height, width = whole.rgb.shape[1:3]
    while min(height, width) < SQUARE:  # the short side was rounded down
        whole = resize(images, max(height, width) + PATCH, multiple=PATCH)
        height, width = whole.rgb.shape[1:3]
    top, left = (height - SQUARE) // 2, (width - SQUARE) // 2
    cut = lambda x: x[:, top : top + SQUARE, left : left + SQUARE]
    return replace(
        whole, rgb=cut(whole.rgb), mask=cut(whole.mask), grid_offset=whole.grid_offset - torch.tensor([left, top]).to(whole.grid_offset)
    )


def covered(source: Images, target: Images) -> Tensor:  # [V, H, W] bool
    """The pixels of `target` that lie inside the grid of `source`."""
    return torch.stack([(grid.abs() <= 1).all(-1) for grid in sampling_grids(source, target)])
