"""Contains what a save can be told, and the names of kinds and axes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from recon.io.guard import Guard

Kind = Literal["splats", "mesh", "points", "scene"]
Axes = Literal["opencv", "y-up", "z-up", "unity", "unreal"]
Encoding = Literal["binary", "big-endian", "ascii"]

WORLDS: dict[Axes, list[list[float]]] = {  # rows: the file's x, y, z axes in OpenCV axes
    "opencv": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "y-up": [[1, 0, 0], [0, -1, 0], [0, 0, -1]],  # glTF, USD, OBJ; right-handed
    "z-up": [[1, 0, 0], [0, 0, 1], [0, -1, 0]],  # Blender, nerfstudio; right-handed
    "unity": [[1, 0, 0], [0, -1, 0], [0, 0, 1]],  # x right, y up, z forward; left-handed
    "unreal": [[0, 0, 1], [1, 0, 0], [0, -1, 0]],  # x forward, y right, z up; left-handed
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the writers are told; see recon.io.save for the meaning of each."""

    axes: Axes = "opencv"
    unit_scale: float = 1.0
    sh_degree: int = 3
    encoding: Encoding = "binary"
    spz_version: int = 3
    guard: Guard = field(default_factory=Guard)
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of the world, in the file's axes and units: what places lack
