"""Contains the surfaces of a scene: Pointmaps, Gaussians and Mesh, and Tracks, the points behind the cameras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from recon.errors import ShapeError
from recon.scene.tensors import Index, Scalable, check_shapes

SH_SIZES = (1, 4, 9, 16, 25)


@dataclass(frozen=True, kw_only=True)
class Pointmaps(Scalable):
    """A point for each pixel. Confidence is 0.2 / (expected relative error of the depth), at least 1: 10 stands for 2 %."""

    lengths: ClassVar[tuple[str, ...]] = ("points",)
    points: Tensor  # [V, H, W, 3] world
    confidence: Tensor  # [V, H, W]
    mask: Tensor  # [V, H, W] bool: which points to use
    layer: Tensor | None = None  # [V, H, W] bool: those of mask that are left when each place is shown by one view; None: all of mask

    def __post_init__(self) -> None:
        check_shapes(self, {"points": "V H W 3", "confidence": "V H W", "mask": "V H W", "layer": "V H W"})
        for name in ("mask", "layer"):
            value = getattr(self, name)
            if value is not None and value.dtype != torch.bool:
                raise ShapeError(f"Pointmaps.{name} is {value.dtype}, wanted torch.bool")

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, kw_only=True)
class Gaussians(Scalable):
    """3D Gaussians, activated values."""

    lengths: ClassVar[tuple[str, ...]] = ("means", "scales")
    means: Tensor  # [N, 3] world
    quats: Tensor  # [N, 4] wxyz, unit
    scales: Tensor  # [N, 3] standard deviations along the rotated axes, in world units
    opacities: Tensor  # [N] 0..1
    sh: Tensor  # [N, K, 3] real spherical harmonics of the colour minus 0.5, K = 1, 4, 9, 16 or 25

    def __post_init__(self) -> None:
        sizes = check_shapes(self, {"means": "N 3", "quats": "N 4", "scales": "N 3", "opacities": "N", "sh": "N K 3"})
        if sizes["K"] not in SH_SIZES:
            raise ShapeError(f"Gaussians.sh is {list(self.sh.shape)}, wanted [N, K, 3] with K one of {SH_SIZES}")

    def __len__(self) -> int:
        return len(self.means)

    def __getitem__(self, index: Index) -> Gaussians:
        """Some of the Gaussians, by mask, numbers or slice."""
        return self._take(index, len(self))


@dataclass(frozen=True, kw_only=True)
class Mesh(Scalable):
    """Triangles, counter-clockwise seen from outside. Where there is a texture it is what shows, and colors are for programs without textures."""

    lengths: ClassVar[tuple[str, ...]] = ("vertices",)
    vertices: Tensor  # [P, 3] world
    faces: Tensor  # [F, 3] int64
    colors: Tensor | None = None  # [P, 3] 0..1 sRGB
    normals: Tensor | None = None  # [P, 3] unit
    uvs: Tensor | None = None  # [P, 2] place in the texture, (0, 0) its top left corner, (1, 1) its bottom right one; repeats beyond
    texture: Tensor | None = None  # [h, w, 3] float 0..1 sRGB; there where uvs are

    def __post_init__(self) -> None:
        shapes = {"vertices": "P 3", "faces": "F 3", "colors": "P 3", "normals": "P 3", "uvs": "P 2", "texture": "h w 3"}
        sizes = check_shapes(self, shapes)
        if (self.uvs is None) != (self.texture is None):
            there, missing = ("texture", "uvs") if self.uvs is None else ("uvs", "texture")
            raise ShapeError(f"Mesh has {there} but no {missing}, wanted both or neither")
        if self.texture is not None and not (self.texture.numel() and self.texture.is_floating_point()):
            raise ShapeError(f"Mesh.texture is {list(self.texture.shape)} of {self.texture.dtype}, wanted floats 0..1 of at least 1 x 1 pixel")
        object.__setattr__(self, "faces", self.faces.long())
        if sizes["F"] and not 0 <= int(self.faces.min()) <= int(self.faces.max()) < sizes["P"]:
            raise ShapeError(f"Mesh.faces holds {int(self.faces.min())} to {int(self.faces.max())}, wanted 0 to {sizes['P'] - 1}")


@dataclass(frozen=True, kw_only=True)
class Tracks(Scalable):
    """Points seen in several views, and where: what placed the cameras."""

    lengths: ClassVar[tuple[str, ...]] = ("points",)
    points: Tensor  # [P, 3] world
    view: Tensor  # [O] int, of each observation
    point: Tensor  # [O] int, index into points
    xy: Tensor  # [O, 2] pixels of the cameras' grid
    error: Tensor  # [P] mean reprojection error in pixels
    colors: Tensor | None = None  # [P, 3] 0..1 sRGB

    def __post_init__(self) -> None:
        check_shapes(self, {"points": "P 3", "view": "O", "point": "O", "xy": "O 2", "error": "P", "colors": "P 3"})

    def __len__(self) -> int:
        return len(self.points)
