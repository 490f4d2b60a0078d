"""Contains the fusion of depth maps by truncated signed distances (Curless and Levoy 1996) in sparse blocks, each pixel by its own weight.

The sums are this project's own (Open3D's integration knows no weights of pixels); marching cubes over them are Open3D's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from recon.errors import ReconError
from recon.meshes.depth_views import DepthViews
from recon.meshes.resolution import Resolution
from recon.meshes.with_open3d import load_open3d
from recon.scene import Mesh

LEAST_WEIGHT = 0.01  # of a median pixel's: what is ten times less sure than the rest and seen by nobody else is no surface
NO_SURFACE = "the views hold no surface at this voxel size; wanted another voxel_size, or views with more pixels that are sure"
MOST_BLOCKS = 150_000  # of 512 voxels: 2 GB with marching cubes
Progress = Callable[[str, float], None]


def fuse_tsdf(views: DepthViews, resolution: Resolution, *, progress: Progress | None = None) -> Mesh:
    """The surface at which the weighted mean of all views' signed distances is zero; open where no view looked.

    Raises ReconError for a voxel size that needs more memory than is reasonable, and where the views hold no surface.
    """
    from recon.meshes.tsdf_kernels import BLOCK, integrate

    tell = progress or (lambda text, share: None)
    tell("fusing depth", 0.0)
    blocks = surface_blocks(views, resolution)
    distance, total = (np.zeros((len(blocks), BLOCK, BLOCK, BLOCK), np.float32) for _ in range(2))
    depth, weight, slope, K, T = (x.numpy() for x in (views.depth, views.weight, views.slope, views.K.double(), views.world_to_cam.double()))
    for v in range(len(views)):
        tell("fusing depth", 0.1 + 0.7 * v / len(views))
        integrate(blocks, depth[v], weight[v], slope[v], K[v], T[v], resolution.voxel_size, resolution.truncation, distance, total)
    tell("marching cubes", 0.8)
    mesh = zero_surface(blocks, distance, total > LEAST_WEIGHT, resolution.voxel_size)
    tell("marching cubes", 1.0)
    return mesh


def surface_blocks(views: DepthViews, resolution: Resolution) -> np.ndarray:  # [B, 3] int32
    """The blocks that hold voxels within the truncation of a view's surface. Raises ReconError for more than MOST_BLOCKS."""
    from recon.meshes.tsdf_kernels import BLOCK, HALF, touched_blocks

    size = BLOCK * resolution.voxel_size
    if float(views.points()[views.used].abs().max()) > 0.9 * HALF * size:
        raise ReconError(f"the scene reaches too far for voxels of {resolution.voxel_size:.3g}; wanted a larger voxel_size")
    out = np.empty(20 * views.depth[0].numel() + 1000, np.int64)
    found = np.empty(0, np.int64)
    for v in range(len(views)):
        T = views.cam_to_world[v].double().numpy()
        args = views.depth[v].numpy(), views.slope[v].numpy(), views.K[v].double().numpy(), T, size, resolution.truncation
        found = np.union1d(found, out[: touched_blocks(*args, out)])
        if len(found) > MOST_BLOCKS:
            raise ReconError(f"voxel_size {resolution.voxel_size:.3g} is too fine for this scene: it needs more than 2 GB; wanted a larger one")
    mask = 2 * HALF - 1
    return (np.stack([found >> 42, (found >> 21) & mask, found & mask], 1) - HALF).astype(np.int32)


def zero_surface(blocks: np.ndarray, distance: np.ndarray, known: np.ndarray, voxel_size: float) -> Mesh:
    """Marching cubes over the voxels that are known. blocks [B, 3], distance and known [B, 8, 8, 8] (z, y, x). Raises ReconError for no surface."""
    o3d = load_open3d()
    core = o3d.core
    grid = o3d.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight"), (core.float32, core.float32), ((1), (1)), voxel_size, distance.shape[1], len(blocks), core.Device("CPU:0")
    )
    rows = grid.hashmap().activate(core.Tensor(np.ascontiguousarray(blocks)))[0].numpy()
    grid.attribute("tsdf").numpy()[rows] = distance[..., None]
    grid.attribute("weight").numpy()[rows] = known[..., None]
    try:
        found = grid.extract_triangle_mesh(0.5)
    except RuntimeError as error:  # what Open3D says where no cube has a zero in it
        raise ReconError(NO_SURFACE) from error
    if not len(found.triangle.indices):
        raise ReconError(NO_SURFACE)
    vertices, faces = in_order(found.vertex.positions.numpy(), found.triangle.indices.numpy().astype(np.int64))
    return Mesh(vertices=torch.from_numpy(vertices), faces=torch.from_numpy(faces))


def in_order(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [P, 3], [F, 3]
    """The same mesh in one order: Open3D's differs from run to run."""
    order = np.lexsort(vertices.T)
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    faces = number[faces]
    first = faces.argmin(1)
    faces = np.take_along_axis(faces, (first[:, None] + np.arange(3)) % 3, 1)  # turned, not mirrored
    return vertices[order], faces[np.lexsort(faces.T[::-1])]
