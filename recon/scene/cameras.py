"""Contains Cameras: cameras on one pixel grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from recon.errors import ShapeError
from recon.lenses import Lens
from recon.scene.tensors import GRID_SHAPES, Index, Scalable, check_shapes, default

PlacedBy = Literal["given", "matches", "pointmap", "unplaced"]


@dataclass(frozen=True, kw_only=True)
class Cameras(Scalable):
    """Cameras, OpenCV axes, on one pixel grid: pinholes unless `lenses` tell of distortion. NaN matrices are allowed for what is not known."""

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
    lenses: tuple[Lens | None, ...] = ()  # one a view, None for a pinhole; (): all pinholes

    def __post_init__(self) -> None:
        views = check_shapes(self, {"K": "V 3 3", "cam_to_world": "V 4 4", "confidence": "V", **GRID_SHAPES})["V"]
        if self.width < 1 or self.height < 1:
            raise ShapeError(f"Cameras are {self.width} x {self.height} pixels, wanted at least 1 x 1")
        grid = [getattr(self, name) is None for name in GRID_SHAPES]
        if any(grid) and not all(grid):
            raise ShapeError(f"Cameras has only some of {', '.join(GRID_SHAPES)}; wanted all or none")
        lenses = tuple(self.lenses) if any(lens is not None for lens in self.lenses) else ()
        object.__setattr__(self, "lenses", lenses)
        if lenses and len(lenses) != views:
            raise ShapeError(f"Cameras.lenses has {len(lenses)} entries, wanted V={views}")
        default(self, "confidence", torch.ones(views, device=self.K.device))
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

    def scaled(self, factor: float) -> Cameras:
        """The same, their places `factor` times as far from the world's origin."""
        T = self.cam_to_world.clone()
        T[:, :3, 3] *= factor
        return replace(self, cam_to_world=T)

    @property
    def posed(self) -> Tensor:  # [V] bool
        """Which have a place and a lens: nothing of either is NaN."""
        return self.cam_to_world.isfinite().flatten(1).all(1) & self.K.isfinite().flatten(1).all(1)

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
