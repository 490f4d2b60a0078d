"""Tracks: the same scene point followed through many views, from matches of pairs; and their triangulation."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recon.cameras.pose import Matches


@dataclass(frozen=True, kw_only=True)
class Observations:
    """Where the points were seen; one row an observation, at most one for a point and a view."""

    view: np.ndarray  # [O] int
    point: np.ndarray  # [O] int, 0..count-1
    xy: np.ndarray  # [O, 2] pixels, centre of pixel (0, 0) at (0.5, 0.5)
    count: int  # number of points

    def take(self, index: np.ndarray) -> Observations:
        """Some of the observations; the points keep their numbers."""
        return Observations(view=self.view[index], point=self.point[index], xy=self.xy[index], count=self.count)

    def compact(self) -> tuple[Observations, np.ndarray]:
        """Points renumbered without gaps, and the old number of each [count]."""
        old, new = np.unique(self.point, return_inverse=True)
        return Observations(view=self.view, point=new.reshape(-1), xy=self.xy, count=len(old)), old


def build_tracks(matches: Mapping[tuple[int, int], Matches], *, merge_px: float = 1.0, limit: int = 1500) -> Observations:
    """Union-find over the matches of all pairs, the surest first; a union that would give a point two places in one view is refused.

    End points of one view that fall in one cell of `merge_px` are one feature, at their mean. At most `limit` matches a pair are used.
    """
    ends_view, ends_xy, confidence = [], [], []
    for (i, j), m in matches.items():
        m = m.best(limit)
        ends_view.append(np.repeat([[i, j]], len(m), 0))
        ends_xy.append(np.stack([m.xa, m.xb], 1))
        confidence.append(m.confidence)
    if not sum(len(c) for c in confidence):
        return Observations(view=np.zeros(0, int), point=np.zeros(0, int), xy=np.zeros((0, 2)), count=0)
    view, xy = np.concatenate(ends_view), np.concatenate(ends_xy)  # [M, 2], [M, 2, 2]
    order = np.argsort(-np.concatenate(confidence), kind="stable")
    view, xy = view[order].reshape(-1), xy[order].reshape(-1, 2)
    cells = np.c_[view, np.floor(xy / merge_px)].astype(np.int64)
    _, first, feature = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    feature = feature.reshape(-1)
    share = np.bincount(feature)[:, None]
    place = np.stack([np.bincount(feature, xy[:, k]) for k in (0, 1)], 1) / share
    owner = view[first]
    parent, seen = list(range(len(first))), [1 << int(v) for v in owner]

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    for a, b in feature.reshape(-1, 2).tolist():
        a, b = root(a), root(b)
        if a != b and not seen[a] & seen[b]:
            parent[b] = a
            seen[a] |= seen[b]
    roots = np.array([root(k) for k in range(len(first))])
    _, point, length = np.unique(roots, return_inverse=True, return_counts=True)
    point = point.reshape(-1)
    kept = length[point] >= 2
    tracks = Observations(view=owner[kept], point=point[kept], xy=place[kept], count=len(length))
    return tracks.compact()[0]


def rays_of(observations: Observations, focal: np.ndarray, principal: np.ndarray, R: np.ndarray) -> np.ndarray:
    """Unit directions in the world [O, 3]; focal [V, 2], principal [V, 2], R [V, 3, 3] world to camera."""
    v = observations.view
    d = np.c_[(observations.xy - principal[v]) / focal[v], np.ones(len(v))]
    d = np.einsum("oji,oj->oi", R[v], d)
    return d / np.linalg.norm(d, axis=1, keepdims=True)


def triangulate(observations: Observations, focal: np.ndarray, principal: np.ndarray, R: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [P, 3] nearest to their rays and the largest angle [P] in radians between two of the rays.

    x_camera = R x_world + t. A point seen once, or along parallel rays, is NaN with angle 0.
    """
    v, p, count = observations.view, observations.point, observations.count
    d = rays_of(observations, focal, principal, R)
    centre = -np.einsum("vji,vj->vi", R, t)[v]
    A = np.eye(3) - d[:, :, None] * d[:, None]
    M, b = np.zeros((count, 3, 3)), np.zeros((count, 3))
    np.add.at(M, p, A)
    np.add.at(b, p, np.einsum("oij,oj->oi", A, centre))
    mean = np.zeros((count, 3))
    np.add.at(mean, p, d)
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    angle = np.zeros(count)
    from_mean = np.arctan2(np.linalg.norm(np.cross(d, mean[p]), axis=1), (d * mean[p]).sum(1))
    np.maximum.at(angle, p, 2 * from_mean)  # about the mean ray: within a factor of two
    fine = (np.bincount(p, minlength=count) >= 2) & (np.linalg.det(M) > 1e-12)
    points = np.full((count, 3), np.nan)
    points[fine] = np.linalg.solve(M[fine], b[fine][..., None])[..., 0]
    return points, np.where(fine, angle, 0.0)
