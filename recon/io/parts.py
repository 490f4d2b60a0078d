"""Contains Parts: what a file holds as numpy arrays with its own digits, before it becomes a Scene; needs no torch.

Names and shapes are those of the types in recon.scene; places may be float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import shown
from recon.io.files import fault
from recon.lenses import FOCALS, Lens, is_pinhole

SH_DC = 0.28209479177387814  # the constant basis function: colour = 0.5 + SH_DC * sh[0]
FAR, FARTHEST, FAR_EXTENTS = 1e4, 1e12, 10.0  # units, and by the extent of what is there: UTM is far, a large scene is not
FAR_OUT = 20.0  # times the extent of 95 %: what lies beyond are outliers
SH_SIZES = (1, 4, 9, 16, 25)
Arrays = dict[str, np.ndarray]


@dataclass(kw_only=True)
class Views:
    """Cameras of pictures of any sizes, each in its own picture's pixels; NaN matrices where a file tells none."""

    K: np.ndarray  # [V, 3, 3]
    cam_to_world: np.ndarray  # [V, 4, 4]
    width: list[int]
    height: list[int]
    lenses: list[Lens | None]


@dataclass(kw_only=True)
class Parts:
    """What a file holds. `unused`: what it has that nothing here reads."""

    gaussians: Arrays | None = None
    points: Arrays | None = None  # points, and as known colors, normals, confidence
    mesh: Arrays | None = None
    tracks: Arrays | None = None
    views: Views | None = None
    report: dict[str, Any] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)


def lens_of(path: Path, model: str, params: Sequence[float]) -> Lens | None:
    """The lens of a file, None for a pinhole. Raises FileError for a model that is unknown or has other numbers."""
    numbers = tuple(float(value) for value in params)
    if model not in FOCALS or len(numbers) != FOCALS[model][1] or not np.isfinite(numbers).all():
        raise fault(path, f"has a lens {shown(model)} with the numbers {list(numbers)}; known are {', '.join(FOCALS)}")
    return None if is_pinhole(model, numbers) else Lens(model=model, params=numbers)


def views_of_file(
    path: Path, *, K: np.ndarray, cam_to_world: np.ndarray, width: Sequence[int], height: Sequence[int], lenses: Sequence[Lens | None] = ()
) -> Views:
    """Views out of K [V, 3, 3] and cam_to_world [V, 4, 4] (all NaN where a file tells none), checked. Raises FileError."""
    views = len(K)
    if not views:
        raise fault(path, "holds no cameras")
    told = np.any(~np.isnan(cam_to_world), axis=(1, 2))
    if not (np.isfinite(K).all() and np.isfinite(cam_to_world[told]).all()):
        raise fault(path, "has cameras with numbers that are not finite")
    for v in range(views):
        if not (1 <= width[v] <= 1 << 20 and 1 <= height[v] <= 1 << 20 and K[v, 0, 0] > 0 and K[v, 1, 1] > 0):
            raise fault(path, f"has a camera of {width[v]} x {height[v]} pixels with focal lengths {K[v, 0, 0]:g}, {K[v, 1, 1]:g}")
        R = cam_to_world[v, :3, :3]
        if told[v] and (not np.allclose(R @ R.T, np.eye(3), atol=1e-3) or np.linalg.det(R) < 0):
            raise fault(path, f"has the camera {v} whose matrix is no rotation")
    return Views(K=K, cam_to_world=cam_to_world, width=list(width), height=list(height), lenses=list(lenses) or [None] * views)


def far_offset(places: Sequence[np.ndarray]) -> np.ndarray:  # [n, 3] each -> [3]
    """Whole numbers that bring places far from the origin near it, where float32 has digits for them; zeros where they are near."""
    joined = [p[np.isfinite(p).all(1)].astype(np.float64) for p in places]
    every = np.concatenate(joined) if joined else np.zeros((0, 3))
    if not len(every):
        return np.zeros(3)
    middle = np.median(every, 0)
    extent = float(np.ptp(np.percentile(every, (5, 95), axis=0), axis=0).max())
    return np.round(middle) if FAR < np.abs(middle).max() < FARTHEST and np.abs(middle).max() > FAR_EXTENTS * extent else np.zeros(3)


def outliers(places: np.ndarray) -> np.ndarray:  # [n, 3] -> [n] bool
    """Which places lie further from the middle one than 20 times the extent of 95 % of them."""
    if len(places) < 2:
        return np.zeros(len(places), bool)
    extent = float(np.ptp(np.percentile(places, (2.5, 97.5), axis=0), axis=0).max())
    return np.abs(places - np.median(places, 0)).max(1) > max(FAR_OUT * extent, 1e-6) if extent > 0 else np.zeros(len(places), bool)


def rotation_of(quat: Sequence[float]) -> np.ndarray:  # wxyz, any length -> [3, 3]
    """The matrix of a quaternion."""
    w, x, y, z = np.asarray(quat, float) / np.linalg.norm(quat)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def quat_of(R: np.ndarray) -> list[float]:  # [3, 3] -> wxyz
    """The quaternion of a rotation, w >= 0: the eigenvector of Bar-Itzhack's symmetric matrix (2000) with the largest eigenvalue."""
    a, b, c = R
    Q = np.array([
        [a[0] + b[1] + c[2], c[1] - b[2], a[2] - c[0], b[0] - a[1]], [c[1] - b[2], a[0] - b[1] - c[2], b[0] + a[1], a[2] + c[0]],
        [a[2] - c[0], b[0] + a[1], b[1] - a[0] - c[2], c[1] + b[2]], [b[0] - a[1], a[2] + c[0], c[1] + b[2], c[2] - a[0] - b[1]],
    ])  # fmt: skip
    quat = np.linalg.eigh(Q)[1][:, -1]
    return (quat if quat[0] >= 0 else -quat).tolist()
