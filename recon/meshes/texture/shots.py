"""The photos that a texture is cut from: full-resolution pictures with their cameras, read when they are needed, and what is masked in them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from recon.errors import ReconError
from recon.io.views import View, picture_of, views_of
from recon.scene import Cameras, Scene


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One placed photo as a pinhole saw it. Only `read` holds the picture in memory."""

    view: View
    camera: Cameras  # one pinhole, in pixels of the photo without its lens's distortion
    mask: np.ndarray | None  # [h, w] bool on any grid over the whole photo, None: all of it counts
    depth: np.ndarray | None  # [h, w] z that the scene says for this view, on any grid over the whole photo; not finite where it says nothing

    @property
    def K(self) -> np.ndarray:  # [3, 3]
        return self.camera.K[0].double().numpy()

    @property
    def world_to_cam(self) -> np.ndarray:  # [4, 4]
        return np.linalg.inv(self.camera.cam_to_world[0].double().numpy())

    def read(self) -> np.ndarray:  # [h, w, 3] uint8
        """The picture, undistorted. Raises FileError where the photo's file is no longer what it was."""
        from recon.photos.undistort import undistort_picture

        picture = picture_of(self.view)
        return picture if self.view.lens is None else undistort_picture(picture, self.view.camera, self.camera)

    def K_for(self, width: int, height: int) -> np.ndarray:  # [3, 3]
        """The lens in pixels of a copy of the picture at another size."""
        return np.diag([width / self.camera.width, height / self.camera.height, 1.0]) @ self.K


def shots_of(scene: Scene) -> list[Shot]:
    """The placed views of a scene with photos: the user's own files at full size where they are at hand, else what the scene holds.

    Raises ReconError where the scene has no photos or no placed view.
    """
    from pathlib import Path

    from recon.photos.undistort import pinhole_for

    if scene.images is None:
        raise ReconError("a texture is cut from photos, and this scene holds none: reconstruct it, or load it with its images")
    if not scene.cameras.posed.any():
        raise ReconError(f"a texture needs cameras, and none of the {len(scene)} views has a place")
    out = []
    for view in views_of(scene, Path("texture")):
        if view.lens is None:
            camera, shape = view.camera, lambda plane: plane
        else:
            from recon.photos.undistort import undistort_picture

            camera = pinhole_for(view.camera)[0]
            shape = lambda plane, view=view, camera=camera: undistort_picture(plane, view.camera, camera)
        mask, depth = _mask(scene, view), _depth(scene, view)
        out.append(
            Shot(
                view=view, camera=replace(camera, lenses=()),
                mask=None if mask is None else shape(mask.astype(np.uint8)) > 0,
                depth=None if depth is None or view.lens is not None else depth,
            )
        )  # fmt: skip
    return out


def _window(scene: Scene, view: View) -> tuple[slice, slice]:
    """Rows and columns of the scene's grid that show the photo itself, without padding."""
    scale, offset = view.scale.double().numpy(), view.offset.double().numpy()
    size = np.array([view.camera.width, view.camera.height])
    low = np.clip(np.ceil(-offset / scale - 1e-3), 0, None).astype(int)
    high = np.minimum(np.floor((size - offset) / scale + 1e-3).astype(int), [scene.cameras.width, scene.cameras.height])
    return slice(low[1], max(high[1], low[1] + 1)), slice(low[0], max(high[0], low[0] + 1))


def _mask(scene: Scene, view: View) -> np.ndarray | None:
    assert scene.images is not None
    mask = scene.images.mask[view.index].cpu().numpy()[_window(scene, view)]
    return None if mask.all() else mask


def _depth(scene: Scene, view: View) -> np.ndarray | None:
    """The scene's depth where it is sure of it."""
    if scene.depth is None:
        return None
    depth = scene.depth[view.index].float().cpu()
    known = depth.isfinite() & (depth > 0)
    if scene.pointmaps is not None:
        known &= scene.pointmaps.mask[view.index].cpu()
    return torch.where(known, depth, torch.inf).numpy()[_window(scene, view)] if known.any() else None
