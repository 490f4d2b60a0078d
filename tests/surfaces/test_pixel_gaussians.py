"""Gaussians of pixels: the closed form on a known surface, and what the network's corrections do to it."""

import math

import pytest
import torch

from recon.geometry import quats_to_matrices
from recon.surfaces.pixel_gaussians import DENSER, FOOTPRINT, LARGEST, pixel_gaussians

HEIGHT, WIDTH, FOCAL = 12, 16, 20.0


def wall(corrections: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
    """A frontal wall at depth 4."""
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    points = torch.stack([(x - WIDTH / 2) / FOCAL * 4, (y - HEIGHT / 2) / FOCAL * 4, torch.full_like(x, 4.0)], -1)[None]
    K = torch.tensor([[[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]]])
    mask = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
    grey, confidence = torch.full((1, HEIGHT, WIDTH, 3), 0.5), torch.full((1, HEIGHT, WIDTH), 3.0)
    return pixel_gaussians(points, grey, confidence, mask, K, torch.eye(4)[None], corrections)


def none() -> torch.Tensor:
    return torch.zeros(1, HEIGHT, WIDTH, 13)


def test_no_corrections_are_the_closed_form() -> None:
    closed, corrected = wall(), wall(none())
    for a, b in zip(closed, corrected, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    _, quats, scales, opacities, sh = closed
    assert torch.allclose(scales.amin(1), 0.15 * FOOTPRINT * 4 / FOCAL * torch.ones(len(scales)), rtol=1e-4)
    assert (quats_to_matrices(quats)[:, 2, 2].abs() > 0.999).all()  # the thin axis looks at the camera
    assert opacities.unique().numel() == 1 and sh.abs().max() < 1e-6


def logit(opacities: torch.Tensor) -> torch.Tensor:
    """Of what each Gaussian is before it counts DENSER times."""
    return torch.logit(1 - (1 - opacities) ** (1 / DENSER))


def shift(a, b) -> torch.Tensor:
    return (b[0] - a[0]).norm(dim=1)


@pytest.mark.parametrize(("channels", "value", "wanted"), [
    (slice(3, 6), 0.5, lambda a, b: torch.allclose(b[2], a[2] * math.exp(LARGEST * math.tanh(0.5 / LARGEST)))),
    (slice(3, 6), 100.0, lambda a, b: torch.allclose(b[2], a[2] * math.exp(LARGEST))),  # never beyond
    (slice(9, 10), 2.0, lambda a, b: torch.allclose(logit(b[3]), logit(a[3]) + 2, atol=1e-3)),
    (slice(10, 13), 0.1, lambda a, b: torch.allclose(b[4] - a[4], torch.full_like(a[4], 0.1 / 0.28209479), atol=1e-5)),
    (slice(2, 3), 0.5, lambda a, b: torch.allclose(shift(a, b), torch.full_like(b[3], FOOTPRINT * 4 / FOCAL * 2 * math.tanh(0.25)))),
    (slice(8, 9), 0.7, lambda a, b: torch.allclose(b[2], a[2]) and bool((quats_to_matrices(b[1])[:, 2, 2].abs() > 0.999).all())),
])  # fmt: skip
def test_each_correction_does_what_it_says(channels, value, wanted) -> None:
    corrections = none()
    corrections[..., channels] = value
    closed, corrected = wall(), wall(corrections)
    assert wanted(closed, corrected)
    assert torch.allclose(corrected[1].norm(dim=1), torch.ones(HEIGHT * WIDTH), atol=1e-5)
