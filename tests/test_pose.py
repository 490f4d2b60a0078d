"""Poses with a known answer."""
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from recon.pose import Matches, choose, solve_pair

CENTRE = np.array([320.0, 240.0])


def angle(a, b):
    return np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1)))


def rotation_angle(A, B):
    return np.degrees(np.linalg.norm(Rotation.from_matrix(A.T @ B).as_rotvec()))


def scene(seed, *, focal=500.0, outliers=0.3, noise=0.5, still=False, count=600):
    """Matches of two synthetic views and their true R, t."""
    g = np.random.default_rng(seed)
    points = np.c_[g.uniform(-2, 2, count), g.uniform(-1.5, 1.5, count), g.uniform(3, 8, count)]
    R = Rotation.from_rotvec(g.normal(size=3) * 0.15).as_matrix()
    t = g.normal(size=3) * [1, 0.5, 0.5]
    t = t / np.linalg.norm(t) * (0.0 if still else 1.0)
    project = lambda p: focal * p[:, :2] / p[:, 2:] + CENTRE
    xa, xb = project(points), project(points @ R.T + t)
    xb = xb + g.normal(size=xb.shape) * noise
    wrong = g.random(count) < outliers
    xb[wrong] = g.uniform(0, 640, (wrong.sum(), 2))
    return Matches(xa=xa, xb=xb, confidence=np.ones(count), source="test"), R, t


@pytest.mark.parametrize("seed", range(6))
def test_known_pose_is_recovered(seed):
    matches, R, t = scene(seed)
    p = solve_pair(matches, CENTRE, CENTRE, 500.0, 500.0, focal_known=True)
    assert rotation_angle(p.R, R) < 0.4 and angle(p.t, t) < 2
    assert p.confidence > 0.5 and p.focal_a == pytest.approx(500)


@pytest.mark.parametrize("seed", range(6))
def test_focal_is_refined_from_a_wrong_prior(seed):
    matches, R, t = scene(seed, noise=0.2)
    p = solve_pair(matches, CENTRE, CENTRE, 750.0, 750.0)
    assert rotation_angle(p.R, R) < 2 and angle(p.t, t) < 6
    assert abs(np.log(p.focal_a / 500)) < 0.2


def test_pure_rotation_has_low_confidence():
    matches, R, _ = scene(3, still=True)
    p = solve_pair(matches, CENTRE, CENTRE, 500.0, 500.0, focal_known=True)
    assert p is None or p.confidence < 0.15
    assert p is None or rotation_angle(p.R, R) < 1


def test_noise_alone_has_low_confidence():
    matches, _, _ = scene(1, outliers=1.0)
    p = solve_pair(matches, CENTRE, CENTRE, 500.0, 500.0)
    assert p is None or p.confidence < 0.15


def test_too_few_matches_and_bad_arguments():
    matches, _, _ = scene(1, count=6)
    assert solve_pair(matches, CENTRE, CENTRE, 500.0, 500.0) is None
    with pytest.raises(ValueError, match="focal_prior_a"):
        solve_pair(matches, CENTRE, CENTRE, 0.0, 500.0)


def test_choose_takes_the_better_witness():
    good, R, t = scene(5)
    bad, _, _ = scene(6, outliers=1.0, count=300)
    p = choose([bad, good], CENTRE, CENTRE, 500.0, 500.0, focal_known=True)
    assert rotation_angle(p.R, R) < 0.5 and angle(p.t, t) < 2
    assert len(p.inliers) == len(good) + len(bad)


def test_inverse_swaps_the_views():
    matches, _, _ = scene(2)
    p = solve_pair(matches, CENTRE, CENTRE, 500.0, 500.0, focal_known=True)
    q = solve_pair(matches.swapped(), CENTRE, CENTRE, 500.0, 500.0, focal_known=True)
    assert rotation_angle(p.inverse().R, q.R) < 0.3 and angle(p.inverse().t, q.t) < 2
