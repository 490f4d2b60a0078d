"""A small scene with a known answer, for the viewer: a wall, a floor and a ball seen by two cameras, 60,000 Gaussians, no network.

World: the first camera's (OpenCV). The wall is the plane z = 4, the floor y = 1, the ball has its centre at (-0.5, 0.55, 3) and radius 0.45. On the
wall are two marks, black discs of radius 0.05, one unit apart: MARKS.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recon.scene import Cameras, Gaussians, Images, Mesh, Pointmaps, Scene
from recon.surfaces.pixel_gaussians import pixel_gaussians

WIDTH, HEIGHT = 200, 150
MARKS = ((-0.2, -0.6, 4.0), (0.8, -0.6, 4.0))
NAMES = ("<img src=x onerror=window.hacked=1>.jpg", '"><script>window.hacked=1</script>${alert(1)}.png')
BALL, RADIUS = torch.tensor([-0.5, 0.55, 3.0]), 0.45


def cameras(size: float = 1) -> Cameras:
    """One straight camera with its principal point off the middle, and one to its right that is turned, rolled and longer.

    `size`: how many times 200 x 150 pixels their pictures are in each direction.
    """
    yaw, roll = math.radians(-6), math.radians(8)
    turn = torch.tensor([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    spin = torch.tensor([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    T = torch.eye(4).repeat(2, 1, 1)
    T[1, :3, :3], T[1, :3, 3] = turn @ spin, torch.tensor([0.5, -0.1, 0.2])
    K = torch.tensor([[[210.0, 0, 92], [0, 210, 80], [0, 0, 1]], [[260.0, 0, 100], [0, 260, 75], [0, 0, 1]]])
    K[:, :2] *= size
    return Cameras(
        K=K, cam_to_world=T, width=round(WIDTH * size), height=round(HEIGHT * size), placed_by=("matches", "pointmap"),
        confidence=torch.tensor([0.9, 0.35]),
    )  # fmt: skip


def trace(views: Cameras) -> Tensor:  # [V, H, W]
    """Exact depth (z) of what each pixel sees."""
    y, x = torch.meshgrid(torch.arange(views.height) + 0.5, torch.arange(views.width) + 0.5, indexing="ij")
    out = []
    for K, T in zip(views.K, views.cam_to_world, strict=True):
        ray = torch.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], torch.ones_like(x)], -1) @ T[:3, :3].T
        eye = T[:3, 3]
        hits = torch.stack([(4 - eye[2]) / ray[..., 2], (1 - eye[1]) / ray[..., 1], _ball(eye, ray)])
        out.append(torch.where(hits > 0, hits, torch.inf).amin(0))
    return torch.stack(out)


def _ball(eye: Tensor, ray: Tensor) -> Tensor:
    a, b, c = (ray * ray).sum(-1), ray @ (eye - BALL), ((eye - BALL) ** 2).sum() - RADIUS**2
    root = b * b - a * c
    return torch.where(root > 0, (-b - root.clamp(min=0).sqrt()) / a, torch.inf)


def colour(points: Tensor) -> Tensor:  # [..., 3] -> [..., 3]
    """A texture that no turn or mirroring leaves as it is; smooth, so that small errors of place are small errors of colour."""
    x, y, z = points.unbind(-1)
    red = 0.55 + 0.35 * torch.sin(1.7 * x + 0.6) * torch.cos(0.9 * z)
    green = 0.5 + 0.25 * torch.sin(2.3 * y - 0.8 * x) - 0.12 * y
    blue = 0.45 + 0.3 * torch.cos(1.3 * x * y + z) + 0.1 * y
    rgb = torch.stack([red, green, blue], -1).clamp(0.05, 0.95)
    marks = torch.tensor(MARKS)
    dark = torch.stack([(points - mark).norm(dim=-1) < 0.05 for mark in marks]).any(0)
    return torch.where(dark[..., None], torch.zeros(3), rgb)


def known_scene(*, mesh: bool = False, names: tuple[str, str] = NAMES, metric: bool = False, size: float = 1) -> Scene:
    """The scene, of 60,000 * size^2 Gaussians; with `mesh` also a grid of triangles over what the first view sees."""
    views = cameras(size)
    depth = trace(views)
    local = torch.stack([_local(d, K) for d, K in zip(depth, views.K, strict=True)])
    points = torch.stack([p @ T[:3, :3].T + T[:3, 3] for p, T in zip(local, views.cam_to_world, strict=True)])
    rgb = colour(points)
    mask = torch.ones_like(depth, dtype=torch.bool)
    confidence = 5 + 40 * torch.sigmoid(points[..., 0])  # the left is the least sure
    means, quats, scales, opacities, sh = pixel_gaussians(local, rgb, confidence, mask, views.K, views.cam_to_world)
    agreement = [{"pnp_rotation_degrees": 0.4, "pnp_centre": 0.01, "depth": 0.02, "points": 1452}, None]
    report = {"agreement": agreement, "warnings": [f"{names[1]} is blurred (0.91; sharp photos stay below 0.8): its matches and depth will be poor"]}
    return Scene(
        cameras=views, images=Images(rgb=rgb, names=names), depth=depth, pointmaps=Pointmaps(points=points, confidence=confidence, mask=mask),
        gaussians=Gaussians(means=means, quats=quats, scales=scales, opacities=opacities, sh=sh), mesh=_mesh(points[0], rgb[0]) if mesh else None,
        report=report, metric=metric,
    )  # fmt: skip


def _local(depth: Tensor, K: Tensor) -> Tensor:  # [H, W] -> [H, W, 3]
    from recon.geometry import unproject

    return unproject(depth[None], K[None])[0]


def _mesh(points: Tensor, rgb: Tensor) -> Mesh:
    index = torch.arange(points[..., 0].numel()).view(points.shape[:2])
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = torch.cat([torch.stack([a, c, b], -1).reshape(-1, 3), torch.stack([b, c, d], -1).reshape(-1, 3)])
    z = points[..., 2].reshape(-1)[faces]
    faces = faces[(z.amax(1) - z.amin(1)) < 0.3]  # not across the ball's edge
    return Mesh(vertices=points.reshape(-1, 3), faces=faces, colors=rgb.reshape(-1, 3))
