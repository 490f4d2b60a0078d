"""Triangulation against a plain sum of projectors."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from recon import cores
from recon.cameras.tracks import Observations, held, triangulate


def test_points_lie_nearest_to_their_rays():
    rng = np.random.default_rng(0)
    views, count = 5, 40
    R, t = Rotation.from_rotvec(0.2 * rng.normal(size=(views, 3))).as_matrix(), rng.normal(size=(views, 3))
    focal, principal = rng.uniform(300, 500, (views, 2)), rng.uniform(200, 300, (views, 2))
    X = rng.normal(size=(count, 3)) + [0, 0, 8]
    view, point = np.divmod(rng.permutation(views * count)[:120], count)
    x = np.einsum("oij,oj->oi", R[view], X[point]) + t[view]
    xy = focal[view] * x[:, :2] / x[:, 2:] + principal[view] + rng.normal(size=(120, 2))
    to = lambda x: torch.from_numpy(np.asarray(x))
    o = Observations(view=to(view), point=to(point), xy=to(xy), count=count + 1)  # the last is seen by nobody
    points, angle = (x.numpy() for x in triangulate(o, to(focal), to(principal), to(R), to(t)))
    alone = 0
    for p in range(count + 1):
        v = view[point == p]
        if len(v) < 2:
            assert np.isnan(points[p]).all() and angle[p] == 0
            alone += 1
            continue
        rays = np.c_[(xy[point == p] - principal[v]) / focal[v], np.ones(len(v))]
        rays = np.einsum("oji,oj->oi", R[v], rays / np.linalg.norm(rays, axis=1, keepdims=True))
        A = np.eye(3) - rays[:, :, None] * rays[:, None]
        centres = -np.einsum("oji,oj->oi", R[v], t[v])
        np.testing.assert_allclose(points[p], np.linalg.solve(A.sum(0), np.einsum("oij,oj->i", A, centres)), rtol=1e-7)
        largest = np.arccos(np.clip(rays @ rays.T, -1, 1)).max()
        assert 0.99 * largest <= angle[p] <= 2 * largest
    assert 1 < alone < 20
    parallel = Observations(view=to([0, 1]), point=to([0, 0]), xy=to(principal[:2]), count=1)
    points, angle = triangulate(parallel, to(focal), to(principal), to(np.tile(np.eye(3), (views, 1, 1))), to(t))
    assert points.isnan().all() and float(angle) == 0


def test_rotations_that_are_true_to_four_digits_do_not_move_points():
    """Given cameras are often rounded (sevenscenes' are off by 7e-5); a direction that is longer than 1 by that moves near views' points along it."""
    rng = np.random.default_rng(2)
    R = Rotation.from_rotvec(0.3 * rng.normal(size=(2, 3))).as_matrix().round(4)
    t, X = np.array([[0.0, 0.0, 0.0], [0.08, 0.0, 0.0]]), rng.normal(size=(200, 3)) * 0.5 + [0, 0, 4]
    R[1] = Rotation.from_rotvec([0, 0.02, 0]).as_matrix() @ R[0] * (1 + 7e-5)
    view, point = np.repeat([0, 1], 200), np.tile(np.arange(200), 2)
    x = np.einsum("oij,oj->oi", R[view], X[point] @ np.linalg.inv(R[0]).T) + t[view]
    xy = 500 * x[:, :2] / x[:, 2:] + 250
    to = lambda x: torch.from_numpy(np.ascontiguousarray(x))
    o = Observations(view=to(view), point=to(point), xy=to(xy), count=200).sorted()
    points, _ = triangulate(o, to(np.full((2, 2), 500.0)), to(np.full((2, 2), 250.0)), to(R), to(t))
    seen = np.einsum("oij,oj->oi", R[view], points.numpy()[point]) + t[view]
    assert np.abs(500 * seen[:, :2] / seen[:, 2:] + 250 - xy).max() < 0.1


def test_what_holds_a_point_is_the_same_by_any_number_of_threads(monkeypatch):
    rng = np.random.default_rng(1)
    views, count = 6, 300
    R, t = Rotation.from_rotvec(0.1 * rng.normal(size=(views, 3))).as_matrix(), rng.normal(size=(views, 3))
    focal, principal = np.full((views, 2), 400.0), np.full((views, 2), 250.0)
    X = rng.normal(size=(count, 3)) + [0, 0, 8]
    view, point = np.repeat(np.arange(views), count), np.tile(np.arange(count), views)
    x = np.einsum("oij,oj->oi", R[view], X[point]) + t[view]
    xy = focal[view] * x[:, :2] / x[:, 2:] + principal[view]
    wrong = (view == 2) & (point < 100)
    xy[wrong] += 60.0
    to = lambda x: torch.from_numpy(np.asarray(x))
    o = Observations(view=to(view), point=to(point), xy=to(xy), count=count).sorted()
    placed = torch.ones(views, dtype=torch.bool)
    placed[5] = False
    answers = []
    for threads, least in ((1, 10_000), (4, 100)):
        monkeypatch.setattr(cores, "cores", lambda threads=threads: threads)
        monkeypatch.setattr(cores, "LEAST_WORK", least)
        answers.append(held(o, placed, to(focal), to(principal), to(R), to(t), limit=2.0, least_angle=0.001, rounds=2))
    (points, left), (again, also) = answers
    assert torch.equal(points, again) and torch.equal(left.xy, also.xy)
    np.testing.assert_allclose(points.numpy(), X, atol=1e-6)  # the wrong observation of a track goes first, the others are exact
    assert len(left.view) == 5 * count - 100 and not ((left.view == 5) | ((left.view == 2) & (left.point < 100))).any()


def test_a_point_without_parallax_or_with_two_views_that_disagree_is_not_held():
    to = lambda x: torch.tensor(x, dtype=torch.float64)
    R, focal, principal = torch.eye(3, dtype=torch.float64).repeat(3, 1, 1), to([[400.0, 400.0]] * 3), to([[250.0, 250.0]] * 3)
    t = to([[0.0, 0, 0], [-1e-4, 0, 0], [-1.0, 0, 0]])
    xy = to([[250.0, 250], [249.996, 250], [250, 250], [170, 300]])  # a point 10 away seen from 1e-4 apart; rays that pass each other
    o = Observations(view=torch.tensor([0, 1, 0, 2]), point=torch.tensor([0, 0, 1, 1]), xy=xy, count=2)
    points, left = held(o, torch.ones(3, dtype=torch.bool), focal, principal, R, t, limit=4.0, least_angle=0.007, rounds=2)
    assert points.isnan().all() and len(left.view) == 0
