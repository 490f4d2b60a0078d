"""COLMAP's rigs and frames (3.12 and newer): cameras held together, whose images have the poses of their frames."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from recon.errors import shown
from recon.io.colmap_model import Frame, Image, Model
from recon.io.files import fault
from recon.io.parts import quat_of, rotation_of

SAME = 1e-6  # of rotations, and of places by their size
log = logging.getLogger(__name__)


def use_frames(path: Path, model: Model) -> None:
    """Gives the images of `model` the poses that its frames and rigs tell; a warning counts those that had other ones. Raises FileError."""
    rigs, images = {rig.id: rig for rig in model.rigs}, {image.id: image for image in model.images}
    stale = []
    for frame in model.frames:
        rig = rigs.get(frame.rig_id)
        if rig is None:
            raise fault(path, f"has the frame {frame.id} of rig {frame.rig_id}, which is not there")
        for kind, sensor, number in frame.data:
            image = images.get(number) if kind == "CAMERA" else None
            if image is None:
                continue
            if (kind, sensor) not in rig.sensors:
                raise fault(path, f"has an image of camera {sensor} in frame {frame.id}, and rig {rig.id} has no such camera")
            if _set(path, image, frame, rig.sensors[kind, sensor]):
                stale.append(image.name)
    if stale:
        log.warning("%s: %d images have other poses than their frames and rigs, which are used (%s ...)", path, len(stale), stale[0])


def _set(path: Path, image: Image, frame: Frame, sensor: list[float] | None) -> bool:
    """Whether the image had another pose than its frame gives it."""
    own = _matrix(path, [*image.quat, *image.translation], f"the image {shown(image.name)}")
    T = _matrix(path, frame.pose, f"frame {frame.id}")
    if sensor is not None:
        T = _matrix(path, sensor, f"a sensor of rig {frame.rig_id}") @ T
    image.quat = quat_of(T[:3, :3])
    image.translation = T[:3, 3].tolist()
    return bool(np.abs(own[:3, :3] - T[:3, :3]).max() > SAME or np.abs(own[:3, 3] - T[:3, 3]).max() > SAME * (1 + np.abs(T[:3, 3]).max()))


def _matrix(path: Path, pose: list[float], what: str) -> np.ndarray:  # [4, 4]
    if not (np.isfinite(pose).all() and np.linalg.norm(pose[:4]) > 1e-6):
        raise fault(path, f"has {what} with the pose {pose}")
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rotation_of(pose[:4]), pose[4:]
    return T
