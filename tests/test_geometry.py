"""Geometry: round trips over random draws, gradients against finite differences, and known answers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recon import geometry as g
from recon.errors import GeometryError, ShapeError

SEEDS = st.integers(0, 10**6)


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rotations(count: int, seed: int) -> torch.Tensor:
    return g.quats_to_matrices(torch.randn(count, 4, generator=draw(seed), dtype=torch.float64))


def rigid(count: int, seed: int) -> torch.Tensor:
    T = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    T[:, :3, :3] = rotations(count, seed)
    T[:, :3, 3] = torch.randn(count, 3, generator=draw(seed + 1), dtype=torch.float64)
    return T


def lens(seed: int, skew: float = 0.0) -> torch.Tensor:
    fx, fy, cx, cy = (torch.rand(4, generator=draw(seed), dtype=torch.float64) * 20 + 5).tolist()
    return torch.tensor([[fx, skew, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)


@given(seed=SEEDS, skew=st.floats(-1, 1))
@settings(deadline=None)
def test_unproject_then_project(seed, skew):
    K, T = lens(seed, skew), rigid(1, seed)[0]
    depth = torch.rand(7, 9, generator=draw(seed), dtype=torch.float64) * 5 + 0.1
    points = g.unproject(depth, K, T)
    xy, z = g.project(points.reshape(-1, 3), K, g.invert_rigid(T))
    assert torch.allclose(z.reshape(7, 9), depth)
    assert torch.allclose(xy.reshape(7, 9, 2), g.pixel_grid(7, 9, dtype=torch.float64), atol=1e-7)


def test_pixel_centres_are_at_one_half():
    assert g.pixel_grid(2, 3)[1, 2].tolist() == [2.5, 1.5]


@given(seed=SEEDS)
@settings(deadline=None)
def test_rigid_inverse(seed):
    T = rigid(4, seed)
    assert torch.allclose(g.invert_rigid(T) @ T, torch.eye(4, dtype=torch.float64).expand(4, 4, 4), atol=1e-12)


@given(seed=SEEDS)
@settings(deadline=None)
def test_quaternions_round_trip(seed):
    R = rotations(8, seed)
    q = g.matrices_to_quats(R)
    assert torch.allclose(q.norm(dim=-1), torch.ones(8, dtype=torch.float64))
    assert torch.allclose(g.quats_to_matrices(q), R, atol=1e-12)
    assert torch.allclose(g.quats_to_matrices(3.7 * q), R, atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_turns_have_quaternions(axis):
    R = -torch.eye(3, dtype=torch.float64)
    R[axis, axis] = 1
    assert g.matrices_to_quats(R)[1 + axis] == pytest.approx(1)


@given(seed=SEEDS, scale=st.floats(0.05, 20), weighted=st.booleans(), noise=st.booleans())
@settings(deadline=None)
def test_umeyama_finds_the_motion(seed, scale, weighted, noise):
    source = torch.randn(3, 20, 3, generator=draw(seed), dtype=torch.float64)
    T = rigid(3, seed)
    target = scale * g.transform(T, source)
    weight = torch.rand(3, 20, generator=draw(seed), dtype=torch.float64) + 0.1 if weighted else None
    if noise and weight is not None:  # points without weight do not count
        target[:, :5] += 10
        weight[:, :5] = 0
    elif noise:
        return
    s, R, t = g.umeyama(source, target, weight)
    assert torch.allclose(s, torch.full((3,), scale, dtype=torch.float64))
    assert torch.allclose(R, T[:, :3, :3], atol=1e-9) and torch.allclose(t, scale * T[:, :3, 3], atol=1e-8 * max(1, scale))


def test_umeyama_never_mirrors():
    source = torch.randn(30, 3, generator=draw(0), dtype=torch.float64)
    _, R, _ = g.umeyama(source, source * torch.tensor([1, 1, -1], dtype=torch.float64))
    assert torch.linalg.det(R).item() == pytest.approx(1)


def test_umeyama_is_differentiable():
    source = torch.randn(2, 9, 3, generator=draw(1), dtype=torch.float64, requires_grad=True)
    target = torch.randn(2, 9, 3, generator=draw(2), dtype=torch.float64, requires_grad=True)
    weight = (torch.rand(2, 9, generator=draw(3), dtype=torch.float64) + 0.2).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b, w: g.umeyama(a, b, w), (source, target, weight))


def test_procrustes_keeps_the_scale():
    source = torch.randn(12, 3, generator=draw(4), dtype=torch.float64)
    T = rigid(1, 4)[0]
    R, t = g.procrustes(source, g.transform(T, source))
    assert torch.allclose(R, T[:3, :3]) and torch.allclose(t, T[:3, 3])


def test_umeyama_wants_pairs():
    with pytest.raises(ShapeError, match=r"got \[4, 3\], \[5, 3\]"):
        g.umeyama(torch.zeros(4, 3), torch.zeros(5, 3))


@given(seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_normals_of_a_plane(seed):
    """A plane's normals are the plane's, towards the camera."""
    normal = torch.randn(3, generator=draw(seed), dtype=torch.float64)
    normal[2] = -normal[2].abs() - 1.0
    normal = normal / normal.norm()
    rays = g.unproject(torch.ones(8, 10, dtype=torch.float64), torch.tensor([[30.0, 0, 5], [0, 30, 4], [0, 0, 1]], dtype=torch.float64))
    depth = (normal[2] * 3) / (rays @ normal)  # the plane through (0, 0, 3)
    points = rays * depth[..., None]
    got = g.normals_from_points(points)
    assert torch.allclose(got, normal.expand_as(got), atol=1e-6)
    assert ((got * points).sum(-1) < 0).all()


def test_normals_need_neighbours():
    with pytest.raises(ShapeError, match="at least 2 x 2"):
        g.normals_from_points(torch.zeros(1, 5, 3))


@given(seed=SEEDS, focal=st.floats(20, 400))
@settings(max_examples=30, deadline=None)
def test_focal_of_exact_points_with_outliers(seed, focal):
    K = torch.tensor([[focal, 0, 20.0], [0, focal, 15.0], [0, 0, 1]], dtype=torch.float64)
    points = g.unproject(torch.rand(30, 40, generator=draw(seed), dtype=torch.float64) * 3 + 1, K)
    assert g.focal_from_points(points).item() == pytest.approx(focal, rel=1e-6)
    points[:6] += (torch.rand(6, 40, 3, generator=draw(seed), dtype=torch.float64) - 0.3) * 20 / focal
    robust, plain = (abs(g.focal_from_points(points, iterations=n).item() - focal) for n in (60, 0))
    assert robust < 0.5 * plain  # a fifth of the points are off by up to the width of the picture
    mask = torch.ones(30, 40, dtype=torch.bool)
    mask[:6] = False
    assert g.focal_from_points(points, mask=mask).item() == pytest.approx(focal, rel=1e-6)


def test_focal_of_nothing_is_unknown():
    assert math.isnan(g.focal_from_points(torch.full((4, 4, 3), -1.0)).item())


@given(seed=SEEDS, outliers=st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_pnp_finds_the_camera(seed, outliers):
    T = rigid(1, seed)[0]
    T[:3, 3] += torch.tensor([0, 0, 6.0])
    points = torch.randn(60, 3, generator=draw(seed), dtype=torch.float64)
    K = torch.tensor([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]], dtype=torch.float64)
    local = g.transform(T, points)
    keep = local[:, 2] > 1
    points = points[keep]
    xy, _ = g.project(points, K, T)
    bad = torch.arange(len(points)) < min(outliers, len(points) // 3)
    xy[bad] += 80 + 100 * torch.rand(int(bad.sum()), 2, generator=draw(seed), dtype=torch.float64)
    found, inliers = g.pnp(points, xy, K)
    assert torch.allclose(found, T, atol=1e-4)
    assert not inliers[bad].any() and inliers[~bad].all()


def test_pnp_says_when_there_is_no_camera():
    K = torch.eye(3)
    with pytest.raises(GeometryError, match="needs 4 points, got 3"):
        g.pnp(torch.randn(3, 3), torch.randn(3, 2), K)
    with pytest.raises(ShapeError):
        g.pnp(torch.randn(5, 3), torch.randn(4, 2), K)
