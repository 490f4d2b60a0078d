"""Contains the moves between pixel grids of one set of photos: the network's, the matches' and the scene's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from recon.scene import Images


def grid_of(images: Images) -> tuple[np.ndarray, np.ndarray]:
    """Scale [V, 2] and offset [V, 2] with grid pixel = photo pixel * scale + offset."""
    views = len(images.names)
    scale = np.asarray(torch.as_tensor(images.grid_scale).cpu(), float).reshape(views, -1)
    offset = np.asarray(torch.as_tensor(images.grid_offset).cpu(), float).reshape(views, -1)
    return np.broadcast_to(scale, (views, 2)).copy(), np.broadcast_to(offset, (views, 2)).copy()


def move_points(xy: np.ndarray, view: int | np.ndarray, source: Images, target: Images) -> np.ndarray:  # [n, 2] -> [n, 2]
    """The same points of the photo in pixels of another grid; `view` is one number or one for each point."""
    (s, o), (t, p) = grid_of(source), grid_of(target)
    return (xy - o[view]) / s[view] * t[view] + p[view]


def move_K(K: np.ndarray, source: Images, target: Images) -> np.ndarray:  # [V, 3, 3] -> [V, 3, 3]
    """The same lenses for another grid."""
    (s, o), (t, p) = grid_of(source), grid_of(target)
    out = K.copy()
    ratio = t / s
    out[:, 0, :2] *= ratio[:, :1]
    out[:, 1, 1:2] *= ratio[:, 1:]
    out[:, :2, 2] = (K[:, :2, 2] - o) * ratio + p
    return out


def principal_points(images: Images) -> np.ndarray:  # [V, 2]
    """The photos' centres in pixels of the grid."""
    scale, offset = grid_of(images)
    size = np.stack([np.asarray(torch.as_tensor(x).cpu(), float) for x in (images.photo_width, images.photo_height)], 1)
    return size / 2 * scale + offset


def sampling_grids(source: Images, target: Images) -> list[Tensor]:
    """For each view, where the pixels of `target` lie on the grid of `source`, as `torch.nn.functional.grid_sample` takes it: [H, W, 2] in -1..1."""
    (height, width), (rows, columns) = target.rgb.shape[1:3], source.rgb.shape[1:3]
    (s, o), (t, p) = grid_of(source), grid_of(target)
    x = torch.arange(width, dtype=torch.float64) + 0.5
    y = torch.arange(height, dtype=torch.float64) + 0.5
    grids = []
    for v in range(len(s)):
        u = (x - p[v, 0]) / t[v, 0] * s[v, 0] + o[v, 0]
        w = (y - p[v, 1]) / t[v, 1] * s[v, 1] + o[v, 1]
        grids.append(torch.stack([(u * 2 / columns - 1).expand(height, width), (w * 2 / rows - 1)[:, None].expand(height, width)], -1))
    return grids


def move_maps(maps: Tensor, source: Images, target: Images) -> Tensor:  # [V, C, h, w] -> [V, C, H, W]
    """Maps sampled bilinearly at the pixels of another grid; outside the photo the nearest value is repeated."""
    sample = lambda x, grid: F.grid_sample(x[None], grid[None].to(x), mode="bilinear", padding_mode="border", align_corners=False)
    return torch.cat([sample(x, grid) for x, grid in zip(maps, sampling_grids(source, target), strict=True)])


def sample_points(image: np.ndarray, xy: np.ndarray) -> np.ndarray:  # [H, W], [n, 2] -> [n]
    """Bilinear values at pixel positions, clamped to the image."""
    height, width = image.shape
    p = np.clip(xy - 0.5, 0, [width - 1.001, height - 1.001])
    x, y = p[:, 0].astype(int), p[:, 1].astype(int)
    u, v = p[:, 0] - x, p[:, 1] - y
    top = image[y, x] * (1 - u) + image[y, x + 1] * u
    bottom = image[y + 1, x] * (1 - u) + image[y + 1, x + 1] * u
    return top * (1 - v) + bottom * v
