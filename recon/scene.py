"""The types that everything passes around: Images, Cameras, Pointmaps, Gaussians, Mesh, Tracks, Scene and Rendering.

Frames, units and letters in shapes are those of CONVENTIONS.md. All are frozen; numpy arrays and lists given for a tensor become tensors
(float64 becomes float32), tensors stay as they are. A shape that does not fit raises ShapeError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor

from recon.errors import ReconError, ShapeError

Index = int | slice | list[int] | np.ndarray | Tensor
PlacedBy = Literal["given", "matches", "pointmap", "unplaced"]
SH_SIZES = (1, 4, 9, 16, 25)


def _as_tensor(value: Any) -> Tensor:
    tensor = torch.as_tensor(np.asarray(value))
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def check_shapes(owner: object, shapes: Mapping[str, str], **sizes: int) -> dict[str, int]:
    """The size of each letter in `shapes` (field -> for example "V 4 4"); fields that are None are skipped, other values made tensors.

    A letter stands for one size throughout; sizes known before are given by name. Raises ShapeError.
    """
    for name, shape in shapes.items():
        value = getattr(owner, name)
        if value is None:
            continue
        if not isinstance(value, Tensor):
            try:
                value = _as_tensor(value)
            except (TypeError, ValueError) as error:
                raise ShapeError(f"{type(owner).__name__}.{name} is {type(value).__name__}, wanted a tensor or an array") from error
            object.__setattr__(owner, name, value)
        letters, got = shape.split(), list(value.shape)
        known = dict(sizes)
        fits = len(got) == len(letters)
        for letter, size in zip(letters, got, strict=False):
            fits &= size == (int(letter) if letter.isdigit() else known.setdefault(letter, size))
        if not fits:
            told = ", ".join(f"{a}={sizes[a]}" for a in dict.fromkeys(letters) if a in sizes)
            raise ShapeError(f"{type(owner).__name__}.{name} is {got}, wanted [{', '.join(letters)}]" + (f" ({told})" if told else ""))
        sizes = known
    return sizes


def _rows(index: Index, count: int) -> Tensor:
    """Row numbers [n] of an index into `count` rows."""
    index = index.cpu() if isinstance(index, Tensor) else torch.as_tensor(index) if isinstance(index, list | np.ndarray) else index
    return torch.arange(count)[index].reshape(-1)


class _Tensors:
    """Moving and selecting, for dataclasses of tensors."""

    def to(self, device: str | torch.device) -> Self:
        """The same on another device."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.init}  # type: ignore[arg-type]
        return replace(self, **{k: v.to(device) for k, v in values.items() if isinstance(v, Tensor | _Tensors)})  # type: ignore[type-var]

    def _take(self, index: Index, count: int) -> Self:
        rows = _rows(index, count)
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        taken = {k: v[rows.to(v.device)] for k, v in values.items() if isinstance(v, Tensor)}
        taken |= {k: tuple(v[i] for i in rows.tolist()) for k, v in values.items() if isinstance(v, tuple) and len(v) == count}
        return replace(self, **taken)  # type: ignore[type-var]


def _default(owner: object, name: str, value: Any) -> None:
    if getattr(owner, name) is None:
        object.__setattr__(owner, name, value)


GRID_SHAPES = {"photo_width": "V", "photo_height": "V", "grid_scale": "V 2", "grid_offset": "V 2"}


@dataclass(frozen=True, kw_only=True)
class Images(_Tensors):
    """Photos on one pixel grid: x_grid = x_photo * grid_scale + grid_offset, both with pixel (0, 0) centred at (0.5, 0.5).

    What is left out is filled in: all pixels valid, focal unknown, the grid is the photos' own.
    """

    rgb: Tensor  # [V, H, W, 3] float 0..1 sRGB
    mask: Tensor = None  # type: ignore[assignment]  # [V, H, W] bool, False on padding and where the photo's alpha says no
    names: tuple[str, ...] = ()
    focal: Tensor = None  # type: ignore[assignment]  # [V] pixels of rgb, NaN where unknown (from EXIF)
    photo_width: Tensor = None  # type: ignore[assignment]  # [V] int, the photos' own sizes
    photo_height: Tensor = None  # type: ignore[assignment]  # [V] int
    grid_scale: Tensor = None  # type: ignore[assignment]  # [V, 2]
    grid_offset: Tensor = None  # type: ignore[assignment]  # [V, 2]
    photos: tuple[np.ndarray, ...] = ()  # uint8 RGB working copies [h, w, 3], or ()

    def __post_init__(self) -> None:
        sizes = check_shapes(self, {"rgb": "V H W 3", "mask": "V H W", "focal": "V", **GRID_SHAPES})
        views, height, width = (sizes[a] for a in "VHW")
        _default(self, "mask", torch.ones(views, height, width, dtype=torch.bool, device=self.rgb.device))
        _default(self, "focal", torch.full((views,), float("nan")))
        _default(self, "photo_width", torch.full((views,), width))
        _default(self, "photo_height", torch.full((views,), height))
        _default(self, "grid_scale", torch.ones(views, 2))
        _default(self, "grid_offset", torch.zeros(views, 2))
        object.__setattr__(self, "names", tuple(self.names) or tuple(f"view_{v:03d}" for v in range(views)))
        object.__setattr__(self, "photos", tuple(self.photos))
        if self.mask.dtype != torch.bool:
            raise ShapeError(f"Images.mask is {self.mask.dtype}, wanted torch.bool")
        for name in ("names", "photos"):
            if len(getattr(self, name)) not in ({views} if name == "names" else {0, views}):
                raise ShapeError(f"Images.{name} has {len(getattr(self, name))} entries, wanted V={views}")

    def __len__(self) -> int:
        return len(self.rgb)

    def __getitem__(self, index: Index) -> Images:
        """The images of some views; one number keeps the views' dimension."""
        return self._take(index, len(self))


