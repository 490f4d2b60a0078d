"""The views of a scene as camera files speak of them: a picture, its name and the camera in that picture's own pixels."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recon.io.files import fault
from recon.scene import Cameras, Scene

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
JPEG_QUALITY = 95
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class View:
    """One placed view; x_picture = x_grid * scale + offset."""

    index: int  # among the scene's views
    name: str  # of the picture's file
    camera: Cameras  # one camera, in pixels of the picture
    scale: Tensor  # [2]
    offset: Tensor  # [2]
    picture: np.ndarray | None  # [h, w, 3] uint8, None where the scene holds no images

    @property
    def world_to_cam(self) -> np.ndarray:  # [4, 4] float64
        return np.linalg.inv(self.camera.cam_to_world[0].double().numpy())


def view_names(scene: Scene) -> list[str]:
    """File names of all views, each once, without folders and blanks; JPEG where a picture will be written."""
    told = scene.report.get("names")
    names = list(scene.images.names) if scene.images is not None else list(told) if isinstance(told, list | tuple) else []
    if len(names) != len(scene):
        names = [f"view_{v:03d}" for v in range(len(scene))]
    out: list[str] = []
    for v, name in enumerate(names):
        clean = re.sub(r"[\s/\\:]+", "_", str(name)).lstrip(".") or f"view_{v:03d}"
        stem, dot, ending = clean.rpartition(".")
        if scene.images is not None or f".{ending.lower()}" not in PICTURES:
            clean = (stem if dot and f".{ending.lower()}" in (*PICTURES, ".heic", ".heif", ".avif") else clean) + ".jpg"
        out.append(clean if clean not in out else f"{v:03d}_{clean}")
    return out


def views_of(scene: Scene, path: Path) -> list[View]:
    """The views that have a place and a lens; a warning names the others. Raises FileError where none has."""
    cameras, images = scene.cameras.to("cpu"), scene.images
    placed = cameras.cam_to_world.isfinite().flatten(1).all(1) & cameras.K.isfinite().flatten(1).all(1)
    names, photos = view_names(scene), cameras.for_photos()
    out = []
    for v in placed.nonzero()[:, 0].tolist():
        camera, picture = photos[v], None
        if images is not None and images.photos:
            picture = np.asarray(images.photos[v])
            camera = _resized(camera, picture.shape[1], picture.shape[0])
        elif images is not None:
            picture = (images.rgb[v].cpu().clamp(0, 1) * 255).round().byte().numpy()
            camera = cameras[v]
        K, grid = camera.K[0], cameras.K[v]
        scale = torch.stack([K[0, 0] / grid[0, 0], K[1, 1] / grid[1, 1]])
        out.append(View(index=v, name=names[v], camera=camera, scale=scale, offset=K[:2, 2] - grid[:2, 2] * scale, picture=picture))
    if not out:
        raise fault(path, f"cannot hold this scene: none of its {len(scene)} views has a place")
    if len(out) < len(scene):
        log.warning("%s: without %s, which have no place", path, ", ".join(names[v] for v in range(len(scene)) if not placed[v]))
    return out


def _resized(camera: Cameras, width: int, height: int) -> Cameras:
    """The camera of the same picture at another size."""
    K = camera.K.clone()
    K[:, 0] *= width / camera.width
    K[:, 1] *= height / camera.height
    return replace(camera, K=K, width=width, height=height)


def write_pictures(views: Sequence[View], folder: Path) -> None:
    """Writes the pictures of the views into `folder` as JPEG; nothing where the scene holds no images."""
    import cv2

    for view in views:
        if view.picture is None:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        done, content = cv2.imencode(".jpg", view.picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        assert done, view.name
        (folder / view.name).write_bytes(content.tobytes())


def cameras_of(path: Path, *, K: np.ndarray, cam_to_world: np.ndarray, width: Sequence[int], height: Sequence[int]) -> Cameras:
    """Cameras of pictures of any sizes on one grid that holds them all; K [V, 3, 3], cam_to_world [V, 4, 4]. Raises FileError."""
    views = len(K)
    if not views:
        raise fault(path, "holds no cameras")
    if not (np.isfinite(K).all() and np.isfinite(cam_to_world).all()):
        raise fault(path, "has cameras with numbers that are not finite")
    for v in range(views):
        if not (1 <= width[v] <= 1 << 20 and 1 <= height[v] <= 1 << 20 and K[v, 0, 0] > 0 and K[v, 1, 1] > 0):
            raise fault(path, f"has a camera of {width[v]} x {height[v]} pixels with focal lengths {K[v, 0, 0]:g}, {K[v, 1, 1]:g}")
        R = cam_to_world[v, :3, :3]
        if not np.allclose(R @ R.T, np.eye(3), atol=1e-3) or np.linalg.det(R) < 0:
            raise fault(path, f"has the camera {v} whose matrix is no rotation")
    return Cameras(
        K=torch.from_numpy(K).float(), cam_to_world=torch.from_numpy(cam_to_world).float(), width=max(width), height=max(height),
        photo_width=torch.tensor(list(width)), photo_height=torch.tensor(list(height)),
        grid_scale=torch.ones(views, 2), grid_offset=torch.zeros(views, 2),
    )  # fmt: skip
