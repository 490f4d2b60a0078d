"""Contains tracks, the same scene point followed through many views, from matches of pairs; and their triangulation (PyTorch, float64)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recon.cameras.pose import Matches
from recon.cores import on_all_cores

MATCH_LIMIT = 1500  # matches a pair
ALL_MATCHES = 400_000  # of all pairs together, shared evenly


@dataclass(frozen=True, kw_only=True)
class Observations:
    """Where the points were seen; one row an observation, at most one for a point and a view."""

    view: Tensor  # [O] int
    point: Tensor  # [O] int, 0..count-1
    xy: Tensor  # [O, 2] pixels, centre of pixel (0, 0) at (0.5, 0.5)
    count: int  # number of points

    def take(self, index: Tensor) -> Observations:
        """Some of the observations; the points keep their numbers."""
        return Observations(view=self.view[index], point=self.point[index], xy=self.xy[index], count=self.count)

    def compact(self) -> tuple[Observations, Tensor]:
        """Points renumbered without gaps, and the old number of each [count]."""
        old, new = torch.unique(self.point, return_inverse=True)
        return Observations(view=self.view, point=new, xy=self.xy, count=len(old)), old

    def sorted(self) -> Observations:
        """The same in the order of their points."""
        return self if bool((self.point[1:] >= self.point[:-1]).all()) else self.take(torch.argsort(self.point, stable=True))

    def lengths(self) -> Tensor:
        """How many views see each point [count]."""
        return torch.bincount(self.point, minlength=self.count)

    def to(self, device: torch.device | str) -> Observations:
        """The same on another device."""
        return Observations(view=self.view.to(device), point=self.point.to(device), xy=self.xy.to(device), count=self.count)


def build_tracks(matches: Mapping[tuple[int, int], Matches], *, merge_px: float = 1.0) -> Observations:
    """Union-find over the matches of all pairs, the surest first; a union that would give a point two places in one view is refused.

    End points of one view that fall in one cell of `merge_px` are one feature, at their mean. The surest MATCH_LIMIT matches of each pair are
    used; where all would be more than ALL_MATCHES, those of features that many pairs met.
    """
    from recon.cameras.joining import joined

    ends_view, ends_xy, confidence = [], [], []
    for (i, j), m in matches.items():
        m = m.best(MATCH_LIMIT)
        ends_view.append(np.repeat([[i, j]], len(m), 0))
        ends_xy.append(np.stack([m.xa, m.xb], 1))
        confidence.append(m.confidence)
    if not sum(len(c) for c in confidence):
        return _observations(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)), 0)
    view, xy, sure = np.concatenate(ends_view), np.concatenate(ends_xy), np.concatenate(confidence)  # [M, 2], [M, 2, 2], [M]
    if len(view) > ALL_MATCHES:
        pair = np.repeat(np.arange(len(confidence)), [len(c) for c in confidence])
        feature = _features(view.reshape(-1), xy.reshape(-1, 2), merge_px)[1].reshape(-1, 2)
        kept = _most_met(feature, pair, sure, ALL_MATCHES // len(confidence))
        view, xy, sure = view[kept], xy[kept], sure[kept]
    order = np.argsort(-sure, kind="stable")
    view, xy = view[order].reshape(-1), xy[order].reshape(-1, 2)
    first, feature = _features(view, xy, merge_px)
    share = np.bincount(feature)[:, None]
    place = np.stack([np.bincount(feature, xy[:, k]) for k in (0, 1)], 1) / share
    owner = view[first]
    roots = joined(feature.reshape(-1, 2), owner.astype(np.int64), int(view.max()) + 1)
    _, point, length = np.unique(roots, return_inverse=True, return_counts=True)
    point = point.reshape(-1)
    kept = length[point] >= 2
    return _observations(owner[kept], point[kept], place[kept], len(length)).compact()[0].sorted()


def _features(view: np.ndarray, xy: np.ndarray, merge_px: float) -> tuple[np.ndarray, np.ndarray]:
    """The first end point of each feature, and the feature of each end point: those of one view and one cell are one."""
    cells = np.floor(xy / merge_px).astype(np.int64)
    cells -= cells.min(0)
    columns, rows = cells.max(0) + 1
    _, first, feature = np.unique((view * columns + cells[:, 0]) * rows + cells[:, 1], return_index=True, return_inverse=True)
    return first, feature.reshape(-1)


def _most_met(feature: np.ndarray, pair: np.ndarray, confidence: np.ndarray, limit: int) -> np.ndarray:  # [M, 2], [M], [M] -> [K]
    """Of each pair `limit` matches, those first whose features are met in the most pairs: only they make tracks that hold far views together."""
    met = np.bincount(feature.reshape(-1))[feature].sum(1)
    order = np.lexsort([-confidence, -met, pair])
    start = np.searchsorted(pair[order], pair[order])
    return np.sort(order[np.arange(len(order)) - start < limit])


def _observations(view: np.ndarray, point: np.ndarray, xy: np.ndarray, count: int) -> Observations:
    return Observations(view=torch.from_numpy(view), point=torch.from_numpy(point), xy=torch.from_numpy(xy), count=count)


def gather(values: Tensor, index: Tensor, count: int) -> Tensor:  # [O, ...], [O] -> [count, ...]
    """Sum of the values of each index."""
    return values.new_zeros(count, *values.shape[1:]).index_add_(0, index, values)


def triangulate(o: Observations, focal: Tensor, principal: Tensor, R: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Points [P, 3] nearest to their rays and about the largest angle [P] in radians between two of the rays.

    That is twice the largest one to their mean: right within a factor of two. x_camera = R x_world + t. A point seen once, or along parallel rays,
    is NaN with angle 0.
    """
    from recon.cameras.intersection import intersected_rows

    start, view, xy = _by_point(o)
    points, angle = np.empty((o.count, 3)), np.empty(o.count)
    on_all_cores(intersected_rows, o.count, start, view, xy, *_cameras(focal, principal, R, t), points, angle, work=len(view))
    return torch.from_numpy(points), torch.from_numpy(angle)


def held(
    o: Observations, placed: Tensor, focal: Tensor, principal: Tensor, R: Tensor, t: Tensor, *, limit: float, least_angle: float, rounds: int
) -> tuple[Tensor, Observations]:
    """Points [P, 3] from the placed views [V], NaN where they do not hold, and the observations that do; `o` by point (see `Observations.sorted`).

    Of a point that does not fit, the worst of three observations or more is dropped, at most `rounds` times, then what is further off than `limit`
    pixels. Rays that meet at less than `least_angle` radians hold nothing.
    """
    from recon.cameras.intersection import held_rows

    start, view, xy = _by_point(o)
    points, holds = np.empty((o.count, 3)), np.empty(len(view), bool)
    how = placed.numpy(), limit, least_angle, rounds
    on_all_cores(held_rows, o.count, start, view, xy, *_cameras(focal, principal, R, t), *how, points, holds, work=(rounds + 1) * len(view))
    return torch.from_numpy(points), o.take(torch.from_numpy(holds))


def _by_point(o: Observations) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each point's observations start [P + 1], and their views and pixels."""
    o = o.sorted()
    return np.searchsorted(o.point.numpy(), np.arange(o.count + 1)), np.ascontiguousarray(o.view.numpy()), np.ascontiguousarray(o.xy.numpy())


def _cameras(*tensors: Tensor) -> list[np.ndarray]:
    return [np.ascontiguousarray(x.numpy()) for x in tensors]
