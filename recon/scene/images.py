"""Contains Images, photos on one pixel grid, and PhotoFile, where a photo came from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recon.errors import ShapeError
from recon.scene.cameras import Cameras
from recon.scene.tensors import GRID_SHAPES, Index, Tensors, check_shapes, default


@dataclass(frozen=True, kw_only=True)
class PhotoFile:
    """Where a photo came from. `plain`: the file's own bytes show it to every program as it was used here: upright, 8 bits, one picture."""

    path: str
    member: str = ""  # of a zip archive
    picture: int = 0  # of several in one file
    plain: bool = False
    distorted: Cameras | None = None  # the file's own camera, where the photo that is used is undistorted


@dataclass(frozen=True, kw_only=True)
class Images(Tensors):
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
    files: tuple[PhotoFile, ...] = ()  # where they came from, or ()
    remarks: str = ""  # what a person should know of how they were read, a line each

    def __post_init__(self) -> None:
        sizes = check_shapes(self, {"rgb": "V H W 3", "mask": "V H W", "focal": "V", **GRID_SHAPES})
        views, height, width = (sizes[a] for a in "VHW")
        default(self, "mask", torch.ones(views, height, width, dtype=torch.bool, device=self.rgb.device))
        default(self, "focal", torch.full((views,), float("nan")))
        default(self, "photo_width", torch.full((views,), width))
        default(self, "photo_height", torch.full((views,), height))
        default(self, "grid_scale", torch.ones(views, 2))
        default(self, "grid_offset", torch.zeros(views, 2))
        object.__setattr__(self, "names", tuple(self.names) or tuple(f"view_{v:03d}" for v in range(views)))
        object.__setattr__(self, "photos", tuple(self.photos))
        object.__setattr__(self, "files", tuple(self.files))
        if self.mask.dtype != torch.bool:
            raise ShapeError(f"Images.mask is {self.mask.dtype}, wanted torch.bool")
        for name in ("names", "photos", "files"):
            if len(getattr(self, name)) not in ({views} if name == "names" else {0, views}):
                raise ShapeError(f"Images.{name} has {len(getattr(self, name))} entries, wanted V={views}")

    def __len__(self) -> int:
        return len(self.rgb)

    def __getitem__(self, index: Index) -> Images:
        """The images of some views; one number keeps the views' dimension."""
        return self._take(index, len(self))
