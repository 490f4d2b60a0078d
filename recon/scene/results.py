"""Contains Scene, what a reconstruction gives, and Rendering, what a renderer gives."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from recon.errors import GeometryError, ShapeError
from recon.scene.cameras import Cameras
from recon.scene.images import Images
from recon.scene.surfaces import Gaussians, Mesh, Pointmaps, Tracks
from recon.scene.tensors import GRID_SHAPES, Scalable, Tensors, check_shapes


@dataclass(frozen=True, kw_only=True)
class Scene(Tensors):
    """What a reconstruction gives: cameras and whatever else is there. `metric` says whether the unit is a metre."""

    cameras: Cameras
    pointmaps: Pointmaps | None = None
    gaussians: Gaussians | None = None
    mesh: Mesh | None = None
    tracks: Tracks | None = None
    metric: bool = False
    images: Images | None = None
    depth: Tensor | None = None  # [V, H, W] z in each camera; from points and cameras when it is not given
    report: dict[str, Any] = field(default_factory=dict)
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)  # what all places lack of the world's, whose coordinates float32 cannot hold

    def __post_init__(self) -> None:
        c = self.cameras
        known = {"V": len(c), "H": c.height, "W": c.width}
        parts = {"pointmaps": None if self.pointmaps is None else self.pointmaps.points, "images": None if self.images is None else self.images.rgb}
        for name, part in parts.items():
            if part is not None and tuple(part.shape[:3]) != tuple(known.values()):
                raise ShapeError(f"Scene.{name} is {list(part.shape)}, wanted {[*known.values(), 3]} as the cameras say")
        check_shapes(self, {"depth": "V H W"}, **known)
        if c.photo_width is None and self.images is not None:
            object.__setattr__(self, "cameras", replace(c, **{name: getattr(self.images, name) for name in GRID_SHAPES}))
        if self.depth is None and self.pointmaps is not None:
            forward = c.world_to_cam[:, 2].to(self.pointmaps.points)  # [V, 4]
            depth = torch.einsum("vhwi,vi->vhw", self.pointmaps.points, forward[:, :3]) + forward[:, 3, None, None]
            object.__setattr__(self, "depth", depth)

    def __len__(self) -> int:
        return len(self.cameras)

    def with_scale(self, factor: float, *, metric: bool | None = None) -> Scene:
        """The scene `factor` times as large: cameras, depth, points, Gaussians, mesh and tracks together, about the world's origin.

        `metric`: whether the new unit is a metre; left out, a scene in metres is in metres only as long as nothing changes. Raises GeometryError
        for a factor that is not a positive number.
        """
        if not (math.isfinite(factor) and factor > 0):
            raise GeometryError(f"the factor of a scale is {factor}, wanted a positive number")
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        moved = {name: part.scaled(factor) for name, part in parts.items() if isinstance(part, Scalable)}
        x, y, z = (factor * v for v in self.offset)
        return replace(
            self, **moved, depth=None if self.depth is None else self.depth * factor, offset=(x, y, z),
            metric=self.metric and factor == 1 if metric is None else metric,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Rendering(Tensors):
    """Pictures of Gaussians. Colour is over the background; depth is the alpha-weighted mean z, 0 where nothing is."""

    color: Tensor  # [C, H, W, 3] sRGB, above 1 where the Gaussians' colours are
    depth: Tensor  # [C, H, W]
    alpha: Tensor  # [C, H, W] 0..1
    median_depth: Tensor | None = None  # [C, H, W] z at which half of the light is stopped, 0 where less is
    normals: Tensor | None = None  # [C, H, W, 3] world, unit, towards the camera; zero where nothing is

    def __post_init__(self) -> None:
        check_shapes(self, {"color": "C H W 3", "depth": "C H W", "alpha": "C H W", "median_depth": "C H W", "normals": "C H W 3"})

    def __len__(self) -> int:
        return len(self.color)
