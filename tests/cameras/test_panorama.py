"""Views that turn in one place: rotations and focal length from matches that hold noise and strangers, and no answer where there is parallax."""

from __future__ import annotations

import numpy as np
import pytest

from recon.cameras.panorama import Batch, panorama, turn
from recon.cameras.pose import Matches

FOCAL, CENTRE, TURNS = 560.0, np.array([320.0, 240.0]), np.radians([0.0, 18.0, 36.0, 54.0])


def around(angle: float, tilt: float) -> np.ndarray:
    c, s, d, e = np.cos(angle), np.sin(angle), np.cos(tilt), np.sin(tilt)
    return np.array([[1, 0, 0], [0, d, -e], [0, e, d]]) @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])


def views(step: float, strangers: float = 0.1) -> tuple[dict, np.ndarray]:
    """Matches of four views whose centres lie `step` apart, of points 4 to 8 away; and the rotations, world to camera."""
    rng = np.random.default_rng(0)
    R = np.array([around(a, 0.05 * (-1) ** v) for v, a in enumerate(TURNS)])
    angle = rng.uniform(-0.6, 1.6, 4000)
    X = np.stack([np.sin(angle), rng.uniform(-0.4, 0.4, 4000), np.cos(angle)], 1) * rng.uniform(4, 8, 4000)[:, None]
    xy, seen = [], []
    for v in range(4):
        p = (X - [v * step, 0, 0]) @ R[v].T
        z = np.where(p[:, 2] > 0.1, p[:, 2], np.inf)
        q = FOCAL * p[:, :2] / z[:, None] + CENTRE
        seen.append(np.isfinite(z) & (q > 0).all(1) & (q < 2 * CENTRE).all(1))
        xy.append(q + rng.normal(0, 0.3, q.shape))
    found = {}
    for i in range(4):
        for j in range(i + 1, 4):
            both = seen[i] & seen[j]
            if both.sum() > 20:
                a, b = xy[i][both], xy[j][both].copy()
                wrong = rng.random(len(b)) < strangers
                b[wrong] = rng.uniform(0, 1, (wrong.sum(), 2)) * 2 * CENTRE
                found[(i, j)] = Matches(xa=a, xb=b, confidence=np.ones(len(a)))
    return found, R


@pytest.mark.parametrize("prior", [400.0, 560.0, 800.0])
def test_a_turning_camera_tells_its_rotations_and_its_lens(prior: float) -> None:
    found, R = views(0.0)
    bundle = panorama(found, np.tile(CENTRE, (4, 1)), np.full(4, prior), np.zeros(4, bool), 0.5)
    assert bundle is not None and bundle.placed.all() and len(bundle.points) == 0
    assert bundle.K[0, 0, 0] == pytest.approx(FOCAL, rel=0.01) and (bundle.confidence > 0.8).all()
    for v in range(4):
        turned = bundle.cam_to_world[v, :3, :3].T @ (R[v] @ R[0].T).T
        assert np.degrees(np.arccos(np.clip((np.trace(turned) - 1) / 2, -1, 1))) < 0.15
        assert (bundle.cam_to_world[v, :3, 3] == 0).all()


def test_a_known_lens_is_kept() -> None:
    found, _ = views(0.0)
    bundle = panorama(found, np.tile(CENTRE, (4, 1)), np.full(4, FOCAL * 1.002), np.ones(4, bool), 0.5)
    assert bundle is not None and (bundle.K[:, 0, 0] == FOCAL * 1.002).all()


@pytest.mark.parametrize("step", [0.1, 0.5])
def test_parallax_is_no_turn(step: float) -> None:
    assert panorama(views(step)[0], np.tile(CENTRE, (4, 1)), np.full(4, FOCAL), np.zeros(4, bool), 0.5) is None


def test_views_that_nothing_connects_are_no_panorama() -> None:
    found, _ = views(0.0)
    found = {pair: m for pair, m in found.items() if 3 not in pair}
    assert panorama(found, np.tile(CENTRE, (4, 1)), np.full(4, FOCAL), np.zeros(4, bool), 0.5) is None


def test_many_pairs_at_once_are_as_far_off_as_each_alone() -> None:
    found, _ = views(0.2)
    focal, principal = np.array([500.0, 540.0, 560.0, 600.0]), np.tile(CENTRE, (4, 1))
    found[(0, 1)] = found[(0, 1)].take(np.arange(len(found[(0, 1)])) % 3 > 0)  # of unlike lengths
    alone = [np.median(turn(m, focal[i], focal[j], principal[i], principal[j]).off) for (i, j), m in found.items()]
    np.testing.assert_allclose(Batch.of(found, principal).typical_off(focal), alone, rtol=1e-9)
