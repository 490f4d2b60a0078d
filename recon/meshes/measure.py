"""Contains the size of a scene from one known length: two places, as pixels of photos or points of the world, and how far they are apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recon.errors import ReconError
from recon.geometry import transform, unproject_at
from recon.meshes.depth_views import placed_rows
from recon.scene import Scene

AROUND = 2  # pixels to each side whose median depth a place takes


def point_in_photo(scene: Scene, view: int, x: float, y: float) -> Tensor:  # -> [3] world
    """The place that a photo shows at its own pixel (x, y), from the depth of the view. Raises ReconError where it shows none."""
    if not 0 <= view < len(scene):
        raise ReconError(f"there is no view {view}; the scene has {len(scene)}, counted from 0")
    if scene.depth is None or view not in placed_rows(scene):
        raise ReconError(f"view {view} has no {'depth' if scene.depth is None else 'camera'}: its pixels are no places; wanted X,Y,Z of the world")
    camera = scene.cameras.for_photos()[view]
    if not (0 <= x <= camera.width and 0 <= y <= camera.height):
        raise ReconError(f"pixel ({x:g}, {y:g}) lies outside of view {view}, which is {camera.width} x {camera.height}")
    place = torch.tensor([x, y], dtype=torch.float64)
    c = scene.cameras
    if c.grid_scale is not None and c.grid_offset is not None:
        place = place * c.grid_scale[view].double().cpu() + c.grid_offset[view].double().cpu()
    column, row = (math.floor(v) for v in place.tolist())
    window = (slice(max(row - AROUND, 0), row + AROUND + 1), slice(max(column - AROUND, 0), column + AROUND + 1))
    depth = scene.depth[view][window].cpu()
    use = depth.isfinite() & (depth > 0)
    if scene.pointmaps is not None:
        use &= scene.pointmaps.mask[view][window].cpu()
    if not bool(use.any()):
        raise ReconError(f"pixel ({x:g}, {y:g}) of view {view} shows no surface that is sure enough (sky, masked or unsure)")
    local = unproject_at(place[None], depth[use].double().median()[None], c.K[view].double().cpu())
    return transform(c.cam_to_world[view].double().cpu(), local)[0]


def scaled_to(scene: Scene, length: float, p: Tensor, q: Tensor) -> Scene:
    """The scene in the unit in which the places p and q [3] are `length` apart, taken for metres. Raises ReconError."""
    if not (math.isfinite(length) and length > 0):
        raise ReconError(f"the known length is {length}, wanted a positive number (of metres)")
    apart = float((p - q).norm())
    if not (math.isfinite(apart) and apart > 0):
        raise ReconError("the two places between which the length was measured are one place")
    return scene.with_scale(length / apart, metric=True)
