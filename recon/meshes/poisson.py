"""Contains screened Poisson reconstruction (Kazhdan and Hoppe 2013, by Open3D) from oriented points."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from recon.errors import ReconError
from recon.geometry import normals_from_points
from recon.meshes.depth_views import DepthViews
from recon.meshes.resolution import Resolution
from recon.meshes.with_open3d import load_open3d
from recon.scene import Mesh

LEAST_POINTS, MOST_POINTS = 50, 600_000
DEEPEST = 10  # of its octree: 1024 cells across
NEIGHBOURS = 24  # that a normal of bare points is taken from
SUPPORT = 4.0  # cells from the nearest point up to which the surface is kept


def poisson_surface(
    points: Tensor, normals: Tensor, *, voxel_size: float | None = None, support: float | None = SUPPORT,
    progress: Callable[[str, float], None] | None = None,
) -> Mesh:
    """The surface of oriented points [P, 3] with unit normals [P, 3] that look outwards; cells as fine as voxel_size where that is given.

    `support`: what is further from all points than so many cells goes (None: the surface stays closed as far as its box reaches).
    Raises ReconError.
    """
    tell = progress or (lambda text, share: None)
    fine = points.isfinite().all(1) & normals.isfinite().all(1) & (normals.norm(dim=1) > 0.5)
    points, normals = points[fine], normals[fine]
    if len(points) < LEAST_POINTS:
        raise ReconError(f"Poisson reconstruction needs at least {LEAST_POINTS} oriented points, and there are {len(points)}")
    if support is not None and not support > 0:
        raise ReconError(f"support is {support}, wanted a positive number (of cells)")
    if len(points) > MOST_POINTS:
        rows = torch.linspace(0, len(points) - 1, MOST_POINTS).round().long()
        points, normals = points[rows], normals[rows]
    extent = float((points.amax(0) - points.amin(0)).max())
    if extent <= 0:
        raise ReconError("all points lie in one place: there is no surface")
    cell = max(voxel_size or extent * 1.5 / math.sqrt(len(points)), 1.1 * extent / 2**DEEPEST)
    tell("Poisson", 0.0)
    o3d = load_open3d()
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points.double().numpy()))
    cloud.normals = o3d.utility.Vector3dVector(normals.double().numpy())
    depth = min(max(math.ceil(math.log2(1.1 * extent / cell)), 5), DEEPEST)
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        found, _ = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=depth, scale=1.1, linear_fit=False, n_threads=-1)
    vertices, faces = np.asarray(found.vertices), np.asarray(found.triangles)
    if not len(faces):
        raise ReconError(f"the {len(points)} points hold no surface")
    if support is not None:
        from scipy.spatial import KDTree

        near = KDTree(points.double().numpy()).query(vertices, distance_upper_bound=support * cell)[0] < np.inf
        faces = faces[near[faces].all(1)]
    tell("Poisson", 1.0)
    return Mesh(vertices=torch.from_numpy(vertices.copy()).float(), faces=torch.from_numpy(faces.astype(np.int64)))


def points_of_views(views: DepthViews, resolution: Resolution) -> tuple[Tensor, Tensor]:  # [P, 3], [P, 3]
    """The used pixels as points with normals towards their cameras, one a voxel: the mean of all pixels there, by weight."""
    maps = torch.where(views.used[..., None], views.points(), 1e6)
    facing = normals_from_points(maps)
    towards = views.cam_to_world[:, None, None, :3, 3] - maps
    facing = torch.where((facing * towards).sum(-1, keepdim=True) < 0, -facing, facing)
    points, normals, weight = maps[views.used], facing[views.used], views.weight[views.used].clamp(min=1e-6)[:, None]
    cell = torch.floor(points / resolution.voxel_size).long()
    _, where, counts = torch.unique(cell, dim=0, return_inverse=True, return_counts=True)
    gather = lambda values: torch.zeros(len(counts), values.shape[1]).index_add_(0, where, values)
    total = gather(weight)
    return gather(points * weight) / total, torch.nn.functional.normalize(gather(normals * weight), dim=1)


def oriented(points: Tensor, eyes: Tensor | None = None) -> Tensor:  # [P, 3], [C, 3] -> [P, 3]
    """Normals of bare points: across their neighbourhoods, towards the nearest of the places they were seen from, or, without those, all alike
    along a tree of neighbours."""
    o3d = load_open3d()
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points.double().numpy()))
    cloud.estimate_normals(o3d.geometry.KDTreeSearchParamKNN(min(NEIGHBOURS, len(points))))
    if eyes is None or not len(eyes):
        try:
            cloud.orient_normals_consistent_tangent_plane(min(NEIGHBOURS, len(points) - 1))
        except RuntimeError as error:
            raise ReconError(f"the {len(points)} points have no surface to lie on: their normals cannot be found") from error
        return torch.from_numpy(np.asarray(cloud.normals).copy()).float()
    normals = torch.from_numpy(np.asarray(cloud.normals).copy()).float()
    towards = eyes[torch.cdist(points, eyes).argmin(1)] - points
    return torch.where((normals * towards).sum(1, keepdim=True) < 0, -normals, normals)
