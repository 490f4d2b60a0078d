"""Many views with a known answer."""
import time

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from recon.cameras import bundle, tracks
from recon.cameras.adjustment import Rig, System, adjust, freedom, moved, project, solved
from recon.cameras.pairs import Solver, TwoViews
from recon.cameras.pose import Matches
from recon.cameras.tracks import Observations, build_tracks, triangulate
from recon.evaluate import camera_centre_errors, rotation_error_degrees

CENTRE = np.array([256.0, 192.0])


def relative_poses(matches, priors):
    """Of every pair, with the focal lengths that fit it best."""
    lenses = lambda i, j: {"principal_a": CENTRE, "principal_b": CENTRE, "focal_a": priors[i], "focal_b": priors[j]}
    pairs = {pair: TwoViews(kinds=(m,), **lenses(*pair)) for pair, m in matches.items()}
    return {pair: p for pair, p in zip(pairs, Solver().solve(list(pairs.values())), strict=True) if p is not None}


def solve_views(matches, principal, priors, **known):
    """The bundle of matches alone."""
    return bundle.solve_views(matches, relative_poses(matches, priors), principal, priors, **known)


def ring(views, seed=0, step=12.0):
    """cam_to_world of cameras on an arc that look at the middle of the scene."""
    g = np.random.default_rng(seed)
    T = np.tile(np.eye(4), (views, 1, 1))
    for k in range(views):
        T[k, :3, :3] = (Rotation.from_euler("y", -k * step, degrees=True) * Rotation.from_rotvec(g.normal(size=3) * 0.03)).as_matrix()
        T[k, :3, 3] = np.array([0, 0, 5.0]) - T[k, :3, :3] @ np.array([0, 0, 5.0]) + g.normal(size=3) * 0.15
    return T


def scene(views=6, *, focal=420.0, noise=0.5, outliers=0.2, seed=0, count=500, step=12.0, apart=3, lost=()):
    g = np.random.default_rng(seed)
    T = ring(views, seed, step)
    points = np.c_[g.uniform(-1.6, 1.6, (count, 2)), g.uniform(3.5, 6.5, count)]
    seen = []
    for k in range(views):
        p = (points - T[k, :3, 3]) @ T[k, :3, :3]
        u = focal * p[:, :2] / p[:, 2:] + CENTRE + g.normal(size=(count, 2)) * noise
        seen.append((u, (p[:, 2] > 0.1) & (u > 0).all(1) & (u < 2 * CENTRE).all(1)))
    matches = {}
    for i in range(views):
        for j in range(i + 1, min(views, i + apart + 1)):
            if i in lost or j in lost:
                continue
            both = seen[i][1] & seen[j][1]
            xa, xb = seen[i][0][both].copy(), seen[j][0][both].copy()
            wrong = g.random(len(xa)) < outliers
            xb[wrong] = g.uniform(0, 384, (wrong.sum(), 2))
            matches[(i, j)] = Matches(xa=xa, xb=xb, confidence=np.ones(len(xa)), source="test")
    return matches, T


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("prior", [420.0, 560.0])
def test_known_cameras_are_recovered(seed, prior):
    matches, T = scene(seed=seed)
    b = solve_views(matches, [CENTRE] * 6, [prior] * 6)
    assert b.placed.all() and np.allclose(b.cam_to_world[0], np.eye(4))
    assert camera_centre_errors(b.cam_to_world, T).max() < 0.02
    assert abs(np.log(b.K[0, 0, 0] / 420)) < 0.05 and b.error.mean() < 1.0
    assert len(b.points) > 300 and b.view.max() == 5 and b.point.max() == len(b.points) - 1


def test_two_views_keep_what_their_pair_was_refined_to():
    matches, _ = scene(2, seed=1, step=15.0)
    pair = relative_poses(matches, [500.0] * 2)[(0, 1)]
    b = solve_views(matches, [CENTRE] * 2, [500.0] * 2)
    assert b.K[0, 0, 0] == pytest.approx(pair.focal_a, rel=1e-9)
    assert rotation_error_degrees(np.linalg.inv(b.cam_to_world[1])[:3, :3], pair.R) < 1e-6
    assert len(b.points) > 100 and b.error.mean() < 1.0


def test_two_views():
    matches, T = scene(2, seed=4)
    b = solve_views(matches, [CENTRE] * 2, [420.0] * 2)
    truth = np.linalg.inv(T[0]) @ T[1]
    assert b.placed.all() and rotation_error_degrees(b.cam_to_world[1, :3, :3], truth[:3, :3]) < 1
    assert b.cam_to_world[1, :3, 3] @ truth[:3, 3] / np.linalg.norm(truth[:3, 3]) > 0.99


