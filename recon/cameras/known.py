"""Contains what a user knows of the cameras: K and poses in pixels of the photos, a focal length, a file of cameras; and its way onto the grid."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from recon.errors import ReconError
from recon.photos.decode import FULL_FRAME_DIAGONAL_MM
from recon.scene import Cameras, Lens

if TYPE_CHECKING:
    from recon.scene import Images

SAME_SHAPE = 0.01  # relative difference of two aspect ratios that rounding to whole pixels can make
SHORTEST, LONGEST = 0.1, 100.0  # focal lengths in photo widths that are believed
Sizes = int | Sequence[int] | Tensor


class CamerasError(ReconError):
    """Cameras that do not fit the photos."""


def cameras_of_photos(K: Any, width: Sizes, height: Sizes, cam_to_world: Any = None, *, lenses: Sequence[Lens | None] = ()) -> Cameras:
    """Known cameras for `reconstruct`: K [3, 3] or [V, 3, 3] in pixels of photos of width x height, cam_to_world [V, 4, 4] with OpenCV axes.

    NaN or None where unknown; one K stands for all photos; `lenses`: their distortion, None for pinholes. The photos may have another size of the
    same shape. Raises CamerasError.
    """
    K, T = _matrices(K, 3, "K"), _matrices(cam_to_world, 4, "cam_to_world")
    views = max(len(part) for part in (K, T) if part is not None) if K is not None or T is not None else 1
    K = np.full((views, 3, 3), np.nan) if K is None else np.broadcast_to(K, (views, 3, 3)) if len(K) in (1, views) else K
    T = np.full((views, 4, 4), np.nan) if T is None else T
    sizes = [np.asarray(size, np.int64).reshape(-1) for size in (width, height)]
    sizes = [np.broadcast_to(size, (views,)) if len(size) == 1 else size for size in sizes]
    if not len(K) == len(T) == len(sizes[0]) == len(sizes[1]):
        told = f"{len(K)} K, {len(T)} cam_to_world, {len(sizes[0])} widths and {len(sizes[1])} heights"
        raise CamerasError(f"cameras_of_photos has {told}; wanted one of each for a photo")
    for v in range(views):
        _check(K[v], T[v], int(sizes[0][v]), int(sizes[1][v]), f"camera {v}")
    tensor = lambda values: torch.from_numpy(np.array(values))
    return Cameras(
        K=tensor(K), cam_to_world=tensor(T), width=int(sizes[0].max()), height=int(sizes[1].max()), photo_width=tensor(sizes[0]),
        photo_height=tensor(sizes[1]), grid_scale=torch.ones(views, 2), grid_offset=torch.zeros(views, 2), lenses=tuple(lenses),
    )  # fmt: skip


def _matrices(value: Any, side: int, name: str) -> np.ndarray | None:
    if value is None:
        return None
    array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, float)
    array = array[None] if array.ndim == 2 else array
    if array.shape[1:] != (side, side):
        raise CamerasError(f"{name} is {list(array.shape)}, wanted [V, {side}, {side}]")
    return array


def _check(K: np.ndarray, T: np.ndarray, width: int, height: int, what: str) -> None:
    """Raises CamerasError for a matrix that is no pinhole's or no rigid motion's; NaN matrices say that nothing is known."""
    if width < 1 or height < 1:
        raise CamerasError(f"{what} has photos of {width} x {height} pixels, wanted at least 1 x 1")
    if np.isfinite(K).any():
        lower = np.abs(K[[1, 2, 2], [0, 0, 1]])
        if not np.isfinite(K).all() or lower.max() > 1e-6 or abs(K[2, 2] - 1) > 1e-6 or min(K[0, 0], K[1, 1]) <= 0:
            raise CamerasError(f"{what} has K = {np.round(K, 4).tolist()}, wanted [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels")
        if not SHORTEST * width < K[0, 0] < LONGEST * width:
            raise CamerasError(f"{what} has a focal length of {K[0, 0]:g} pixels in photos {width} wide: K is in pixels of the photo")
    if np.isfinite(T).any():
        R = T[:3, :3]
        if not np.isfinite(T).all() or np.abs(R @ R.T - np.eye(3)).max() > 1e-3 or np.linalg.det(R) < 0 or np.abs(T[3] - [0, 0, 0, 1]).max() > 1e-6:
            raise CamerasError(f"{what} has a cam_to_world that is no rotation with a place, wanted [[R, t], [0, 0, 0, 1]]")


def on_grid(cameras: Cameras, images: Images) -> Cameras:
    """The cameras in pixels of the grid of `images`: moved there where they know their photos' sizes, else as they are. Raises CamerasError."""
    if len(cameras) != len(images):
        raise CamerasError(f"{len(cameras)} cameras were given for {len(images)} photos")
    height, width = images.rgb.shape[1:3]
    if cameras.photo_width is None:
        if (cameras.width, cameras.height) != (width, height):
            raise CamerasError(
                f"the cameras are for pictures of {cameras.width} x {cameras.height} pixels, the photos lie on a grid of {width} x {height}; "
                "cameras in pixels of the photos are made by cameras_of_photos"
            )
        return cameras
    if cameras.lenses:
        raise CamerasError("the cameras have lenses with distortion; photos and cameras are undistorted first (recon.cameras.undistort)")
    K = torch.stack([camera.K[0].double().cpu() for camera in scaled_to(cameras, images)])
    K[:, :2] *= images.grid_scale.double().cpu()[:, :, None]
    K[:, :2, 2] += images.grid_offset.double().cpu()
    grid = {name: getattr(images, name) for name in ("photo_width", "photo_height", "grid_scale", "grid_offset")}
    return replace(cameras, K=K, width=width, height=height, **grid)


