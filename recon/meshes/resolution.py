"""Contains the resolution of a fusion: voxel size and truncation, from how wide a pixel is on the surface and how far the views are apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from recon.errors import ReconError
from recon.geometry import project
from recon.meshes.depth_views import DepthViews
from recon.surfaces.consistency import sample_depth

SAMPLES = 2000  # pixels a view that its error is taken from
PARTNERS = 6  # views that each is held against
SAME_SURFACE = 0.05  # relative difference in depth beyond which it is another surface
LOCAL = 0.25  # of an expected error is noise from pixel to pixel; the rest is alike all around
TRUNCATION_VOXELS, TRUNCATION_ERRORS, MOST_TRUNCATION_VOXELS = 3.0, 3.0, 8.0
MOST_VOXELS_ACROSS = 2048  # the box of the scene over the voxel: finer is refused
LEAST_VOXELS_ACROSS = 4


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """In the scene's unit."""

    voxel_size: float
    truncation: float  # distance to the surface up to which it is told
    error: float  # of the depth at its median: between views, or what is expected, whichever is larger
    extent: float  # the longest side of the box that holds 98 % of the points


def choose_resolution(views: DepthViews, *, voxel_size: float | None = None, truncation: float | None = None) -> Resolution:
    """The given sizes, or those that suit the scene: a voxel is as wide as a pixel there and no smaller than the error of the depth.

    Raises ReconError for sizes that are impossible here, with the sizes that are possible.
    """
    points = views.points()[views.used]
    points = points[:: max(1, len(points) // 100_000)]
    low, high = (torch.quantile(points, q, dim=0) for q in (0.01, 0.99))
    extent = float((high - low).max())
    if not math.isfinite(extent) or extent <= 0:
        raise ReconError("all points of the scene lie in one place: there is no surface")
    median = float(views.depth[views.used].median())
    dispersion, expected = depth_dispersion(views), views.expected_error * median
    error = max(dispersion, expected)
    smallest, largest = extent / MOST_VOXELS_ACROSS, extent / LEAST_VOXELS_ACROSS
    if voxel_size is None:
        voxel_size = min(max(views.footprint(), dispersion, LOCAL * expected, smallest), largest)
    if not (math.isfinite(voxel_size) and smallest * 0.999 <= voxel_size <= largest * 1.001):
        raise ReconError(f"voxel_size is {voxel_size:g}, wanted {smallest:.3g} to {largest:.3g}: the scene is {extent:.3g} across")
    if truncation is None:
        truncation = min(max(TRUNCATION_VOXELS * voxel_size, TRUNCATION_ERRORS * error), MOST_TRUNCATION_VOXELS * voxel_size)
    if not (math.isfinite(truncation) and voxel_size <= truncation <= 32 * voxel_size):
        raise ReconError(f"truncation is {truncation:g}, wanted 1 to 32 voxels of {voxel_size:.3g}: {voxel_size:.3g} to {32 * voxel_size:.3g}")
    return Resolution(voxel_size=voxel_size, truncation=truncation, error=error, extent=extent)


def depth_dispersion(views: DepthViews) -> float:
    """The standard deviation of depth, in the scene's unit: the median difference between views that see the same surface, at the median depth."""
    count = len(views)
    if count < 2:
        return 0.0
    hidden = torch.where(views.used, views.depth, torch.nan)
    points, world_to_cam = views.points(), views.world_to_cam
    centres = views.cam_to_world[:, :3, 3]
    ratios = []
    for a in range(count):
        rows = views.used[a].flatten().nonzero()[:, 0]
        mine = points[a].flatten(0, 1)[rows[:: max(1, len(rows) // SAMPLES)]]
        for b in (centres - centres[a]).norm(dim=1).argsort()[1 : PARTNERS + 1].tolist():
            xy, z = project(mine, views.K[b], world_to_cam[b])
            there = sample_depth(hidden[b], xy[:, None])[:, 0]
            ratio = there / z.clamp(min=1e-9) - 1
            ratios.append(ratio[(z > 0) & (there > 0) & (ratio.abs() < SAME_SURFACE)])
    found = torch.cat(ratios).abs()
    if len(found) < 100:
        return 0.0
    return 1.4826 / math.sqrt(2) * float(found.median()) * float(views.depth[views.used].median())
