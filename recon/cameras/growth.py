"""Contains the growth of a reconstruction: from one pair, view after view in rounds, adjusted whenever it has grown by a third."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recon.cameras.adjustment import Rig, adjust
from recon.cameras.pose import RelativePose
from recon.cameras.resection import Placement, place_views
from recon.cameras.tracks import Observations, held

MIN_ANGLE = float(np.radians(0.4))  # below it a point says nothing about its depth
MIN_SUPPORT = 12  # observations that hold a view in its place
MIN_POINTS = 6  # known points that a view must see before it is tried
POINT_LIMIT, EARLY_LIMIT = 8000, 1500  # points in the adjustment: at the end, while growing
VIEW_LIMIT = 150  # points a view in it at least, where there are many views
SURE_PAIR, CONTRADICTED = 0.1, 10.0  # confidence of pairs that are asked; degrees between their turn and that of the views
DROPPED = 2  # observations of a track that does not fit
GROWN = 1.3  # the reconstruction is adjusted anew after it has grown by this factor


@dataclass
class Growing:
    """A reconstruction under way."""

    rig: Rig
    placed: Tensor  # [V] bool
    points: Tensor  # [count, 3], NaN where unknown


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is known, and how exact matches are."""

    threshold: float  # pixels
    sigma: float  # width of the focal prior
    shared: bool  # one focal length
    pose_given: Tensor  # [V] bool
    focal_given: Tensor  # [V] bool


def retriangulate(s: Growing, tracks: Observations, threshold: float) -> Observations:
    """Points anew from the placed views; the observations that fit come back, the worst of a track that does not fit is dropped first."""
    where = s.placed, s.rig.focal_now, s.rig.principal, s.rig.R, s.rig.t
    s.points, active = held(tracks, *where, limit=4 * threshold, least_angle=MIN_ANGLE, rounds=DROPPED)
    return active


def longest(active: Observations, limit: int, views: int) -> Observations:
    """The observations of the longest tracks: so many points that every view has its share of the limit, and VIEW_LIMIT at least."""
    share = max(limit // max(views, 1), VIEW_LIMIT)
    length = active.lengths()
    if int((length > 0).sum()) <= max(limit, share):
        return active
    jitter = torch.from_numpy(np.random.default_rng(0).random(active.count)).to(active.xy.device)
    order = torch.argsort(length[active.point] + jitter[active.point], descending=True, stable=True)
    order = order[torch.argsort(active.view[order], stable=True)]
    count = torch.bincount(active.view)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - (count.cumsum(0) - count)[active.view[order]]
    chosen = torch.zeros(active.count, dtype=torch.bool, device=order.device)
    chosen[active.point[rank < share]] = True
    return active.take(chosen[active.point])


def adjust_all(s: Growing, active: Observations, o: Options, rounds: int, limit: int = POINT_LIMIT) -> None:
    """Bundle adjustment of the placed views; two views alone keep what their pair was refined to, on all its matches."""
    if len(s.placed) == 2 and not bool(o.pose_given.any()):
        return
    active = longest(active, limit, int(s.placed.sum()))
    if len(active.view) < 8:
        return
    few, old = active.compact()
    free = s.placed & ~o.pose_given
    if not bool((s.placed & o.pose_given).any()):
        free[int(s.placed.nonzero()[0])] = False
    s.rig, s.points[old] = adjust(
        s.rig, s.points[old], few, free=free, focal_free=s.placed & ~o.focal_given, sigma=o.sigma, threshold_px=o.threshold,
        shared_focal=o.shared, rounds=rounds,
    )  # fmt: skip
    found = s.placed & ~o.focal_given
    if o.shared and bool(found.any()):  # views yet to be placed share the lens
        s.rig = replace(s.rig, log_scale=torch.where(o.focal_given, 0.0, s.rig.log_scale[found][0]))


def grow(s: Growing, tracks: Observations, relative: Mapping[tuple[int, int], RelativePose], o: Options) -> Observations:
    """Place all views that can be placed; the observations that hold at the end.

    Views that most of their pairs contradict are taken back and tried once more on what the others know by then.
    """
    active = retriangulate(s, tracks, 2 * o.threshold)
    adjust_all(s, active, o, 10, EARLY_LIMIT)
    active = retriangulate(s, tracks, 2 * o.threshold)
    _place_all(s, tracks, relative, o)
    if _take_back(s, relative, o):
        active = retriangulate(s, tracks, 2 * o.threshold)
        adjust_all(s, active, o, 6, EARLY_LIMIT)
        active = retriangulate(s, tracks, 2 * o.threshold)
        _place_all(s, tracks, relative, o)
        _take_back(s, relative, o)
    for width, rounds in ((1.5, 15), (1.0, 15)):
        active = retriangulate(s, tracks, width * o.threshold)
        adjust_all(s, active, o, rounds)
    return retriangulate(s, tracks, o.threshold)


def _place_all(s: Growing, tracks: Observations, relative: Mapping[tuple[int, int], RelativePose], o: Options) -> None:
    """Rounds until nothing can be placed any more."""
    failed: dict[int, int] = {}
    adjusted = int(s.placed.sum())
    while new := _place_round(s, tracks, relative, o, failed):
        active = retriangulate(s, tracks, 2 * o.threshold)
        if int(s.placed.sum()) >= GROWN * adjusted:
            adjust_all(s, active, o, 6, EARLY_LIMIT)
            active = retriangulate(s, tracks, 1.5 * o.threshold)
            adjusted = int(s.placed.sum())
        support = torch.bincount(active.view, minlength=len(s.placed))
        weak = [v for v in new if int(support[v]) < MIN_SUPPORT]
        if weak:
            s.placed[weak] = False
            failed.update({v: int(s.placed.sum()) for v in weak})
            active = retriangulate(s, tracks, 1.5 * o.threshold)


def _take_back(s: Growing, relative: Mapping[tuple[int, int], RelativePose], o: Options) -> bool:
    """Views whose turn differs from that of most of their sure pairs count as unplaced again; whether there are any."""
    R, placed, given = s.rig.R.cpu().numpy(), s.placed.cpu().numpy(), o.pose_given.cpu().numpy()
    apart: list[list[tuple[float, float]]] = [[] for _ in placed]
    for (i, j), p in relative.items():
        if placed[i] and placed[j] and p.confidence > SURE_PAIR:
            cosine = (np.trace(p.R.T @ R[j] @ R[i].T) - 1) / 2
            apart[j].append((float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))), p.confidence))
    wrong = []
    for v, pairs in enumerate(apart):
        weight = sum(w for _, w in pairs)
        if pairs and not given[v] and sum(w for angle, w in pairs if angle > CONTRADICTED) > 0.5 * weight:
            wrong.append(v)
    if 0 < len(wrong) < int(placed.sum()) - 2:  # a wrong view makes few of its neighbours look wrong
        s.placed = s.placed.clone()
        s.placed[wrong] = False
        return True
    return False


