"""Pictures of a mesh as unlit programs show it, for contact sheets and for checks against photos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from recon.errors import ReconError
from recon.meshes.texture.subdivision import halve, split_large
from recon.scene import Cameras, Mesh, Rendering

LARGE = 0.5  # radians


def draw_mesh(mesh: Mesh, cameras: Cameras, *, background: tuple[float, float, float] = (0.0, 0.0, 0.0), samples: int = 2) -> Rendering:
    """Pictures of a mesh's texture, else of its vertex colours, else white; both sides of faces are shown.

    `samples` a side of each pixel are averaged in colour and alpha; depth is that of the nearest face at the pixel's first sample behind its
    centre, 0 where nothing is. Raises ReconError where a camera has a lens or no place.
    """
    from recon.meshes.texture.raster import draw_faces, project_points, shade

    if cameras.lenses or not (cameras.K.isfinite().all() and cameras.cam_to_world.isfinite().all()):
        raise ReconError("a mesh is drawn from placed cameras without lens distortion, and some have a lens or no place")
    texture, values = _surface(mesh)
    fine = _finer(cameras, samples)
    eyes = cameras.cam_to_world[:, :3, 3].double().cpu().numpy()
    points, faces = mesh.vertices.double().cpu().numpy(), mesh.faces.long().cpu().numpy()
    points, faces, parents = split_large(points, faces, eyes, most=LARGE)  # faces that reach behind a camera would be left out
    values = halve(values, parents)
    shape = (fine.height, fine.width)
    pictures, alphas, depths = [], [], []
    for K, world_to_cam in zip(fine.K.double().cpu().numpy(), np.linalg.inv(fine.cam_to_world.double().cpu().numpy()), strict=True):
        xyz = project_points(points, K, world_to_cam)
        depth, shown = np.full(shape, np.inf), np.full(shape, -1, np.int64)
        draw_faces(xyz, faces, depth, shown)
        picture = np.empty((*shape, 3), np.float32)
        picture[:] = background
        shade(xyz, faces, shown, values, texture, picture)
        pictures.append(picture.reshape(cameras.height, samples, cameras.width, samples, 3).mean((1, 3)))
        alphas.append((shown >= 0).astype(np.float32).reshape(cameras.height, samples, cameras.width, samples).mean((1, 3)))
        middle = depth[samples // 2 :: samples, samples // 2 :: samples]
        depths.append(np.where(np.isfinite(middle), middle, 0).astype(np.float32))
    return Rendering(color=torch.from_numpy(np.stack(pictures)), depth=torch.from_numpy(np.stack(depths)), alpha=torch.from_numpy(np.stack(alphas)))


def _surface(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """The texture [h, w, 3] and what the vertices have: places in it [P, 2], or colours [P, 3]."""
    if mesh.texture is not None and mesh.uvs is not None:
        return mesh.texture.float().cpu().numpy(), mesh.uvs.double().cpu().numpy()
    colors = torch.ones_like(mesh.vertices) if mesh.colors is None else mesh.colors
    return np.zeros((1, 1, 3), np.float32), colors.double().cpu().numpy()


def _finer(cameras: Cameras, samples: int) -> Cameras:
    K = cameras.K.clone()
    K[:, :2] *= samples
    return replace(cameras, K=K, width=cameras.width * samples, height=cameras.height * samples)