@dataclass(frozen=True, kw_only=True)
class Cameras(_Tensors):
    """Pinhole cameras, OpenCV axes, on one pixel grid. NaN matrices are allowed for what is not known."""

    K: Tensor  # [V, 3, 3] pixels
    cam_to_world: Tensor  # [V, 4, 4]
    width: int
    height: int
    confidence: Tensor = None  # type: ignore[assignment]  # [V] 0..1, default ones
    placed_by: tuple[PlacedBy, ...] = ()  # default: "given" where cam_to_world is finite, else "unplaced"
    photo_width: Tensor | None = None  # [V] int: the photos' own sizes and their place on the grid, as in Images
    photo_height: Tensor | None = None  # [V] int
    grid_scale: Tensor | None = None  # [V, 2]
    grid_offset: Tensor | None = None  # [V, 2]

    def __post_init__(self) -> None:
        views = check_shapes(self, {"K": "V 3 3", "cam_to_world": "V 4 4", "confidence": "V", **GRID_SHAPES})["V"]
        if self.width < 1 or self.height < 1:
            raise ShapeError(f"Cameras are {self.width} x {self.height} pixels, wanted at least 1 x 1")
        grid = [getattr(self, name) is None for name in GRID_SHAPES]
        if any(grid) and not all(grid):
            raise ShapeError(f"Cameras has only some of {', '.join(GRID_SHAPES)}; wanted all or none")
        _default(self, "confidence", torch.ones(views, device=self.K.device))
        if not self.placed_by:
            finite = self.cam_to_world.isfinite().flatten(1).all(1).tolist()
            object.__setattr__(self, "placed_by", tuple("given" if f else "unplaced" for f in finite))
        object.__setattr__(self, "placed_by", tuple(self.placed_by))
        if len(self.placed_by) != views or not set(self.placed_by) <= set(get_args(PlacedBy)):
            raise ShapeError(f"Cameras.placed_by is {self.placed_by}, wanted V={views} of: {', '.join(get_args(PlacedBy))}")

    def __len__(self) -> int:
        return len(self.K)

    def __getitem__(self, index: Index) -> Cameras:
        """Some of the cameras; one number keeps the views' dimension."""
        return self._take(index, len(self))

    @property
    def world_to_cam(self) -> Tensor:  # [V, 4, 4]
        """The rigid inverse of cam_to_world."""
        from recon.geometry import invert_rigid

        return invert_rigid(self.cam_to_world)

    def for_photos(self) -> list[Cameras]:
        """One camera a view, in pixels of its own photo; as they are where the photos' sizes are not known."""
        views = [self[v] for v in range(len(self))]
        if self.photo_width is None or self.photo_height is None or self.grid_scale is None or self.grid_offset is None:
            return views
        out = []
        for v, camera in enumerate(views):
            K = camera.K.clone()
            K[:, :2, 2] -= self.grid_offset[v].to(K)
            K[:, :2] /= self.grid_scale[v].to(K)[:, None]
            width, height = int(self.photo_width[v]), int(self.photo_height[v])
            one, zero = torch.ones_like(camera.grid_scale), torch.zeros_like(camera.grid_offset)  # type: ignore[arg-type]
            out.append(replace(camera, K=K, width=width, height=height, grid_scale=one, grid_offset=zero))
        return out


@dataclass(frozen=True, kw_only=True)
class Pointmaps(_Tensors):
    """A point for each pixel."""

    points: Tensor  # [V, H, W, 3] world
    confidence: Tensor  # [V, H, W]
    mask: Tensor  # [V, H, W] bool: which points to use

    def __post_init__(self) -> None:
        check_shapes(self, {"points": "V H W 3", "confidence": "V H W", "mask": "V H W"})
        if self.mask.dtype != torch.bool:
            raise ShapeError(f"Pointmaps.mask is {self.mask.dtype}, wanted torch.bool")

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, kw_only=True)
class Gaussians(_Tensors):
    """3D Gaussians, activated values."""

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
class Mesh(_Tensors):
    """Triangles, counter-clockwise seen from outside. Where there is a texture it is what shows, and colors are for programs without textures."""

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
class Tracks(_Tensors):
    """Points seen in several views, and where: what placed the cameras."""

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


@dataclass(frozen=True, kw_only=True)
class Scene(_Tensors):
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

    def save(self, path: str | Path, **options: Any) -> None:
        """Writes the scene in the format that the name says (see recon.io.save); ReconError for one that is not known."""
        try:
            from recon.io import save  # type: ignore[attr-defined]
        except ImportError as error:
            raise ReconError(f"{path} cannot be written: {error}") from error
        save(self, path, **options)


@dataclass(frozen=True, kw_only=True)
class Rendering(_Tensors):
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
