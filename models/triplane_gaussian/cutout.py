"""Contains the object of a photo: its alpha where it has one, else what stands out from the border, else the whole photo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from recon.errors import ReconError

if TYPE_CHECKING:
    from recon.scene import Images

FoundBy = Literal["alpha", "cut", "whole photo"]
CUT_ROUNDS = 5
BORDER = 0.02  # of each side, taken for background
MIDDLE = 0.35  # half axes of the ellipse where the object is looked for first, by the picture's sides
ALPHA_SHARE = 0.005  # of the photo that a mask must leave out to be its alpha
LEAST_SHARE = 0.002  # of the picture, of an object


def foreground(images: Images) -> tuple[Tensor, FoundBy]:  # [H, W] bool
    """The pixels of the object in the first photo, and what told; ReconError for an alpha that shows nothing. GrabCut is Rother et al.'s (2004)."""
    rgb, mask, photo = images.rgb[0].cpu(), images.mask[0].cpu(), photo_area(images)
    left_out = float((photo & ~mask).float().sum() / photo.float().sum().clamp(min=1))
    if left_out > ALPHA_SHARE:
        if not mask.any():
            raise ReconError("the photo's alpha is 0 everywhere: no object to see")
        return mask, "alpha"
    found = _cut(rgb, mask)
    return (found, "cut") if float(found.float().mean()) > LEAST_SHARE else (mask, "whole photo")


def photo_area(images: Images) -> Tensor:  # [H, W] bool
    """The pixels of the grid that lie inside the first photo, by more than a pixel: at its border the mask is not sharp."""
    height, width = images.rgb.shape[1:3]
    scale, offset = images.grid_scale[0].cpu(), images.grid_offset[0].cpu()
    size = torch.stack([images.photo_width[0], images.photo_height[0]]).cpu() * scale
    x, y = ((torch.arange(n) + 0.5 - offset[i] > 1) & (torch.arange(n) + 0.5 - offset[i] < size[i] - 1) for i, n in enumerate((width, height)))
    return y[:, None] & x


def _cut(rgb: Tensor, mask: Tensor) -> Tensor:
    """What GrabCut takes for foreground, from the picture's middle against its border; its largest connected part."""
    import cv2

    picture = np.ascontiguousarray((rgb.clamp(0, 1) * 255).round().byte().numpy()[..., ::-1])  # BGR for cv2
    height, width = mask.shape
    edge_y, edge_x = max(1, round(BORDER * height)), max(1, round(BORDER * width))
    y, x = np.mgrid[:height, :width] + 0.5
    middle = ((x / width - 0.5) / MIDDLE) ** 2 + ((y / height - 0.5) / MIDDLE) ** 2 < 1
    labels = np.full((height, width), cv2.GC_BGD, np.uint8)
    labels[edge_y:-edge_y, edge_x:-edge_x] = cv2.GC_PR_BGD
    labels[middle] = cv2.GC_PR_FGD
    labels[~mask.numpy()] = cv2.GC_BGD
    if (labels == cv2.GC_PR_FGD).any() and picture.std() > 0:
        cv2.grabCut(picture, labels, (0, 0, width, height), np.zeros((1, 65)), np.zeros((1, 65)), CUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    object_ = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    count, parts, sizes, _ = cv2.connectedComponentsWithStats(object_)
    if count < 2:
        return torch.zeros(height, width, dtype=torch.bool)
    return torch.from_numpy(parts == 1 + int(sizes[1:, cv2.CC_STAT_AREA].argmax()))
