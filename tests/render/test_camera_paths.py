"""Paths of cameras: they look at the scene, stand upright, are rigid, and pass through what they are given."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from recon.errors import ReconError
from recon.geometry import project
from recon.render import camera_paths
from recon.scene import Cameras, Gaussians, Scene


def ball(center: tuple[float, float, float] = (3.0, -1.0, 8.0), cameras: Cameras | None = None) -> Scene:
    generator = torch.Generator().manual_seed(0)
    means = torch.nn.functional.normalize(torch.randn(4000, 3, generator=generator), dim=-1) * 2 + torch.tensor(center)
    means[:100] += 1e4  # far outliers, as real scenes have
    ones = torch.ones(4000)
    gaussians = Gaussians(
        means=means, quats=torch.eye(4)[:1].repeat(4000, 1), scales=torch.full((4000, 3), 0.1), opacities=ones, sh=torch.zeros(4000, 1, 3)
    )
    return Scene(
        cameras=cameras if cameras is not None else Cameras(K=torch.zeros(0, 3, 3), cam_to_world=torch.zeros(0, 4, 4), width=1, height=1),
        gaussians=gaussians,
    )


def rigid(cameras: Cameras) -> None:
    R = cameras.cam_to_world[:, :3, :3]
    torch.testing.assert_close(R @ R.transpose(1, 2), torch.eye(3).expand_as(R), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(R), torch.ones(len(R)), atol=1e-5, rtol=0)


def test_surroundings_ignore_outliers() -> None:
    place = camera_paths.surroundings(ball())
    torch.testing.assert_close(place.center, torch.tensor([3.0, -1.0, 8.0]), atol=0.15, rtol=0)
    assert 1.9 < place.radius < 2.2 and place.up.tolist() == [0, -1, 0]


@pytest.mark.parametrize("path", [camera_paths.orbit, camera_paths.spiral])
def test_around(path: object) -> None:
    place = camera_paths.surroundings(ball())
    cameras = path(place, width=320, height=200, frames=12)  # type: ignore[operator]
    rigid(cameras)
    for c in range(12):
        xy, z = project(place.center[None], cameras.K[c], cameras.world_to_cam[c])
        torch.testing.assert_close(xy[0], torch.tensor([160.0, 100.0]), atol=1e-3, rtol=0)
        above, _ = project((place.center + 0.1 * place.up)[None], cameras.K[c], cameras.world_to_cam[c])
        assert float(z[0]) > 0 and float(above[0, 1]) < 100  # up in the world is up in the image
    if path is camera_paths.orbit:
        distance = (cameras.cam_to_world[:, :3, 3] - place.center).norm(dim=-1)
        torch.testing.assert_close(distance, torch.full((12,), 2.6 * place.radius), atol=1e-3, rtol=0)
        assert float(cameras.cam_to_world[0, 2, 3]) < float(place.center[2])  # begins on the first camera's side


def test_straight_down() -> None:
    T = camera_paths.look_at(torch.tensor([[0.0, -5.0, 0.0]]), torch.zeros(3), torch.tensor([0.0, -1.0, 0.0]))
    rigid(Cameras(K=torch.eye(3)[None], cam_to_world=T, width=2, height=2))
    torch.testing.assert_close(T[0, :3, 2], torch.tensor([0.0, 1.0, 0.0]))


def given(count: int) -> Cameras:
    T = camera_paths.look_at(
        torch.tensor([[math.sin(0.4 * i), 0.1 * i, -math.cos(0.4 * i)] for i in range(count)]) * 3, torch.zeros(3), torch.tensor([0.0, -1, 0])
    )
    K = torch.tensor([[100.0, 0, 70], [0, 100, 40], [0, 0, 1]])
    return Cameras(K=K.repeat(count, 1, 1), cam_to_world=T, width=160, height=100)


def test_through_given_cameras() -> None:
    cameras = given(4)
    same = camera_paths.through(cameras, width=320, height=200)
    torch.testing.assert_close(same.cam_to_world, cameras.cam_to_world)
    torch.testing.assert_close(same.K[0], torch.tensor([[200.0, 0, 140], [0, 200, 80], [0, 0, 1]]))
    smooth = camera_paths.through(cameras, width=320, height=200, frames=31)
    rigid(smooth)
    torch.testing.assert_close(smooth.cam_to_world[::10], cameras.cam_to_world, atol=1e-5, rtol=1e-5)
    steps = smooth.cam_to_world[:, :3, 3].diff(dim=0).norm(dim=-1)
    assert float(steps.max() / steps.min()) < 1.5  # no jumps


def test_wobble_starts_at_the_first_camera() -> None:
    cameras = given(2)
    scene = ball((0.0, 0.0, 0.0), cameras)
    path = camera_paths.wobble(scene, width=160, height=100, frames=8)
    rigid(path)
    torch.testing.assert_close(path.cam_to_world[0], cameras.cam_to_world[0], atol=1e-5, rtol=1e-5)
    moved = (path.cam_to_world[:, :3, 3] - cameras.cam_to_world[0, :3, 3]).norm(dim=-1)
    assert 0.05 < float(moved.max()) < 0.6


def test_what_cannot_be_done_is_told() -> None:
    with pytest.raises(ReconError, match="none; use orbit"):
        camera_paths.wobble(ball(), width=10, height=10)
    with pytest.raises(ReconError, match="no placed cameras"):
        camera_paths.through(ball().cameras, width=10, height=10)
    with pytest.raises(ReconError, match="holds no Gaussians, points or mesh"):
        camera_paths.surroundings(replace(ball(), gaussians=None))
    with pytest.raises(ReconError, match="190"):
        camera_paths.with_view(torch.eye(4)[None], 10, 10, 190)
