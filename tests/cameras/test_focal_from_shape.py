"""Focal length from shape: on a turntable the matches fit every lens, and only a known shape tells which."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from recon.cameras.focal_from_shape import SHIFTS, SeenPair, lens_shift, shape_residuals, sweep, triangulate
from recon.cameras.pairs import Solver, TwoViews
from recon.cameras.pose import Matches

TRUE_FOCAL, CENTRE = 900.0, np.array([320.0, 240.0])
SOLVER = Solver(sigma=0.1, threshold_px=0.5)


def turntable(guess: float, noise_px: float = 0.1, network_noise: float = 0.02) -> SeenPair:
    """A bumpy box turned by 25 degrees before a camera of TRUE_FOCAL; the network knows its shape at another scale, not the lens."""
    rng = np.random.default_rng(4)
    shape = rng.uniform(-1, 1, (400, 3)) * [0.8, 0.6, 0.5]
    middle = np.array([0, 0, 4.0])
    R = Rotation.from_euler("y", 25, degrees=True).as_matrix()
    in_a, in_b = shape + middle, shape @ R.T + middle
    pixel = lambda p: p[:, :2] / p[:, 2:] * TRUE_FOCAL + CENTRE + rng.normal(size=(len(p), 2)) * noise_px
    matches = Matches(xa=pixel(in_a), xb=pixel(in_b), confidence=np.ones(len(shape)))
    views = TwoViews(kinds=(matches,), principal_a=CENTRE, principal_b=CENTRE, focal_a=guess, focal_b=guess)
    (pose,) = SOLVER.solve([views])
    assert pose is not None
    seen = lambda p: 0.3 * p + rng.normal(size=p.shape) * network_noise * 0.3
    return SeenPair(views=views, points_a=seen(in_a), points_b=seen(in_b), pose=pose)


def test_the_matches_of_a_turntable_leave_the_lens_open() -> None:
    swept = sweep([turntable(TRUE_FOCAL).best()], SOLVER)
    cost = swept.cost[:, 0].numpy()[np.abs(SHIFTS) < 0.7]
    assert cost.max() - cost.min() < 0.02  # half to twice the focal length: the same matches
    angles = [np.degrees(np.arccos((np.trace(R) - 1) / 2)) for R in swept.R[:, 0].numpy()]
    assert max(angles) - min(angles) > 15  # and very different poses


@pytest.mark.parametrize("factor", [0.4, 0.7, 1.0, 1.6])
def test_shape_finds_the_lens_from_a_wrong_guess(factor: float) -> None:
    pair = turntable(TRUE_FOCAL * factor)
    lens = lens_shift([pair], lambda shifts: -0.5 * (shifts / 1.0) ** 2, SOLVER)
    ((R, _, _),) = lens.starts
    assert np.exp(lens.shift) * factor == pytest.approx(1.0, rel=0.15)
    assert np.degrees(np.arccos((np.trace(R) - 1) / 2)) == pytest.approx(25, abs=4)


def test_a_prior_that_is_sure_is_not_moved_by_a_vague_shape() -> None:
    lens = lens_shift([turntable(TRUE_FOCAL * 1.3, network_noise=0.5)], lambda shifts: -0.5 * (shifts / 0.05) ** 2, SOLVER)
    assert abs(lens.shift) < 0.1 and lens.width < 0.1


def test_triangulated_points_lie_on_both_rays_and_match_the_shape() -> None:
    pair = turntable(TRUE_FOCAL, noise_px=0.0, network_noise=0.0)
    pose = pair.pose
    shift = np.log([pose.focal_a / pair.views.focal_a])
    (in_a,), (in_b,) = triangulate(pair.views, pose.R[None], pose.t[None], shift)
    assert np.allclose(in_a @ pose.R.T + pose.t, in_b, atol=1e-3 * np.abs(in_b).max())
    assert shape_residuals(pair.points_a, in_a[None])[0] < 0.05
    assert shape_residuals(pair.points_a, in_a[None] * [1, 1, 1.5])[0] > 0.05
