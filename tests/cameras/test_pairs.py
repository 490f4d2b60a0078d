"""Poses with a known answer."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from recon.cameras.pairs import Solver, TwoViews
from recon.cameras.pose import Matches, concatenate

CENTRE = np.array([320.0, 240.0])


def pair(*kinds, focal=500.0, known=False):
    """A pair with one camera and the principal points in the middle."""
    return TwoViews(kinds=kinds, principal_a=CENTRE, principal_b=CENTRE, focal_a=focal, focal_b=focal, known_a=known, known_b=known)


def solve(*kinds, focal=500.0, known=False, threshold_px=1.0):
    (answer,) = Solver(threshold_px=threshold_px).solve([pair(*kinds, focal=focal, known=known)])
    return answer


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
    p = solve(matches, known=True)
    assert rotation_angle(p.R, R) < 0.4 and angle(p.t, t) < 2
    assert p.confidence > 0.5 and p.focal_a == pytest.approx(500)


@pytest.mark.parametrize("seed", range(6))
def test_focal_is_refined_from_a_wrong_prior(seed):
    matches, R, t = scene(seed, noise=0.2)
    p = solve(matches, focal=750.0)
    assert rotation_angle(p.R, R) < 2 and angle(p.t, t) < 6
    assert abs(np.log(p.focal_a / 500)) < 0.2


def test_pure_rotation_has_low_confidence():
    matches, R, _ = scene(3, still=True)
    p = solve(matches, known=True)
    assert p is None or p.confidence < 0.15
    assert p is None or rotation_angle(p.R, R) < 1


def test_noise_alone_has_low_confidence():
    matches, _, _ = scene(1, outliers=1.0)
    p = solve(matches)
    assert p is None or p.confidence < 0.15


def test_too_few_matches_and_bad_arguments():
    matches, _, _ = scene(1, count=6)
    assert solve(matches) is None
    with pytest.raises(ValueError, match="focal lengths must be positive"):
        pair(matches, focal=0.0)
    with pytest.raises(ValueError, match="sigma"):
        Solver(sigma=0.0)


def test_the_solver_takes_the_better_witness():
    good, R, t = scene(5)
    bad, _, _ = scene(6, outliers=1.0, count=300)
    p = solve(bad, good, known=True)
    assert rotation_angle(p.R, R) < 0.5 and angle(p.t, t) < 2
    assert len(p.inliers) == len(good) + len(bad)


def test_inverse_swaps_the_views():
    matches, _, _ = scene(2)
    p = solve(matches, known=True)
    q = solve(matches.swapped(), known=True)
    assert rotation_angle(p.inverse().R, q.R) < 0.3 and angle(p.inverse().t, q.t) < 2


@pytest.mark.parametrize("tilt", [35, -40, -15])
def test_one_face_of_a_box_is_not_taken_for_its_mirror_image(tilt):
    """A plane alone: a second pose fits the epipolar lines as well, with half of the points behind a camera."""
    g = np.random.default_rng(tilt + 100)
    turned = lambda degrees: Rotation.from_euler("y", degrees, degrees=True).as_matrix()
    face = np.c_[g.uniform(-1, 1, (300, 2)), np.zeros(300)] @ turned(tilt).T
    R, middle = turned(30), np.array([0, 0, 4.0])
    project = lambda p: 900 * p[:, :2] / p[:, 2:] + CENTRE + g.normal(size=(len(p), 2)) * 0.3
    matches = Matches(xa=project(face + middle), xb=project(face @ R.T + middle), confidence=np.ones(300))
    p = solve(matches, focal=900.0, threshold_px=0.5, known=True)
    assert rotation_angle(p.R, R) < 2 and angle(p.t, middle - R @ middle) < 4
    assert p.support > 290


def test_weights_say_which_matches_are_exact():
    """Many matches off by a common bend, few exact: with their weight the few decide."""
    many, R, t = scene(5, outliers=0.0, noise=0.0)
    bend = 3e-5 * (many.xb - CENTRE) ** 2 * [1, -1]
    exact = many.take(np.arange(0, 600, 5))
    bent = Matches(xa=many.xa, xb=many.xb + bend, confidence=many.confidence, weight=np.ones(600))
    errors = []
    for weight in (1.0, 50.0):
        heavy = Matches(xa=exact.xa, xb=exact.xb, confidence=exact.confidence, weight=np.full(len(exact), weight))
        p = solve(concatenate([bent, heavy]), known=True, threshold_px=2.0)
        errors.append(angle(p.t, t) + rotation_angle(p.R, R))
    assert errors[1] < 0.5 * errors[0]
    assert len(concatenate([bent, exact]).weights()) == 720 and exact.take([0, 1]).weights().tolist() == [1.0, 1.0]


def test_polish_starts_where_it_is_told():
    matches, R, t = scene(2, noise=0.2)
    p = solve(matches, known=True)
    off = replace(p, R=p.R @ Rotation.from_rotvec([0.01, 0, 0]).as_matrix())
    (near,) = Solver().polish([pair(matches, known=True)], [off.start])
    assert rotation_angle(near.R, R) < 0.4 and angle(near.t, t) < 2 and near.focal_a == pytest.approx(500)
    (free,) = Solver(sigma=5.0).polish([pair(matches, focal=650.0)], [p.start])
    assert free.focal_a == pytest.approx(500, rel=0.05)


def test_a_batch_is_solved_as_its_pairs_alone_and_again_the_same():
    pairs = [pair(scene(seed, count=count)[0]) for seed, count in ((0, 600), (1, 90), (2, 6), (3, 300))]
    together = Solver().solve(pairs)
    for p, q in zip(together, [Solver().solve([one])[0] for one in pairs], strict=True):
        assert (p is None) == (q is None)
        if p is not None and q is not None:  # the refinement stops when its cost changes by a millionth
            assert np.allclose(p.R, q.R, atol=1e-4) and np.allclose(p.t, q.t, atol=1e-3) and abs(p.support - q.support) <= 2
    for p, q in zip(together, Solver().solve(pairs), strict=True):
        assert p is None or ((p.R == q.R).all() and p.focal_a == q.focal_a)  # type: ignore[union-attr]


def test_more_cores_give_the_same_answers():
    pairs, before, answers = [pair(scene(seed, count=count)[0]) for seed, count in ((0, 600), (1, 90), (3, 300))], torch.get_num_threads(), []
    for threads in (1, 4):
        torch.set_num_threads(threads)
        answers.append(Solver().solve(pairs))
    torch.set_num_threads(before)
    for p, q in zip(*answers, strict=True):
        assert np.allclose(p.R, q.R, atol=1e-9) and (p.inliers == q.inliers).all() and len(p.inliers) == len(q.inliers)
        for name in ("cost", "confidence", "parallax_px", "focal_sigma"):
            assert getattr(p, name) == pytest.approx(getattr(q, name), rel=1e-6)


def test_one_known_lens_is_kept():
    matches, R, _ = scene(4, noise=0.2)
    two = replace(pair(matches), focal_b=650.0, known_a=True)
    (p,) = Solver().solve([two])
    assert p.focal_a == pytest.approx(500, rel=1e-12) and abs(np.log(p.focal_b / 500)) < 0.1 and rotation_angle(p.R, R) < 1
