"""Gaussians merged down to a number: exact counts, pictures that stay, and what may not happen to an untouched one."""

import pytest
import torch

import recon
from recon.errors import ReconError
from recon.geometry import unproject
from recon.render import render
from recon.scene import Cameras, Gaussians
from recon.surfaces.budget import Union, area, within_budget
from recon.surfaces.pixel_gaussians import SH_DC, pixel_gaussians

HEIGHT, WIDTH, FOCAL = 48, 64, 60.0
K = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
EYE = torch.zeros(1, 3)


def wall(color: torch.Tensor) -> Gaussians:  # [H, W, 3]
    """A wall two metres away, one disc a pixel."""
    points = unproject(torch.full((1, HEIGHT, WIDTH), 2.0), K[None])
    there = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
    rows = pixel_gaussians(points, color[None], torch.full((1, HEIGHT, WIDTH), 20.0), there, K[None], torch.eye(4)[None])
    return Gaussians(**dict(zip(("means", "quats", "scales", "opacities", "sh"), rows, strict=True)))


def half_and_detail() -> torch.Tensor:  # [H, W, 3]
    """Plain on the left, single pixels of noise on the right."""
    color = torch.full((HEIGHT, WIDTH, 3), 0.3)
    color[:, WIDTH // 2 :] = torch.rand(HEIGHT, WIDTH // 2, 3, generator=torch.Generator().manual_seed(0))
    return color


def picture(gaussians: Gaussians) -> recon.Rendering:
    cameras = Cameras(K=K[None], cam_to_world=torch.eye(4)[None], width=WIDTH, height=HEIGHT)
    return render(gaussians, cameras, backend="torch", background=(1.0, 0.0, 1.0))


@pytest.mark.parametrize("most", [1, 2, 7, 1000, 3071])
def test_as_many_as_asked_for_and_all_sound(most: int) -> None:
    left = within_budget(wall(half_and_detail()), most, EYE)
    assert len(left) == most
    for name, x in vars(left).items():
        assert torch.isfinite(x).all(), name
    torch.testing.assert_close(left.quats.norm(dim=1), torch.ones(most))
    assert (left.scales > 0).all() and (left.opacities > 0).all() and (left.opacities <= 1).all()


def test_enough_room_changes_nothing() -> None:
    before = wall(half_and_detail())
    assert within_budget(before, len(before), EYE) is before


def test_plain_parts_are_merged_and_detail_is_left_without_holes() -> None:
    before = wall(half_and_detail())
    copies = {name: x.clone() for name, x in vars(before).items()}
    left = within_budget(before, round(0.6 * len(before)), EYE)
    assert all(torch.equal(x, copies[name]) for name, x in vars(before).items())  # the caller's are as they were
    plain = left.means[:, 0] < 0
    assert plain.sum() < 0.3 * len(left)  # of half of the picture
    now, then = picture(left), picture(before)
    inside = (slice(3, -3), slice(3, -3))
    assert now.alpha[0][inside].min() > 0.9
    error = (now.color - then.color).square().mean(-1)[0][inside]
    assert -10 * error.mean().log10() > 30
    untouched = (left.means[:, None] == before.means[None]).all(-1).any(1) if len(left) < 5000 else plain
    assert untouched.float().mean() > 0.5


def test_a_block_of_pixels_merges_to_most_of_the_disc_of_a_larger_pixel() -> None:
    union = Union(wall(torch.full((HEIGHT, WIDTH, 3), 0.5)), EYE.double().numpy())
    first = (HEIGHT // 2 * WIDTH + WIDTH // 2) + torch.tensor([0, WIDTH]).numpy()
    before = area(union.covariance[first])
    union.merge(first, first + 1)
    union.merge(first[:1], first[1:] - 1)  # the first pair's second is gone
    assert 2.2 * before[0] < area(union.covariance[first[:1]])[0] < 4 * before[0]


def test_the_far_weighs_as_little_as_it_is_seen() -> None:
    """Of equal discs the far ones go first: a camera sees less of them."""
    x = torch.arange(20.0)
    near, far = (torch.stack([0.1 * x, torch.zeros(20), torch.full((20,), z)], 1) for z in (2.0, 40.0))
    n = 40
    gaussians = Gaussians(
        means=torch.cat([near, far]), quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1), scales=torch.full((n, 3), 0.05),
        opacities=torch.full((n,), 0.9), sh=((torch.arange(n) % 2 - 0.5) / SH_DC)[:, None, None].repeat(1, 1, 3),
    )  # fmt: skip
    left = within_budget(gaussians, 25, EYE)
    assert (left.means[:, 2] < 10).sum() == 20


def test_without_cameras_and_on_one_spot() -> None:
    one = wall(torch.full((HEIGHT, WIDTH, 3), 0.5))[torch.zeros(50, dtype=torch.long)]
    left = within_budget(one, 3, torch.full((2, 3), torch.nan))
    assert len(left) == 3 and torch.isfinite(left.scales).all()
    torch.testing.assert_close(left.scales.sort(dim=1).values, one.scales[:3].sort(dim=1).values, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("most", [0, -5])
def test_a_budget_that_is_none(most: int) -> None:
    with pytest.raises(ReconError, match=rf"max_gaussians is {most}, wanted 1 or more"):
        recon.reconstruct(["a.jpg"], max_gaussians=most)


def test_reconstruct_keeps_to_it(sample_photos) -> None:
    scene = recon.reconstruct([sample_photos[0]], weights="random", device="cpu", resolution=64, max_gaussians=500)
    assert scene.gaussians is not None and len(scene.gaussians) <= 500
