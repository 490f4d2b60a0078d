"""Pictures of meshes from the front and the side, in their colours and shaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recon.meshes.with_open3d import load_open3d
from recon.render.camera_paths import look_at, surroundings
from recon.scene import Mesh, Scene

TURN_DEGREES = 35.0
BACKGROUND = 0.97


def sides(mesh: Mesh, scene: Scene, path: Path, height: int = 360) -> None:
    """A row of four: the mesh from its middle camera and from the side, coloured and shaded; faces that are seen from behind are red."""
    import cv2

    v = len(scene) // 2
    T, side = scene.cameras.cam_to_world[[v]].float(), side_of(scene, v)
    K, width = scene.cameras.K[v].float().clone(), round(height * scene.cameras.width / scene.cameras.height)
    K[:2] *= height / scene.cameras.height
    row = [draw(mesh, K, pose[0], width, height, shaded=s) for pose in (T, side) for s in (False, True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), (np.concatenate(row, 1)[..., ::-1] * 255).round().astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 82])


def side_of(scene: Scene, view: int) -> Tensor:  # -> [1, 4, 4]
    """The place of a view's camera after a turn about the scene, a little higher."""
    place = surroundings(scene)
    offset = scene.cameras.cam_to_world[view, :3, 3].float() - place.center
    axis, angle = place.up, np.radians(TURN_DEGREES)
    turned = offset * np.cos(angle) + torch.linalg.cross(axis, offset) * np.sin(angle) + axis * (axis @ offset) * (1 - np.cos(angle))
    return look_at((place.center + turned + 0.25 * offset.norm() * axis)[None], place.center, axis)


def draw(mesh: Mesh, K: Tensor, cam_to_world: Tensor, width: int, height: int, *, shaded: bool) -> np.ndarray:  # -> [H, W, 3] 0..1
    """The mesh as a camera sees it, by casting rays."""
    o3d = load_open3d()
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.core.Tensor(mesh.vertices.float().numpy()), o3d.core.Tensor(mesh.faces.numpy().astype(np.uint32)))
    world_to_cam = torch.linalg.inv(cam_to_world.double()).numpy()
    rays = scene.create_rays_pinhole(K.double().numpy(), world_to_cam, width, height)
    hit = scene.cast_rays(rays)
    face, uv = hit["primitive_ids"].numpy().astype(np.int64), hit["primitive_uvs"].numpy()
    there = np.isfinite(hit["t_hit"].numpy())
    corners = mesh.faces.numpy()[np.where(there, face, 0)]
    cosine = -(hit["primitive_normals"].numpy() * rays.numpy()[..., 3:]).sum(-1) / np.linalg.norm(rays.numpy()[..., 3:], axis=-1)
    if shaded or mesh.colors is None:
        grey = (0.25 + 0.7 * np.abs(cosine))[..., None]
        color = np.where((cosine < 0)[..., None], grey * [1.0, 0.4, 0.35], grey)
    else:
        c = mesh.colors.numpy()[corners]
        color = c[..., 0, :] * (1 - uv.sum(-1, keepdims=True)) + c[..., 1, :] * uv[..., :1] + c[..., 2, :] * uv[..., 1:]
    return np.where(there[..., None], color.clip(0, 1), BACKGROUND)
