"""Photos of one wall, exposed differently, are brought to one brightness by what they share."""

from __future__ import annotations

import torch

from recon.geometry import unproject
from recon.surfaces.exposure import alike, exposure_shifts, levelled, local_differences

HEIGHT, WIDTH, FOCAL = 60, 80, 70.0
STOPS = torch.tensor([[0.0, 0.1, -0.1], [0.4, 0.35, 0.3], [-0.3, -0.4, -0.35]])  # in logits, before their mean is taken out


def wall(positions: list[float]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """rgb [V, H, W, 3] of a wall at z = 4 with smooth colours, depth, K and cam_to_world of parallel cameras at x."""
    K = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]]).repeat(len(positions), 1, 1)
    T = torch.eye(4).repeat(len(positions), 1, 1)
    T[:, 0, 3] = torch.tensor(positions)
    depth = torch.full((len(positions), HEIGHT, WIDTH), 4.0)
    x, y, _ = unproject(depth, K, T).unbind(-1)
    return torch.stack([0.5 + 0.3 * (x + y).sin(), 0.5 + 0.3 * (2 * x).cos(), 0.4 + 0.2 * (3 * y).sin()], -1), depth, K, T


def exposed(rgb: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(torch.logit(rgb) + shift[:, None, None])


def test_shifts_are_found_and_taken_out() -> None:
    rgb, depth, K, T = wall([0.0, 0.5, 1.0])
    photos = exposed(rgb, STOPS)
    shift = exposure_shifts(photos, depth, torch.ones_like(depth, dtype=torch.bool), K, T, [[1], [0, 2], [1]])
    assert torch.allclose(shift, STOPS - STOPS.mean(0), atol=0.01)
    assert torch.allclose(levelled(photos, shift), exposed(rgb, STOPS.mean(0).expand(3, 3)), atol=0.005)


def test_what_is_black_or_white_stays_and_is_not_asked() -> None:
    rgb, depth, K, T = wall([0.0, 0.5])
    photos = exposed(rgb, STOPS[:2])
    photos[:, :20], photos[:, 20:30] = 1.0, 0.0  # burnt out and black in both
    shift = exposure_shifts(photos, depth, torch.ones_like(depth, dtype=torch.bool), K, T, [[1], [0]])
    assert torch.allclose(shift, STOPS[:2] - STOPS[:2].mean(0), atol=0.01)
    assert torch.equal(levelled(photos, shift)[:, :30], photos[:, :30])


def test_views_that_share_nothing_stay_as_they_are() -> None:
    rgb, depth, K, T = wall([0.0, 0.5, 9.0])
    depth[2] = 3.0  # not the wall of the others
    mask = torch.ones_like(depth, dtype=torch.bool)
    shift = exposure_shifts(exposed(rgb, STOPS), depth, mask, K, T, [[1, 2], [0, 2], [0, 1]])
    assert torch.equal(shift[2], torch.zeros(3)) and (shift[0] - shift[1]).abs().min() > 0.2
    assert not exposure_shifts(exposed(rgb, STOPS), depth, ~mask, K, T, [[1], [0], []]).any()


def test_other_colours_at_some_places_do_not_count() -> None:
    """Reflections, or somebody who walked by, in a third of one photo."""
    rgb, depth, K, T = wall([0.0, 0.5])
    photos = exposed(rgb, STOPS[:2])
    photos[1, :, :25] = 0.9
    shift = exposure_shifts(photos, depth, torch.ones_like(depth, dtype=torch.bool), K, T, [[1], [0]])
    assert torch.allclose(shift[0] - shift[1], STOPS[0] - STOPS[1], atol=0.05)


def test_vignettes_go_and_detail_stays() -> None:
    rgb, depth, K, T = wall([0.0, 0.5])
    rows, columns = torch.linspace(-1, 1, HEIGHT)[:, None], torch.linspace(-1, 1, WIDTH)
    photos = rgb - 0.1 * torch.stack([rows**2 + columns**2, (rows**2 + columns**2).flip(1) * 0.2])[..., None]
    photos[0, 31, 41] += 0.2  # a grain that the other photo does not show
    mask = torch.ones_like(depth, dtype=torch.bool)
    added = local_differences(photos, depth, mask, K, T, [[1], [0]], torch.zeros(2, 3))
    after = alike(photos, torch.zeros(2, 3), added)
    step = round(0.5 / 4.0 * FOCAL)  # 8.75 pixels: the second photo shows a place so much further left
    inner = (slice(6, -6), slice(step + 6, -6))
    apart = lambda x: (x[0][inner] - x[1].roll(step, 1)[inner]).mean(-1).abs().mean()
    assert apart(after) < 0.2 * apart(photos)
    grain = lambda x: float((x[0, 31, 41] - x[0, 31, [39, 43]].mean(0)).mean())
    assert abs(grain(after) - grain(photos)) < 0.02


def test_what_one_view_shows_is_like_its_neighbourhood_or_as_it_was() -> None:
    rgb, depth, K, T = wall([0.0, 0.5, 9.0])
    depth[2] = 3.0
    photos = rgb + torch.tensor([0.0, 0.1, 0.1])[:, None, None, None]
    mask = torch.ones_like(depth, dtype=torch.bool)
    hidden = mask.clone()
    hidden[1, 20:24, 30:34] = False  # nothing is known there of the second photo
    added = local_differences(photos, depth, hidden, K, T, [[1, 2], [0, 2], [0, 1]], torch.zeros(3, 3))
    assert torch.allclose(added[0, :, 3:-3, 6:-6], torch.tensor(0.05), atol=0.01)
    assert torch.equal(added[2], torch.zeros_like(added[2]))
