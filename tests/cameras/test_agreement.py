"""Two independent ways to one answer: exact data agree, a wrong depth or camera shows."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from recon.cameras.agreement import compare, other_observation
from recon.cameras.bundle import Bundle


def scene(seed: int = 0, points: int = 200) -> tuple[Bundle, np.ndarray, np.ndarray, np.ndarray]:
    """Three views of random points, with exact depths."""
    rng = np.random.default_rng(seed)
    K = np.tile(np.array([[400.0, 0, 320], [0, 400, 240], [0, 0, 1]]), (3, 1, 1))
    T = np.tile(np.eye(4), (3, 1, 1))
    for v in (1, 2):
        T[v, :3, :3], T[v, :3, 3] = Rotation.from_rotvec([0.0, 0.1 * v, 0.02]).as_matrix(), [-0.5 * v, 0.1, 0.05]
    X = rng.uniform([-1.5, -1, 3], [1.5, 1, 6], (points, 3))
    view, point = np.repeat(np.arange(3), points), np.tile(np.arange(points), 3)
    local = np.einsum("oji,oj->oi", T[view, :3, :3], X[point] - T[view, :3, 3])
    xy = local[:, :2] / local[:, 2:] * 400 + [320, 240]
    bundle = Bundle(K=K, cam_to_world=T, placed=np.ones(3, bool), confidence=np.ones(3), points=X, view=view, point=point, xy=xy,
                    error=np.zeros(points), cost=0.0)  # fmt: skip
    return bundle, K, T, local[:, 2]


def test_exact_data_agree() -> None:
    for record in compare(*scene()):
        assert record["points"] == 200
        assert record["pnp_rotation_degrees"] < 1e-3 and record["pnp_centre"] < 1e-5 and record["depth"] < 1e-9


def test_a_wrong_camera_and_a_wrong_depth_show() -> None:
    bundle, K, T, depth = scene()
    wrong = T.copy()
    wrong[1, :3, :3] = wrong[1, :3, :3] @ Rotation.from_rotvec([0.0, np.radians(3), 0.0]).as_matrix()
    assert compare(bundle, K, wrong, depth)[1]["pnp_rotation_degrees"] > 1
    off = depth * np.where(bundle.view == 0, 1.2, 1.0)
    assert compare(bundle, K, T, off)[0]["depth"] == pytest.approx(0.2, abs=1e-6)


def test_a_view_that_sees_too_little_says_nothing() -> None:
    bundle, K, T, depth = scene(points=10)
    assert all(r["pnp_rotation_degrees"] is None and r["depth"] is None for r in compare(bundle, K, T, depth))


def test_partners_are_other_views_of_the_same_point() -> None:
    bundle, *_ = scene(points=7)
    partner = other_observation(bundle)
    assert (bundle.point[partner] == bundle.point).all() and (bundle.view[partner] != bundle.view).all()


def test_views_side_by_side_give_what_they_give_alone() -> None:
    bundle, K, T, depth = scene()
    rng = np.random.default_rng(1)
    off = depth * rng.uniform(0.9, 1.1, len(depth))
    before, answers = torch.get_num_threads(), []
    for threads in (1, 4):
        torch.set_num_threads(threads)
        answers.append(compare(bundle, K, T, off))
    torch.set_num_threads(before)
    assert answers[0] == answers[1] and answers[0][0]["pnp_rotation_degrees"] > 0
