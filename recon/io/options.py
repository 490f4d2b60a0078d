"""Contains what a save can be told, and the names of kinds and axes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from recon.io.guard import Guard

Kind = Literal["splats", "mesh", "points", "scene"]
Axes = Literal["opencv", "y-up", "z-up", "unity", "unreal"]
Encoding = Literal["binary", "big-endian", "ascii"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the writers are told; see recon.io.save for the meaning of each."""

    axes: Axes = "opencv"
    unit_scale: float = 1.0
    sh_degree: int = 3
    encoding: Encoding = "binary"
    spz_version: int = 3
    guard: Guard = field(default_factory=Guard)
