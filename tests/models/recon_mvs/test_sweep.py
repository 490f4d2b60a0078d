"""The second stage with its weights: a wall whose depth is known, and what must not be invented where nothing can be seen from two places."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import recon
from recon.models.recon_mvs.sweep import load_sweeper
from recon.scene import Cameras, Images

pytestmark = pytest.mark.weights
HEIGHT, WIDTH, FOCAL = 192, 256, 240.0
TURN = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # looks along x


@pytest.fixture(scope="module")
def net():
    return recon.load_model("recon-small", device="cpu")


def noise(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:  # [H, W] each -> [H, W, 3] 0..1
    """A solid texture of random waves at several scales."""
    rng = np.random.default_rng(seed)
    out = np.zeros((*x.shape, 3))
    for scale in (2.0, 5.0, 12.0, 25.0):
        for _ in range(6):
            k, phase, colour = rng.normal(size=2) * scale, rng.uniform(0, 7), rng.normal(size=3)
            out += np.sin(k[0] * x + k[1] * y + phase)[..., None] * colour
    return 1 / (1 + np.exp(-out / 2.5))


def wall(places: list[tuple[float, float]], plain: bool = False) -> tuple[Images, Cameras, torch.Tensor]:
    """The wall z = 3 + x / 3 seen by parallel cameras at (x, y); photos, cameras and z [V, H, W]."""
    v, u = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    rays = (u - WIDTH / 2) / FOCAL, (v - HEIGHT / 2) / FOCAL
    photos, depth = [], []
    for x, y in places:
        z = (3 + x / 3) / (1 - rays[0] / 3)
        photos.append(np.full((HEIGHT, WIDTH, 3), 0.5) if plain else noise(x + rays[0] * z, y + rays[1] * z, 3))
        depth.append(z)
    K = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]]).repeat(len(places), 1, 1)
    T = torch.eye(4).repeat(len(places), 1, 1)
    T[:, :2, 3] = torch.tensor(places)
    cameras = Cameras(K=K, cam_to_world=T, width=WIDTH, height=HEIGHT)
    return Images(rgb=torch.tensor(np.array(photos)).float()), cameras, torch.tensor(np.array(depth)).float()


def test_a_textured_wall_is_found_and_shown_once(net) -> None:
    images, cameras, truth = wall([(-0.25, 0.0), (0.0, 0.05), (0.25, 0.0)])
    scene = net(images, cameras=cameras)
    maps = scene.pointmaps
    error = (scene.depth / truth - 1).abs()
    assert maps.mask.float().mean() > 0.9
    assert (error[maps.mask] < 0.01).float().mean() > 0.95  # in the given cameras' own unit: nothing is scaled
    assert maps.layer.sum() < 0.6 * maps.mask.sum() and len(scene.gaussians) == int(maps.layer.sum())
    off = scene.gaussians.means[:, 2] - 3 - scene.gaussians.means[:, 0] / 3
    assert off.abs().quantile(0.95) < 0.01 * 3
    surer = maps.confidence >= maps.confidence.median()  # many stand at the greatest confidence that there is
    assert error[surer].median() < error[~surer].median()


def test_the_pointmap_can_be_asked_for_and_knows_less(net) -> None:
    images, cameras, truth = wall([(-0.25, 0.0), (0.25, 0.0)])
    scene = net(images, cameras=cameras, surfaces="pointmap")
    swept = net(images, cameras=cameras)
    off = lambda s: float((s.depth / truth - 1).abs().median())
    assert scene.pointmaps.layer.equal(scene.pointmaps.mask) and off(swept) < 0.5 * off(scene)


def test_one_photo_is_the_pointmap_s(net) -> None:
    images, cameras, _ = wall([(0.0, 0.0)])
    scene = net(images, cameras=cameras)
    assert scene.depth.isfinite().all() and scene.pointmaps.confidence.median() < 20


def test_cameras_in_one_place_are_not_swept(net) -> None:
    images, cameras, _ = wall([(0.0, 0.0), (0.0, 0.0)])
    swept, plain = (net(images, cameras=cameras, surfaces=kind) for kind in ("sweep", "pointmap"))
    assert torch.allclose(swept.depth, plain.depth, rtol=0.05) and swept.pointmaps.confidence.median() < 20


def test_a_plain_wall_is_no_sure_surface(net) -> None:
    images, cameras, _ = wall([(-0.25, 0.0), (0.25, 0.0)], plain=True)
    scene = net(images, cameras=cameras)
    assert scene.depth.isfinite().all() and float(scene.pointmaps.confidence.median()) < 10  # 10 stands for 2 %


def test_a_view_that_no_other_sees_keeps_its_pointmap(net) -> None:
    images, cameras, truth = wall([(-0.25, 0.0), (0.25, 0.0), (0.0, 0.0)])
    T = cameras.cam_to_world.clone()
    T[2, :3, :3] = TURN
    away = Cameras(K=cameras.K, cam_to_world=T, width=WIDTH, height=HEIGHT)
    scene = net(images, cameras=away, matches="none")
    assert scene.depth.isfinite().all() and scene.pointmaps.confidence[2].median() < 20
    assert ((scene.depth[:2] / truth[:2] - 1).abs()[scene.pointmaps.mask[:2]] < 0.02).float().mean() > 0.8


def test_weights_are_read_once(net) -> None:
    assert load_sweeper("cpu") is load_sweeper("cpu")
