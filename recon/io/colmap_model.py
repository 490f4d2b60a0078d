"""Contains the records of COLMAP's model, as its text and binary files hold them, and its camera models with their numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

MODELS = {
    0: ("SIMPLE_PINHOLE", 3), 1: ("PINHOLE", 4), 2: ("SIMPLE_RADIAL", 4), 3: ("RADIAL", 5), 4: ("OPENCV", 8), 5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12), 7: ("FOV", 5), 8: ("SIMPLE_RADIAL_FISHEYE", 4), 9: ("RADIAL_FISHEYE", 5), 10: ("THIN_PRISM_FISHEYE", 12),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16), 12: ("SIMPLE_DIVISION", 4), 13: ("DIVISION", 5), 14: ("SIMPLE_FISHEYE", 3), 15: ("FISHEYE", 4),
    16: ("EUCM", 6), 17: ("EQUIRECTANGULAR", 2),
}  # fmt: skip


@dataclass(kw_only=True)
class Camera:
    """A lens."""

    id: int
    model: str
    width: int
    height: int
    params: list[float]


@dataclass(kw_only=True)
class Image:
    """A view: world to camera, and the points seen in it."""

    id: int
    quat: list[float]  # wxyz
    translation: list[float]
    camera_id: int
    name: str
    xy: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))  # [n, 2]
    point_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # [n], -1 for none


@dataclass(kw_only=True)
class Point:
    """A point with its track of (image id, place in that image's list)."""

    id: int
    xyz: list[float]
    rgb: list[int]
    error: float
    track: list[tuple[int, int]]


@dataclass(kw_only=True)
class Rig:
    """Sensors held together (COLMAP 3.12): (kind, id) -> pose of the rig in the sensor, None for the one that is the rig's own place or unknown."""

    id: int
    sensors: dict[tuple[str, int], list[float] | None]  # wxyz and translation


@dataclass(kw_only=True)
class Frame:
    """A moment of a rig: the world in the rig, and the images that its sensors took."""

    id: int
    rig_id: int
    pose: list[float]  # wxyz and translation
    data: list[tuple[str, int, int]]  # kind and id of the sensor, image id


@dataclass(kw_only=True)
class Model:
    """What the files say."""

    cameras: list[Camera]
    images: list[Image]
    points: list[Point]
    rigs: list[Rig] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
