"""A procedural scene seen by cameras on an arc, and perfect pairwise pointmaps of it with noise: what a flawless DUSt3R would say."""

from __future__ import annotations

import torch
from torch import Tensor

from recon.geometry import invert_rigid, project, transform, unproject
from recon.models.dust3r.pairs import PairPoints, pair_graph

WIDTH, HEIGHT = 64, 48
SPHERES = torch.tensor([[0.0, 0.0, 0.0, 0.8], [1.0, 0.5, 0.6, 0.5], [-1.1, 0.4, 0.3, 0.6]])  # centre, radius; the floor is y = 1


def look_at(place: Tensor, target: Tensor) -> Tensor:  # -> cam_to_world [4, 4]
    z = torch.nn.functional.normalize(target - place, dim=0)
    x = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]), z), dim=0)
    T = torch.eye(4)
    T[:3, :3], T[:3, 3] = torch.stack([x, torch.linalg.cross(z, x), z], 1), place
    return T


def cameras(views: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """K [V, 3, 3] with different focal lengths, cam_to_world [V, 4, 4] with the first camera as the world, and that one's place in the scene."""
    angle = torch.linspace(-0.9, 0.9, views)
    jitter = lambda: torch.randn(views, generator=generator) * 0.2
    places = torch.stack([4 * angle.sin() + jitter(), -1.2 + jitter(), -4 * angle.cos() + jitter()], 1)
    T = torch.stack([look_at(p, torch.randn(3, generator=generator) * 0.1) for p in places])
    K = torch.zeros(views, 3, 3)
    K[:, 0, 0] = K[:, 1, 1] = 50 + 30 * torch.rand(views, generator=generator)
    K[:, 0, 2], K[:, 1, 2], K[:, 2, 2] = WIDTH / 2, HEIGHT / 2, 1
    return K, invert_rigid(T[0]) @ T, T[0]


def depth_of(K: Tensor, cam_to_scene: Tensor) -> Tensor:  # [H, W]
    """z of the first surface on each ray; walls 12 away behind everything."""
    rays = unproject(torch.ones(HEIGHT, WIDTH), K).reshape(-1, 3)
    direction, origin = rays @ cam_to_scene[:3, :3].T, cam_to_scene[:3, 3]
    depth = torch.full((len(rays),), 12.0)
    floor = (1 - origin[1]) / direction[:, 1]
    depth = torch.where((floor > 0) & (floor < depth), floor, depth)
    for *centre, radius in SPHERES.tolist():
        away = origin - torch.tensor(centre)
        a, b, c = direction.square().sum(1), direction @ away, away @ away - radius**2
        root = b.square() - a * c
        hit = (-b - root.clamp(min=0).sqrt()) / a
        depth = torch.where((root > 0) & (hit > 0) & (hit < depth), hit, depth)
    return depth.reshape(HEIGHT, WIDTH)


def pairwise_scene(views: int, *, noise: float, seed: int, kind: str = "all") -> tuple[PairPoints, Tensor, Tensor, Tensor]:
    """Pairs in scales of their own, noise relative to the depth; K [V, 3, 3], cam_to_world [V, 4, 4] and depth [V, H, W], the truth."""
    generator = torch.Generator().manual_seed(seed)
    K, T, first = cameras(views, generator)
    depth = torch.stack([depth_of(k, first @ t) for k, t in zip(K, T, strict=True)])
    points = unproject(depth, K, T)
    pairs = pair_graph(views, kind)  # type: ignore[arg-type]
    maps, sure = [], []
    for i, j in pairs:
        scale = 0.5 + torch.rand(1, generator=generator)
        both = torch.stack([transform(invert_rigid(T[i]), points[v].reshape(-1, 3)).reshape(HEIGHT, WIDTH, 3) for v in (i, j)])
        both = both + noise * both.norm(dim=-1, keepdim=True) * torch.randn(both.shape, generator=generator)
        maps.append(scale * both)
        seen = torch.stack([torch.ones(HEIGHT, WIDTH), overlap(points[j], K[i], T[i])])
        sure.append(1.5 + 5 * seen)
    stacked, certain = torch.stack(maps), torch.stack(sure)
    return PairPoints(
        index=torch.tensor(pairs), first=stacked[:, 0], second=stacked[:, 1], first_confidence=certain[:, 0], second_confidence=certain[:, 1]
    ), K, T, depth  # fmt: skip


def overlap(points: Tensor, K: Tensor, T: Tensor) -> Tensor:  # [H, W, 3] world -> [H, W] 0 or 1
    """Which points the camera sees, but for what hides them."""
    xy, z = project(points.reshape(-1, 3), K, invert_rigid(T))
    inside = (xy > 0).all(1) & (xy[:, 0] < WIDTH) & (xy[:, 1] < HEIGHT) & (z > 0)
    return inside.float().reshape(HEIGHT, WIDTH)

