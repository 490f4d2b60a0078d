"""Contains DepthViews, what of a scene's views is fused: depth and how much it counts, without what is masked, unsure or between surfaces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.errors import ReconError
from recon.geometry import TINY, invert_rigid, normals_from_points, unproject
from recon.scene import Scene
from recon.surfaces.depth_maps import CONFIDENCE_OF_ERROR
from recon.surfaces.merging import footprints, off_surface

LEAST_SLOPE = 0.15  # sine of the angle of surface and ray; flatter ones count as 9 degrees
LEAST_ERROR = 1e-4  # nobody is surer than so
FAR = 1e6  # where no surface is, so that no normal leans on it


@dataclass(frozen=True, kw_only=True)
class DepthViews:
    """Depth of V placed views; everything float32 on the CPU."""

    depth: Tensor  # [V, H, W] z, 0 where nothing is used
    weight: Tensor  # [V, H, W] (slope / expected relative error)^2, relative to the median; 0 where depth is
    slope: Tensor  # [V, H, W] distance to the surface over z difference: |normal . (x, y, 1)|
    K: Tensor  # [V, 3, 3]
    cam_to_world: Tensor  # [V, 4, 4]
    expected_error: float = 0.0  # of the depth, relative, as its maker tells it: the median; 0 where nobody does

    def __len__(self) -> int:
        return len(self.depth)

    @property
    def used(self) -> Tensor:  # [V, H, W] bool
        return self.depth > 0

    @property
    def world_to_cam(self) -> Tensor:  # [V, 4, 4]
        return invert_rigid(self.cam_to_world)

    def points(self) -> Tensor:  # [V, H, W, 3] world
        """The points of all pixels; those that are not used mean nothing."""
        return unproject(self.depth, self.K, self.cam_to_world)

    def footprint(self) -> float:
        """The median width of a used pixel on a surface that faces the camera."""
        return float(footprints(self.depth, self.K)[self.used].median())


def placed_rows(scene: Scene) -> list[int]:
    """The views whose cameras are known."""
    return [v for v, posed in enumerate(scene.cameras.posed.tolist()) if posed and scene.cameras.placed_by[v] != "unplaced"]


def depth_views(scene: Scene, *, least_confidence: float = 0.0) -> DepthViews:
    """The placed views of a scene with depth. Pixels are used where photo and pointmap have no mask against them, that are surer than
    `least_confidence` (see Pointmaps) and do not hang between two surfaces. Raises ReconError where nothing is left."""
    rows = placed_rows(scene)
    if scene.depth is None or not len(scene):
        raise ReconError("the scene has no depth to make a mesh of; wanted a scene of reconstruct(), depth maps with cameras, or Gaussians")
    if not rows:
        raise ReconError(f"none of the scene's {len(scene)} views is placed; a mesh needs at least one camera")
    c = scene.cameras
    depth = scene.depth[rows].detach().float().cpu()
    use = depth.isfinite() & (depth > 0)
    error = None
    if scene.images is not None:
        use &= scene.images.mask[rows].cpu()
    if scene.pointmaps is not None:
        confidence = scene.pointmaps.confidence[rows].detach().float().cpu()
        use &= scene.pointmaps.mask[rows].cpu() & (confidence >= least_confidence) & confidence.isfinite()
        error = CONFIDENCE_OF_ERROR / confidence.clamp(min=1e-3)
    return views_of_depth(torch.where(use, depth, 0), error, c.K[rows].detach().float().cpu(), c.cam_to_world[rows].detach().float().cpu())


def views_of_depth(depth: Tensor, relative_error: Tensor | None, K: Tensor, cam_to_world: Tensor) -> DepthViews:
    """DepthViews of depth [V, H, W], 0 where there is none; without errors all pixels are as sure. Raises ReconError where too little is left
    to see a surface."""
    if depth.shape[1] < 2 or depth.shape[2] < 2:
        raise ReconError(f"the views are {depth.shape[2]} x {depth.shape[1]} pixels, wanted at least 2 x 2")
    use = (depth > 0) & ~off_surface(torch.where(depth > 0, depth, 1e-6))
    if int(use.sum()) < 3:
        there = int((depth > 0).sum())
        why = f"of {there} pixels with depth no surface is left" if there else "all pixels are masked, sky or unsure"
        raise ReconError(f"there is nothing to make a mesh of: {why}")
    slope = slopes(depth, K)
    weight = (slope if relative_error is None else slope / relative_error.clamp(min=LEAST_ERROR)) ** 2
    weight = torch.where(use, weight / weight[use].median(), 0)
    depth, slope = torch.where(use, depth, 0), torch.where(use, slope, 0)
    expected = 0.0 if relative_error is None else float(relative_error[use].median())
    return DepthViews(depth=depth, weight=weight, slope=slope, K=K, cam_to_world=cam_to_world, expected_error=expected)


def slopes(depth: Tensor, K: Tensor) -> Tensor:  # [V, H, W] 0 where there is none, [V, 3, 3] -> [V, H, W]
    """|n . (x, y, 1)| of surfaces with normal n at rays (x, y, 1), what a difference in z counts as distance; at least LEAST_SLOPE.

    Normals are those of the mean of 3 x 3 pixels: one pixel's noise is no slope.
    """
    inverse = torch.where(depth > 0, 1 / depth.clamp(min=TINY), 0)[:, None]
    smooth = F.avg_pool2d(inverse, 3, 1, 1) / F.avg_pool2d((depth > 0).float()[:, None], 3, 1, 1).clamp(min=TINY)
    smooth = torch.where(depth > 0, 1 / smooth[:, 0].clamp(min=TINY), FAR)
    points = unproject(smooth, K)
    return (normals_from_points(points) * points / smooth[..., None]).sum(-1).abs().clamp(min=LEAST_SLOPE)
