"""Contains the way of a photo through its lens: the pinhole camera that shows what the lens saw without a blank pixel, and the photo for it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from recon.errors import ReconError
from recon.lenses import distort, undistort

if TYPE_CHECKING:
    from recon.scene import Cameras

WIDEST = math.tan(math.radians(75))  # slope of the rays that a pinhole picture is made of at most: 150 degrees from edge to edge
MOST_GROWTH = 2.0  # of a side: a wide lens would make endless pictures
EDGE_POINTS = 200
BAND = 256  # rows at a time
CUT = 0.98  # share of the angle kept below which a crop is told


def pinhole_for(camera: Cameras) -> tuple[Cameras, str]:
    """A pinhole with the focal lengths of one camera with a lens (in pixels of its photo), and a remark on what the crop leaves out, or "".

    Its picture has the photo's own detail and no blank pixels, and spans 150 degrees at most. Raises ReconError where there is none.
    """
    (lens,), K = camera.lenses, camera.K[0].double().numpy()
    assert lens is not None
    if lens.model == "EQUIRECTANGULAR":
        raise ReconError("a picture of all directions (EQUIRECTANGULAR) is no pinhole's; cut it into faces first")
    focal, centre = K[[0, 1], [0, 1]], K[:2, 2]
    size = np.array([camera.width, camera.height], float)
    limit = np.minimum(WIDEST, MOST_GROWTH * size / focal / 2)
    share = (np.arange(EDGE_POINTS) + 0.5) / EDGE_POINTS
    low, high, angles = np.zeros(2), np.zeros(2), np.zeros(2)
    for axis in range(2):
        ends = []
        for end in (0.5, size[axis] - 0.5):
            edge = np.empty((EDGE_POINTS + 1, 2))
            edge[:, axis], edge[:-1, 1 - axis], edge[-1, 1 - axis] = end, share * size[1 - axis], centre[1 - axis]
            ends.append(undistort(lens.model, lens.params, (edge - centre) / focal))
        slopes = [np.where(ray[:, 2] > 1e-6, ray[:, axis] / np.maximum(ray[:, 2], 1e-6), np.nan) for ray in ends]
        low[axis] = max(-limit[axis], np.nanmax(slopes[0], initial=-np.inf))
        high[axis] = min(limit[axis], np.nanmin(slopes[1], initial=np.inf))
        angles[axis] = sum(float(np.arctan2(abs(ray[-1, axis]), ray[-1, 2])) for ray in ends)
    sides = np.floor((high - low) * focal).astype(int)
    if not (sides >= 2).all():
        raise ReconError(f"a {lens.model} lens with the numbers {list(lens.params)} leaves no picture without its distortion")
    new = K.copy()
    new[:2, 2] = -low * focal
    out = replace(
        camera, K=torch.from_numpy(new)[None], width=int(sides[0]), height=int(sides[1]), lenses=(),
        photo_width=torch.tensor([int(sides[0])]), photo_height=torch.tensor([int(sides[1])]),
        grid_scale=torch.ones(1, 2), grid_offset=torch.zeros(1, 2),
    )  # fmt: skip
    kept = np.arctan(high) - np.arctan(low)
    remark = ""
    if (kept < CUT * angles).any():
        told = " x ".join(f"{math.degrees(a):.0f}" for a in kept)
        remark = f"undistorted and cropped to {told} of {' x '.join(f'{math.degrees(a):.0f}' for a in angles)} degrees"
    return out, remark


def undistort_picture(picture: np.ndarray, camera: Cameras, pinhole: Cameras) -> np.ndarray:  # [h, w, C] or [h, w] uint8
    """The photo of `camera` as `pinhole` sees it; both are in pixels of the whole photo, the picture may be a smaller copy of it."""
    import cv2

    (lens,) = camera.lenses
    assert lens is not None
    K, new = camera.K[0].double().numpy(), pinhole.K[0].double().numpy()
    scale = np.array([picture.shape[1] / camera.width, picture.shape[0] / camera.height])
    width, height = (max(1, round(side * s)) for side, s in zip((pinhole.width, pinhole.height), scale, strict=True))
    x = ((np.arange(width) + 0.5) * pinhole.width / width - new[0, 2]) / new[0, 0]
    y = ((np.arange(height) + 0.5) * pinhole.height / height - new[1, 2]) / new[1, 1]
    out = np.empty((height, width, *picture.shape[2:]), picture.dtype)
    for start in range(0, height, BAND):
        rows = y[start : start + BAND]
        rays = np.stack([*np.meshgrid(x, rows), np.ones((len(rows), width))], -1)
        xy = distort(lens.model, lens.params, rays) * K[[0, 1], [0, 1]] + K[:2, 2]
        xy = np.nan_to_num(xy * scale - 0.5, nan=-1e4).astype(np.float32)
        out[start : start + BAND] = cv2.remap(picture, xy[..., 0], xy[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return out


def undistort_points(xy: np.ndarray, camera: Cameras, pinhole: Cameras) -> np.ndarray:  # [n, 2] -> [n, 2]
    """Pixels of the pinhole's picture that show what pixels of the photo show; NaN where it cannot."""
    (lens,) = camera.lenses
    assert lens is not None
    K, new = camera.K[0].double().numpy(), pinhole.K[0].double().numpy()
    rays = undistort(lens.model, lens.params, (np.asarray(xy, float) - K[:2, 2]) / K[[0, 1], [0, 1]])
    with np.errstate(all="ignore"):
        slopes = np.where(rays[:, 2:] > 1e-6, rays[:, :2] / rays[:, 2:], np.nan)
    return slopes * new[[0, 1], [0, 1]] + new[:2, 2]
