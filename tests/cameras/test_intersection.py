"""Triangulation against a plain sum of projectors."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from recon.cameras.tracks import Observations, triangulate


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
