"""Scenes with known answers for the tests of files."""

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recon.geometry import unproject
from recon.io.content import no_cameras
from recon.scene import Cameras, Gaussians, Images, Mesh, Pointmaps, Scene, Tracks


def make_gaussians(count: int = 500, *, degree: int = 3, seed: int = 0) -> Gaussians:
    """Gaussians of all sizes and opacities in a box of 4 units."""
    random = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=random)
    uniform = lambda *shape: torch.rand(*shape, generator=random)
    return Gaussians(
        means=(uniform(count, 3) - 0.5) * 4 + torch.tensor([0.0, 0.0, 4.0]), quats=torch.nn.functional.normalize(normal(count, 4), dim=1),
        scales=torch.exp(normal(count, 3) * 0.7 - 3), opacities=uniform(count),
        sh=normal(count, (degree + 1) ** 2, 3) * torch.tensor([1.0, *[0.15] * ((degree + 1) ** 2 - 1)])[:, None],
    )  # fmt: skip


def splat_scene(count: int = 500, *, degree: int = 3, seed: int = 0) -> Scene:
    return Scene(cameras=no_cameras(), gaussians=make_gaussians(count, degree=degree, seed=seed))


def look_at(centre: tuple[float, float, float], target: tuple[float, float, float]) -> torch.Tensor:
    """cam_to_world [4, 4] with y down."""
    forward = torch.nn.functional.normalize(torch.tensor(target) - torch.tensor(centre), dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]), forward), dim=0)
    T = torch.eye(4)
    T[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward], 1)
    T[:3, 3] = torch.tensor(centre)
    return T


def view_cameras(views: int = 3, width: int = 64, height: int = 48) -> Cameras:
    """Cameras side by side, all with another lens, looking at (0, 0, 4)."""
    K = torch.stack([torch.tensor([[50.0 + 5 * v, 0, width / 2 + v], [0, 51.0 + 5 * v, height / 2 - v], [0, 0, 1]]) for v in range(views)])
    poses = torch.stack([look_at((0.5 * v, -0.1 * v, 0.0), (0.0, 0.0, 4.0)) for v in range(views)])
    return Cameras(K=K, cam_to_world=poses, width=width, height=height)


def view_scene(views: int = 3, width: int = 64, height: int = 48, *, names: tuple[str, ...] | None = None, with_tracks: bool = False) -> Scene:
    """Views of the slanted plane 0.2 x + z = 4 with exact depth; photos have twice the grid's size."""
    cameras = view_cameras(views, width, height)
    normal, distance = torch.tensor([0.2, 0.0, 1.0]), 4.0
    one = unproject(torch.ones(views, height, width), cameras.K, cameras.cam_to_world)
    centre = cameras.cam_to_world[:, None, None, :3, 3]
    depth = (distance - (centre * normal).sum(-1)) / ((one - centre) * normal).sum(-1)
    points = unproject(depth, cameras.K, cameras.cam_to_world)
    rgb = (0.5 + 0.5 * torch.sin(points * 3)).clamp(0, 1)
    photos = tuple(np.repeat(np.repeat((rgb[v] * 255).byte().numpy(), 2, 0), 2, 1) for v in range(views))
    images = Images(
        rgb=rgb, names=names or tuple(f"photo {v}.png" for v in range(views)), photos=photos,
        photo_width=torch.full((views,), 2 * width), photo_height=torch.full((views,), 2 * height),
        grid_scale=torch.full((views, 2), 0.5), grid_offset=torch.zeros(views, 2),
    )  # fmt: skip
    maps = Pointmaps(points=points, confidence=1 + rgb[..., 0], mask=depth.isfinite())
    return Scene(cameras=cameras, pointmaps=maps, images=images, tracks=_tracks(cameras) if with_tracks else None, report={"note": "made"})


def _tracks(cameras: Cameras) -> Tracks:
    """A lattice of points on the plane as all views see it, with exact pixels."""
    from recon.geometry import project

    x, y = torch.meshgrid(torch.linspace(-0.7, 0.7, 9), torch.linspace(-0.7, 0.7, 7), indexing="ij")
    points = torch.stack([x, y, 4 - 0.2 * x], -1).reshape(-1, 3)
    xy = torch.stack([project(points, cameras.K[v], cameras.world_to_cam[v])[0] for v in range(len(cameras))])
    view, point = torch.meshgrid(torch.arange(len(cameras)), torch.arange(len(points)), indexing="ij")
    colors = torch.stack([0.5 + x.flatten() / 2, 0.5 + y.flatten() / 2, torch.full((len(points),), 0.25)], 1)
    return Tracks(points=points, view=view.flatten(), point=point.flatten(), xy=xy.reshape(-1, 2), error=torch.zeros(len(points)), colors=colors)


def sphere_mesh(rows: int = 12) -> Mesh:
    """A coloured sphere at (1, 2, 3), counter-clockwise from outside."""
    theta, phi = np.meshgrid(np.linspace(0.05, math.pi - 0.05, rows), np.linspace(0, 2 * math.pi, 2 * rows, endpoint=False), indexing="ij")
    normals = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(2 * rows), indexing="ij")
    a, b = i * 2 * rows + j, i * 2 * rows + (j + 1) % (2 * rows)
    faces = np.concatenate([np.stack([a, a + 2 * rows, b], -1).reshape(-1, 3), np.stack([b, a + 2 * rows, b + 2 * rows], -1).reshape(-1, 3)])
    return Mesh(vertices=normals * 0.5 + [1, 2, 3], faces=faces, colors=normals * 0.5 + 0.5, normals=normals)


@pytest.fixture
def gaussians():
    return make_gaussians


@pytest.fixture
def splats():
    return splat_scene


@pytest.fixture
def views():
    return view_scene


@pytest.fixture
def sphere() -> Scene:
    return Scene(cameras=no_cameras(), mesh=sphere_mesh())


@pytest.fixture
def eval_data() -> Path:
    """The folder of real data: RECON_EVAL_DATA, or ../shared/data/eval beside the repository; skips where there is none."""
    folder = Path(os.environ.get("RECON_EVAL_DATA", Path(__file__).parents[2] / ".." / "shared" / "data" / "eval"))
    if not (folder / "splats").is_dir():
        pytest.skip("the evaluation data is not here (RECON_EVAL_DATA)")
    return folder


def textured_mesh(rows: int = 12) -> Mesh:
    """The sphere with a texture whose red is u and green is v, places of it in each vertex, and no colours."""
    y, x = torch.meshgrid((torch.arange(64) + 0.5) / 64, (torch.arange(96) + 0.5) / 96, indexing="ij")
    texture = torch.stack([x, y, torch.full_like(x, 0.25)], -1)
    mesh = sphere_mesh(rows)
    uvs = torch.rand(len(mesh.vertices), 2, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    return replace(mesh, colors=None, uvs=uvs, texture=(texture * 255).round() / 255)


@pytest.fixture
def textured() -> Scene:
    return Scene(cameras=no_cameras(), mesh=textured_mesh())
