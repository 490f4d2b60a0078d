"""What stands still at the same pixels is no match, what moves slowly still is; holes of masks are filled without an edge."""

import cv2
import numpy as np
import pytest
import torch

from recon.cameras.overlays import still_cells, still_warnings, without, without_bars
from recon.cameras.pose import Matches
from recon.cameras.sift import sift_features
from recon.cameras.usable import filled, holes
from recon.scene import Images

WIDTH, HEIGHT = 320, 240


def images(count: int, rgb: torch.Tensor | None = None, mask: torch.Tensor | None = None) -> Images:
    return Images(rgb=torch.zeros(count, HEIGHT, WIDTH, 3) if rgb is None else rgb, mask=mask)  # type: ignore[arg-type]


def moving(seed: int, flow) -> Matches:
    """Matches everywhere, moved by a flow of pixels [n, 2] -> [n, 2]."""
    xa = np.random.default_rng(seed).uniform([0, 0], [WIDTH, HEIGHT], (900, 2))
    return Matches(xa=xa, xb=xa + flow(xa), confidence=np.full(900, 0.9))


def text(seed: int) -> Matches:
    """Matches of a line of text at fixed pixels."""
    xa = np.random.default_rng(seed).uniform([40, 40], [160, 60], (200, 2))
    return Matches(xa=xa, xb=xa + np.random.default_rng(seed + 1).normal(size=xa.shape) * 0.2, confidence=np.full(200, 0.9))


def test_text_at_fixed_pixels_is_left_out():
    pairs = [(0, 1), (0, 2), (1, 2)]
    found = {pair: [moving(k, lambda x: np.array([14.0, 3.0]) + 0 * x), text(k)] for k, pair in enumerate(pairs)}
    cells = still_cells(found, images(3))
    assert cells[6, 10] and not cells[20:].any() and cells.mean() < 0.15
    left = without(found, cells)
    for pair in pairs:
        assert len(left[pair][1]) < 10 and len(left[pair][0]) > 700
    assert "stands still" in still_warnings(cells, 0.0)[0]


@pytest.mark.parametrize("flow", [lambda x: 0 * x + 0.2, lambda x: 0.15 * (x - [160, 120])], ids=["tripod", "forwards"])
def test_a_still_camera_and_a_car_driving_ahead_keep_their_matches(flow):
    found = {(0, 1): [moving(0, flow)], (1, 2): [moving(1, flow)]}
    assert not still_cells(found, images(3)).any()


def test_bars_are_masked_and_a_white_wall_is_not():
    torch.manual_seed(0)
    rgb = torch.nn.functional.interpolate(torch.rand(3, 3, 12, 16), size=(HEIGHT, WIDTH), mode="bicubic").clamp(0, 1).permute(0, 2, 3, 1)
    barred = rgb.clone()
    barred[:, :30] = barred[:, -30:] = 0.0
    masked, share = without_bars(images(3, barred))
    assert share == pytest.approx(62 / HEIGHT, abs=1e-6)
    assert not masked.mask[:, :30].any() and not masked.mask[:, -30:].any() and masked.mask[:, 32:-32].all()
    assert without_bars(images(3, rgb))[1] == 0
    product = torch.ones(3, HEIGHT, WIDTH, 3)
    product[:, 80:160, 100:200] = rgb[:, 80:160, 100:200]
    assert without_bars(images(3, product))[1] == 0


def test_the_fill_of_a_hole_is_no_structure():
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 255, (30, 40, 3), np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    keep = np.ones((HEIGHT, WIDTH), bool)
    keep[60:180, 90:210] = False
    holed = np.where(keep[..., None], picture, np.uint8(255))
    out = filled(holed, keep)
    assert (out[keep] == picture[keep]).all()
    inner = out[70:170, 100:200].astype(float)
    assert np.abs(np.diff(inner, axis=0)).max() < 30 and 60 < inner.mean() < 200  # no edge, no white
    xy, _ = sift_features(holed, keep)
    inside = (xy > [90, 60]).all(1) & (xy < [210, 180]).all(1)
    assert len(xy) > 100 and not inside.any()


def test_holes_are_not_the_padding():
    mask = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
    mask[:, :16] = False  # padding
    mask[:, 100:120, 50:80] = False
    padded = Images(
        rgb=torch.zeros(1, HEIGHT, WIDTH, 3), mask=mask, photo_width=torch.tensor([WIDTH]), photo_height=torch.tensor([HEIGHT - 16]),
        grid_offset=torch.tensor([[0.0, 16.0]]),
    )  # fmt: skip
    assert holes(padded, 0).sum() == 600
