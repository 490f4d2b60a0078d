"""Which photos of a set with known cameras are reconstructed together, and those cameras on the photos' pixel grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from recon.evaluate import PhotoSet, View
from recon.photos.grid import load_images
from recon.scene import Cameras, Images

DISTANCE_DEGREES = 20  # a camera at the median distance counts as turned by so much: what "near" means here
AROUND = 6  # the photos about a target are chosen among so many nearest


def nearest(photos: PhotoSet, view: int) -> list[int]:
    """The other views, those first whose cameras are near and look the same way."""
    centres = np.stack([v.cam_to_world[:3, 3] for v in photos.views])
    axes = np.stack([v.cam_to_world[:3, 2] for v in photos.views])
    turned = np.degrees(np.arccos(np.clip(axes @ axes[view], -1, 1)))
    distance = np.linalg.norm(centres - centres[view], axis=1)
    order = np.argsort(turned + DISTANCE_DEGREES * distance / np.median(distance))
    return [int(i) for i in order if i != view]


def groups(photos: PhotoSet, size: int, count: int) -> list[list[int]]:
    """`count` views spread over the set, each with its nearest."""
    starts = np.linspace(0, len(photos.views) - 1, count).round().astype(int)
    return [[int(start), *nearest(photos, int(start))[: size - 1]] for start in starts]


def targets(photos: PhotoSet, count: int) -> list[int]:
    """Views to be drawn, spread over the set without its ends."""
    return [int(t) for t in np.linspace(1, len(photos.views) - 2, count).round()]


def surrounding(photos: PhotoSet, target: int, count: int) -> list[int]:
    """The nearest view and further ones of the nearest, each on the other side of the target from those chosen before."""
    centres = np.stack([v.cam_to_world[:3, 3] for v in photos.views]) - photos.views[target].cam_to_world[:3, 3]
    order = nearest(photos, target)
    chosen = order[:1]
    while len(chosen) < count:
        middle = centres[chosen].mean(0)
        side = centres @ middle / (np.linalg.norm(centres, axis=1) + 1e-9)
        chosen.append(min((i for i in order[1:AROUND] if i not in chosen), key=lambda i, side=side: side[i] + 0.1 * order.index(i)))
    return chosen


def posed(views: Sequence[View], long_side: int) -> tuple[Images, Cameras]:
    """The views' photos, and their known cameras in pixels of the grid."""
    images = load_images([v.photo for v in views], long_side=long_side)
    scale, offset = images.grid_scale.double().numpy(), images.grid_offset.double().numpy()
    K = np.stack([v.K for v in views])
    K[:, :2] *= scale[:, :, None]
    K[:, :2, 2] += offset
    return images, cameras_on(images, K, np.stack([v.cam_to_world for v in views]))


def cameras_on(images: Images, K: np.ndarray, cam_to_world: np.ndarray) -> Cameras:
    """Cameras [V, 3, 3] and [V, 4, 4] of the images' grid."""
    height, width = images.rgb.shape[1:3]
    as_floats = lambda x: torch.as_tensor(x, dtype=torch.float32)
    return Cameras(K=as_floats(K), cam_to_world=as_floats(cam_to_world), width=width, height=height)