def _place_round(s: Growing, tracks: Observations, relative, o: Options, failed: dict[int, int]) -> list[int]:
    """Place the views that see the most known points, all that see at least half as many as the best that can be placed; their numbers."""
    known = s.points.isfinite().all(1)[tracks.point] & ~s.placed[tracks.view]
    rows = known.nonzero()[:, 0]
    seen = torch.bincount(tracks.view[rows], minlength=len(s.placed)).tolist()
    now = int(s.placed.sum())
    waiting = sorted((v for v, n in enumerate(seen) if n >= MIN_POINTS and failed.get(v, -1) != now), key=lambda v: -seen[v])
    placed = np.flatnonzero(s.placed.numpy())
    found: list[int] = []
    R, t, focal = s.rig.R.clone(), s.rig.t.clone(), s.rig.focal_now.numpy()

    def placement(v: int) -> Placement:
        mine = rows[tracks.view[rows] == v]
        neighbours = [(relative[(int(q), v)], s.rig.R[q].numpy(), s.rig.t[q].numpy()) for q in placed if (int(q), v) in relative]
        xyz, xy = s.points[tracks.point[mine]].numpy(), tracks.xy[mine].numpy()
        lens = {"focal": focal[v], "principal": s.rig.principal[v].numpy()}
        return Placement(xyz=xyz, xy=xy, **lens, threshold=o.threshold, neighbours=neighbours)

    while waiting and not found:
        those = [v for v in waiting if seen[v] >= seen[waiting[0]] // 2]
        waiting = waiting[len(those) :]
        for v, pose in zip(those, place_views([placement(v) for v in those]), strict=True):
            if pose is None:
                failed[v] = now
            else:
                R[v], t[v] = torch.from_numpy(pose[0]), torch.from_numpy(pose[1])
                found.append(v)
    s.rig = replace(s.rig, R=R, t=t)
    s.placed = s.placed.clone()
    s.placed[found] = True
    return found
