"""Contains what a picture says of points: features at the pixels that show them, and features between the pixels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from recon.geometry import invert_rigid, project
from recon.models.layers.acceleration import constant

RADIUS = 0.0075  # of a point, in half widths of the picture


class Shown(NamedTuple):
    """Points and the pixels that show them."""

    features: Tensor  # [B, N, C]; zero where no pixel shows the point
    visible: Tensor  # [B, N] bool


def shown_features(points: Tensor, K: Tensor, cam_to_world: Tensor, maps: Tensor) -> Shown:
    """Features of the pixel that shows each point: points [B, N, 3], K [B, 3, 3] pixels, cam_to_world [B, 4, 4], maps [B, C, H, W].

    A pixel shows the nearest of the points whose disc of `RADIUS` holds its centre; of several pixels that show a point the last in row order counts.
    """
    batch, count = points.shape[:2]
    height, width = maps.shape[2:]
    pixels, z = project(points, K, invert_rigid(cam_to_world))
    reach = RADIUS * min(height, width) / 2  # in pixels
    span = range(-int(reach + 1), int(reach + 1) + 1)
    base = pixels.floor().long().clamp(-(2**20), 2**20)
    far = torch.full((batch, height * width), torch.inf, device=points.device)
    hits = []
    for dy in span:
        for dx in span:
            cell = base + constant((dx, dy), points.device)
            x, y = cell.unbind(-1)
            on = ((cell + 0.5 - pixels).square().sum(-1) <= reach**2) & (z > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
            index = torch.where(on, y * width + x, 0)
            far = far.scatter_reduce(1, index, torch.where(on, z, torch.inf), "amin")
            hits.append((on, index))
    last = torch.full((batch, count), -1, device=points.device)
    for on, index in hits:
        front = on & (z <= far.gather(1, index))
        last = torch.maximum(last, torch.where(front, index, -1))
    visible = last >= 0
    flat = maps.flatten(2).transpose(1, 2)
    taken = flat.gather(1, last.clamp(min=0)[..., None].expand(-1, -1, flat.shape[2]))
    return Shown(taken * visible[..., None], visible)


def distance_outside(mask: Tensor) -> Tensor:  # [B, 1, H, W] 0..1 -> [B, 1, H, W] 0..1
    """Distance of each pixel outside the mask from it, in half widths, by OpenCV's 3 x 3 chamfer; 0 inside."""
    import cv2
    import numpy as np

    outside = 1 - mask[:, 0].detach().cpu().numpy().astype(np.uint8)
    distance = np.stack([cv2.distanceTransform(m, cv2.DIST_L2, cv2.DIST_MASK_3) for m in outside])
    return (torch.from_numpy(distance)[:, None].to(mask) / (mask.shape[-1] / 2)).clamp(0, 1)