def test_a_view_without_matches_is_reported():
    matches, _ = scene(5, lost=(3,))
    b = solve_views(matches, [CENTRE] * 5, [420.0] * 5)
    assert b.placed.tolist() == [True, True, True, False, True]
    assert np.isnan(b.cam_to_world[3]).all() and b.confidence[3] == 0 and b.confidence[0] > 0.3


def test_no_matches_place_nothing():
    b = solve_views({}, [CENTRE] * 3, [420.0] * 3)
    assert not b.placed.any() and len(b.points) == 0
    with pytest.raises(ValueError):
        bundle.solve_views({(0, 3): Matches(xa=np.zeros((0, 2)), xb=np.zeros((0, 2)), confidence=np.zeros(0))}, {}, [CENTRE] * 3, [420.0] * 3)


def test_given_cameras_are_kept_exactly():
    matches, T = scene(5)
    K = np.tile([[420.0, 0, 256], [0, 420, 192], [0, 0, 1]], (5, 1, 1))
    b = solve_views(matches, [CENTRE] * 5, [300.0] * 5, K=K, cam_to_world=T)
    assert np.array_equal(b.K, K) and np.allclose(b.cam_to_world, T, atol=1e-12) and len(b.points) > 300
    some = T.copy()
    some[3:] = np.nan
    b = solve_views(matches, [CENTRE] * 5, [300.0] * 5, K=K, cam_to_world=some)
    assert b.placed.all() and np.abs(b.cam_to_world[3:, :3, 3] - T[3:, :3, 3]).max() < 0.05


def test_pure_rotation_is_not_placed_with_confidence():
    g = np.random.default_rng(0)
    rays = np.c_[g.uniform(-0.4, 0.4, (400, 2)), np.ones(400)]
    turned = rays @ Rotation.from_rotvec([0.02, 0.1, 0]).as_matrix().T
    xa, xb = (420 * r[:, :2] / r[:, 2:] + CENTRE + g.normal(size=(400, 2)) * 0.3 for r in (rays, turned))
    b = solve_views({(0, 1): Matches(xa=xa, xb=xb, confidence=np.ones(400))}, [CENTRE] * 2, [420.0] * 2)
    assert b.confidence.max() < 0.3


def test_tracks_join_and_never_hold_a_view_twice():
    g = np.random.default_rng(0)
    a, b, c = (g.uniform(0, 500, (50, 2)) for _ in range(3))
    m = lambda x, y: Matches(xa=x, xb=y, confidence=np.ones(len(x)))
    t = build_tracks({(0, 1): m(a, b), (1, 2): m(b, c), (0, 2): m(a, np.roll(c, 1, 0))})
    assert len(np.unique(np.c_[t.point, t.view], axis=0)) == len(t.view)
    assert np.bincount(t.point).max() == 3


def test_of_too_many_matches_those_make_tracks_that_many_pairs_met(monkeypatch):
    """Each pair of neighbours meets twenty features that all views have and eighty that it alone has, which are surer."""
    g, views = np.random.default_rng(0), 10
    common = g.uniform(0, 500, (views, 20, 2))
    matches = {}
    for v in range(views - 1):
        alone = g.uniform(0, 500, (2, 80, 2))
        xa, xb = np.concatenate([common[v], alone[0]]), np.concatenate([common[v + 1], alone[1]])
        matches[(v, v + 1)] = Matches(xa=xa, xb=xb, confidence=np.r_[np.full(20, 0.4), np.full(80, 0.9)])
    assert np.bincount(build_tracks(matches).point).max() == views
    monkeypatch.setattr(tracks, "ALL_MATCHES", 25 * (views - 1))
    few = np.bincount(build_tracks(matches).point)
    assert (few == views).sum() >= 19 and few.sum() <= 20 * views + 2 * 5 * (views - 1)  # a feature may lie in another's cell


def test_systems_are_solved_whether_rounding_left_them_definite_or_not():
    g = torch.Generator().manual_seed(0)
    J = torch.randn(40, 20, generator=g, dtype=torch.float64)
    b = torch.randn(20, generator=g, dtype=torch.float64)
    for A in (J.T @ J, J.T @ J - 9 * torch.eye(20, dtype=torch.float64)):
        assert torch.allclose(A @ solved(A, b), b, atol=1e-8)
    assert torch.linalg.cholesky_ex(A).info > 0  # the second one


def test_one_given_pose_is_where_the_world_is():
    matches, T = scene(4)
    some = np.full((4, 4, 4), np.nan)
    some[2] = T[2]
    b = solve_views(matches, [CENTRE] * 4, [420.0] * 4, cam_to_world=some)
    assert b.placed.all() and np.array_equal(b.cam_to_world[2], T[2]) and b.confidence[2] == 1
    assert rotation_error_degrees(b.cam_to_world[0, :3, :3], T[0, :3, :3]) < 1


