"""Shapes whose surface is known, seen by cameras around or inside them: exact depth by casting rays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from recon.geometry import pixel_grid, transform
from recon.meshes.with_open3d import load_open3d
from recon.render.camera_paths import look_at
from recon.scene import Cameras, Images, Mesh, Pointmaps, Scene

HEIGHT, WIDTH, FOCAL = 120, 160, 140.0
Shape = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # origin [3], directions [n, 3] -> how many directions away [n], inf where missed


def sphere(origin: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """Radius 1 around the origin."""
    a, b, c = (directions**2).sum(-1), directions @ origin, origin @ origin - 1
    root = b * b - a * c
    return torch.where(root > 0, (-b - root.clamp(min=0).sqrt()) / a, torch.inf)


def room(origin: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """The inside of a box of half sides 2, 1.2, 2."""
    half = torch.tensor([2.0, 1.2, 2.0], dtype=torch.float64)
    return ((torch.sign(directions) * half - origin) / directions).amin(-1)


def around(count: int = 14, distance: float = 3.0) -> np.ndarray:  # [C, 3]
    """Eyes on a sphere (Fibonacci)."""
    index = np.arange(count) + 0.5
    z, angle = 1 - 2 * index / count, index * np.pi * (1 + 5**0.5)
    ring = np.sqrt(1 - z * z)
    return distance * np.stack([ring * np.cos(angle), z, ring * np.sin(angle)], 1)


def seen(shape: Shape, eyes: np.ndarray, targets: np.ndarray, *, noise: float = 0.0, seed: int = 0) -> Scene:
    """The scene that cameras at eyes [C, 3] see looking at targets [C, 3]: depth, confidence of 1 %, and colours that are the place / 4 + 1/2."""
    eye, target = torch.as_tensor(eyes, dtype=torch.float64), torch.as_tensor(targets, dtype=torch.float64)
    T = torch.cat([look_at(e[None], t, torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)) for e, t in zip(eye, target, strict=True)])
    K = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]]).repeat(len(eye), 1, 1)
    rays = torch.cat([(pixel_grid(HEIGHT, WIDTH) - torch.tensor([WIDTH / 2, HEIGHT / 2])) / FOCAL, torch.ones(HEIGHT, WIDTH, 1)], -1).double()
    flat = rays.reshape(-1, 3)
    depth = torch.stack([shape(t[:3, 3], flat @ t[:3, :3].T) for t in T]).reshape(-1, HEIGHT, WIDTH)
    depth = torch.where(depth.isfinite() & (depth > 0), depth, 0)
    points = torch.stack([transform(t, flat * d.reshape(-1, 1)) for t, d in zip(T, depth, strict=True)]).reshape(*depth.shape, 3)
    generator = torch.Generator().manual_seed(seed)
    depth = (depth * (1 + noise * torch.randn(depth.shape, generator=generator, dtype=torch.float64))).float()
    mask = depth > 0
    cameras = Cameras(K=K, cam_to_world=T.float(), width=WIDTH, height=HEIGHT)
    maps = Pointmaps(points=points.float(), confidence=torch.full_like(depth, 20.0), mask=mask)
    return Scene(cameras=cameras, images=Images(rgb=(points / 4 + 0.5).clamp(0, 1).float()), depth=depth, pointmaps=maps)


def sphere_scene(**options: float) -> Scene:
    """A ball from all sides."""
    eyes = around()
    return seen(sphere, eyes, np.zeros_like(eyes), **options)  # type: ignore[arg-type]


def room_scene(count: int = 14) -> Scene:
    """A box room from its middle, in all directions."""
    targets = np.concatenate([around(count - 2, 1.0), np.array([[0.05, 1, 0], [0.05, -1, 0]])])
    eyes = 0.2 * around(count, 1.0)
    return seen(room, eyes, eyes + targets)


def icosphere(radius: float = 1.0) -> Mesh:
    """A closed ball of triangles."""
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return Mesh(vertices=np.asarray(ball.vertices), faces=np.asarray(ball.faces))  # type: ignore[arg-type]


def distances(points: np.ndarray, mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:  # [n, 3] -> [n], [n, 3]
    """Distance of points to a mesh, and the normal of the nearest face."""
    o3d = load_open3d()
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.core.Tensor(mesh.vertices.float().numpy()), o3d.core.Tensor(mesh.faces.numpy().astype(np.uint32)))
    found = scene.compute_closest_points(o3d.core.Tensor(points.astype(np.float32)))
    return np.linalg.norm(found["points"].numpy() - points, axis=1), found["primitive_normals"].numpy()