def scaled_to(cameras: Cameras, images: Images) -> list[Cameras]:
    """One camera a photo, in pixels of the photo as `images` has it, for cameras of photos of perhaps another size. Raises CamerasError."""
    if len(cameras) != len(images):
        raise CamerasError(f"{len(cameras)} cameras were given for {len(images)} photos")
    out = []
    for v, camera in enumerate(cameras.for_photos()):
        width, height = int(images.photo_width[v]), int(images.photo_height[v])
        ratio = torch.tensor([width / camera.width, height / camera.height], dtype=torch.float64)
        if abs(float(ratio[0] / ratio[1]) - 1) > SAME_SHAPE and bool(camera.K.isfinite().all()):
            raise CamerasError(
                f"{images.names[v]} is {width} x {height} pixels, its camera is for {camera.width} x {camera.height}: "
                "a cropped or turned photo has another camera"
            )
        K = camera.K.double().cpu().clone()
        K[:, :2] *= ratio[:, None]
        out.append(replace(camera, K=K, width=width, height=height))
    return out


def cameras_of_focal(text: str, images: Images) -> Cameras:
    """Cameras with the focal length that `text` says, "28mm" (on 36 x 24 mm film, as phones tell it) or "1200px" (of the photos), poses unknown.

    Their principal points are the photos' middles. Raises CamerasError.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(mm|px)\s*", text)
    value = float(found[1]) if found else 0.0
    if not found or not value > 0:
        raise CamerasError(f"the focal length is {text!r}, wanted millimetres on 36 x 24 mm film or pixels of the photo: 28mm, 1200px")
    Ks = []
    for width, height in zip(images.photo_width.tolist(), images.photo_height.tolist(), strict=True):
        focal = value if found[2] == "px" else value / FULL_FRAME_DIAGONAL_MM * math.hypot(width, height)
        if not SHORTEST < focal / width < LONGEST:
            raise CamerasError(f"the focal length is {text!r}, which is {focal:g} pixels in a photo {width} wide")
        Ks.append([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return cameras_of_photos(Ks, images.photo_width, images.photo_height)


def told_cameras(images: Images, *, focal: str | None = None, file: str | Path | None = None) -> Cameras | None:
    """What is told of the photos' cameras: one focal length, or a file of cameras; None where neither is. Raises ReconError."""
    if focal:
        return cameras_of_focal(focal, images)
    return read_cameras(file, images) if file else None


def read_cameras(path: str | Path, images: Images) -> Cameras:
    """The cameras that a file (COLMAP, transforms.json, cameras.json, npz) gives to these photos, matched by name; NaN where it gives none.

    A camera without a name is every photo's that has none of its own and has its shape. Raises ReconError.
    """
    from recon.io.known_cameras import load_known

    known = load_known(Path(path))
    names = known.report.get("names") or [""] * len(known)
    rows = [_row(names, images, v) for v in range(len(images))]
    nameless = [i for i, name in enumerate(names) if not name]
    for v, row in enumerate(rows):
        if row is None:
            rows[v] = next((i for i in nameless if _fits(known.cameras, i, images, v)), None)
    if all(row is None for row in rows):
        told = f"it has {', '.join(map(repr, names[:3]))}" if not nameless else "its cameras are for photos of other shapes"
        raise CamerasError(f"{path}: has no camera for any of the photos ({images.names[0]} ...): {told}")
    cameras = known.cameras
    K, T = torch.full((len(rows), 3, 3), torch.nan, dtype=torch.float64), torch.full((len(rows), 4, 4), torch.nan, dtype=torch.float64)
    width, height = images.photo_width.clone(), images.photo_height.clone()
    lenses: list[Lens | None] = [None] * len(rows)
    for v, row in enumerate(rows):
        if row is not None:
            camera = cameras.for_photos()[row]
            K[v], T[v], width[v], height[v] = camera.K[0], camera.cam_to_world[0], camera.width, camera.height
            T[v, :3, 3] += torch.tensor(known.offset, dtype=torch.float64)
            lenses[v] = camera.lenses[0] if camera.lenses else None
    return cameras_of_photos(K, width, height, T, lenses=lenses)


def _row(names: Sequence[str], images: Images, v: int) -> int | None:
    """The camera whose name is that of a photo: the most parts of the path in common, at least the file's name (its ending may differ)."""
    file = images.files[v] if images.files else None
    photo = PurePosixPath((file.member or Path(file.path).as_posix()) if file is not None else images.names[v])
    plain = lambda path: [*path.parts[:-1], path.stem.lower()]
    shared: list[tuple[int, bool, int]] = []
    for i, name in enumerate(names):
        given = PurePosixPath(str(name).replace("\\", "/"))
        if not name or given.stem.lower() != photo.stem.lower():
            continue
        pairs = zip(reversed(plain(given)), reversed(plain(photo)), strict=False)
        common = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(given.parts), len(photo.parts)))
        shared.append((common, given.suffix.lower() == photo.suffix.lower(), -i))
    if not shared:
        return None
    best = sorted(shared, reverse=True)
    if len(best) > 1 and best[0][:2] == best[1][:2]:
        both = f"{names[-best[0][2]]!r} and {names[-best[1][2]]!r}"
        raise CamerasError(f"{photo} fits {both} alike; give photos with the folders that the cameras name")
    return -best[0][2]


def _fits(cameras: Cameras, row: int, images: Images, v: int) -> bool:
    camera = cameras.for_photos()[row]
    ratio = int(images.photo_width[v]) / int(images.photo_height[v]) * camera.height / camera.width
    return abs(ratio - 1) <= SAME_SHAPE