def rig_of(T, focal=420.0):
    W = torch.from_numpy(np.linalg.inv(T))
    n = len(T)
    wide = lambda row: torch.tensor([row] * n, dtype=torch.float64)
    return Rig(R=W[:, :3, :3], t=W[:, :3, 3], focal=wide([focal, focal]), principal=wide(CENTRE.tolist()), log_scale=wide([0.0])[:, 0])


def seen(rig, points):
    """Every point in every view."""
    n, count = len(rig.R), len(points)
    view, point = torch.arange(n).repeat_interleave(count), torch.arange(count).repeat(n)
    o = Observations(view=view, point=point, xy=torch.zeros(n * count, 2, dtype=torch.float64), count=count)
    return Observations(view=view, point=point, xy=project(rig, points, o)[0], count=count)


def test_triangulation_is_exact_without_noise():
    _, T = scene(4)
    rig = rig_of(T)
    points = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (20, 3)) + [0, 0, 5])
    o = seen(rig, points)
    found, angle = triangulate(o, rig.focal_now, rig.principal, rig.R, rig.t)
    assert torch.allclose(found, points) and angle.min() > 0.1
    start = points + torch.from_numpy(np.random.default_rng(1).normal(size=points.shape) * 0.02)
    free = torch.tensor([False, True, True, True])
    moved, found = adjust(rig, start, o, free=free, focal_free=torch.ones(4, dtype=torch.bool), sigma=1e3, rounds=40)
    assert (project(moved, found, o)[0] - o.xy).abs().max() < 1e-2


def weighted_jacobians(rig, points, o):
    """By automatic derivatives: of each observation by its view's seven parameters and by its point, and the residuals, weighted."""
    error = lambda dc, dp: project(moved(rig, dc), points + dp, o)[0] - o.xy
    zeros = torch.zeros(len(rig.R), 7, dtype=torch.float64), torch.zeros_like(points)
    by_cameras, by_points = torch.autograd.functional.jacobian(error, zeros)  # type: ignore[misc]
    rows, r = torch.arange(len(o.view)), error(*zeros)
    w = (1 + r.square().sum(1)).rsqrt()[:, None]
    return w[..., None] * by_cameras[rows, :, o.view], w[..., None] * by_points[rows, :, o.point], w * r


@pytest.mark.parametrize("shared", [True, False])
def test_the_step_of_the_reduced_system_is_that_of_the_whole_one(shared):
    """Points eliminated and blocks gathered from pairs of observations, against the dense normal equations."""
    _, T = scene(4)
    rig = rig_of(T, 430.0)
    points = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (9, 3)) + [0, 0, 5])
    o = seen(rig_of(T), points)
    o = o.take(torch.arange(len(o.view)) % 5 != 0)
    free, focal_free = torch.tensor([False, True, True, True]), torch.tensor([True, True, False, True])
    f = freedom(o, free, focal_free, shared=shared, sigma=0.35)
    damping = 1e-3
    system = System(o, f, 4, 1.0)
    system.linearise(rig, points)
    dc, dp = system.step(damping)
    Jc, Jp, r = weighted_jacobians(rig, points, o)
    J = torch.zeros(len(o.view), 2, f.count + 1 + 27, dtype=torch.float64)
    for k in range(len(o.view)):
        for c in range(7):
            J[k, :, f.column[7 * o.view[k] + c]] += Jc[k, :, c]
        J[k, :, f.count + 1 + 3 * o.point[k] : f.count + 4 + 3 * o.point[k]] = Jp[k]
    J = torch.cat([J[..., : f.count], J[..., f.count + 1 :]], 2).flatten(0, 1)
    H, g = J.T @ J, J.T @ r.flatten()
    for v in (0, 1, 3):  # the prior of each free focal
        at = f.column[7 * v + 6]
        H[at, at] += f.prior[v]
        g[at] += f.prior[v] * rig.log_scale[v]
    x = torch.linalg.solve(H + damping * torch.diag(H.diagonal()), -g)
    torch.testing.assert_close(dp, x[f.count :].unflatten(0, (-1, 3)), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(dc.flatten(), torch.cat([x[: f.count], x.new_zeros(1)])[f.column], rtol=1e-4, atol=1e-7)


def test_eight_views_are_quick():
    matches, T = scene(8, count=1500, apart=7, step=8.0)
    start = time.perf_counter()
    b = solve_views(matches, [CENTRE] * 8, [500.0] * 8)
    assert b.placed.all() and camera_centre_errors(b.cam_to_world, T).max() < 0.02
    assert time.perf_counter() - start < 30  # about 5 s on two cores
