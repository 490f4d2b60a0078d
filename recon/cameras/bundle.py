"""Contains the cameras of many views from pairwise matches and relative poses: a start by the surest pair, growth, adjustment, tracks.

Two views go the same way. Cameras that are given are kept exactly. A view that cannot be placed is reported, never invented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from recon.cameras.adjustment import Rig, reprojection_errors
from recon.cameras.growth import Growing, Options, grow
from recon.cameras.pairing import Pair
from recon.cameras.pose import Matches, RelativePose
from recon.cameras.tracks import Observations, build_tracks

LEAST_CONFIDENCE = 0.02  # of a pair whose matches make tracks
STARTS = 3  # pairs that growth is tried from


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Cameras and tracks. Unplaced views have a NaN cam_to_world and confidence 0; the first placed view is the world unless poses were given."""

    K: np.ndarray  # [V, 3, 3] pixels
    cam_to_world: np.ndarray  # [V, 4, 4]
    placed: np.ndarray  # [V] bool
    confidence: np.ndarray  # [V] 0..1
    points: np.ndarray  # [P, 3] world
    view: np.ndarray  # [O]
    point: np.ndarray  # [O]
    xy: np.ndarray  # [O, 2] pixels
    error: np.ndarray  # [P] mean reprojection error, pixels
    cost: float  # mean robust cost of all observations, lost ones at its limit; lower is better


def common_focal(relative: Mapping[Pair, RelativePose], priors: np.ndarray, *, shared: bool) -> np.ndarray:
    """Focal of each view [V] agreed on by its pairs: the median of log(focal / prior), weighted by what each pair knows of it."""
    views: list[int] = []
    ratio, weight = [], []
    for (i, j), p in relative.items():
        w = p.confidence / (0.02 + min(p.focal_sigma, 10.0)) ** 2
        for v, f in ((i, p.focal_a), (j, p.focal_b)):
            views.append(v)
            ratio.append(np.log(f / priors[v]))
            weight.append(w)
    ratio, weight, owner = np.array(ratio), np.array(weight), np.array(views)
    out = np.log(np.asarray(priors, float))
    for v in range(len(priors)):
        mine = np.ones(len(owner), bool) if shared else owner == v
        if not mine.any() or weight[mine].sum() <= 0:
            continue
        order = np.argsort(ratio[mine])
        total = np.cumsum(weight[mine][order])
        out[v] += ratio[mine][order][np.searchsorted(total, total[-1] / 2)]
    return np.exp(out)


def solve_views(
    matches: Mapping[Pair, Matches], relative: Mapping[Pair, RelativePose], principal: Sequence | np.ndarray,
    focal_prior: Sequence[float] | np.ndarray, *, K: np.ndarray | None = None, cam_to_world: np.ndarray | None = None, sigma: float = 0.35,
    threshold_px: float = 1.0, shared_focal: bool = True,
) -> Bundle:  # fmt: skip
    """Cameras and tracks of V = len(focal_prior) views from the matches of pairs (i, j), i != j, in pixels of the views, and their relative poses.

    principal [V, 2] and focal_prior [V] in pixels; the focal lengths start where the relative poses agree. K [V, 3, 3] (a NaN matrix: unknown)
    and cam_to_world [V, 4, 4] (likewise) are kept exactly; poses that are given fix the world and its scale. Otherwise the longest baseline
    from the first view is 1. Raises ValueError for pairs outside the views.
    """
    views = len(focal_prior)
    if any(not (0 <= i < views and 0 <= j < views and i != j) for i, j in matches):
        raise ValueError(f"pairs must be of two different views below {views}, got {sorted(matches)}")
    centre, pixels = np.array(principal, float).reshape(views, 2), np.tile(np.array(focal_prior, float)[:, None], 2)
    focal_given = np.zeros(views, bool) if K is None else np.asarray(np.isfinite(K).all((1, 2)))
    pose_given = np.zeros(views, bool) if cam_to_world is None else np.asarray(np.isfinite(cam_to_world).all((1, 2)))
    if K is not None:
        pixels[focal_given], centre[focal_given] = K[focal_given][:, [0, 1], [0, 1]], K[focal_given][:, :2, 2]
    both = {pair: p for pair, p in relative.items() if p.support >= 8}
    both |= {(j, i): p.inverse() for (i, j), p in both.items()}
    inliers = {k: m.take(both[k].inliers) for k, m in matches.items() if k in both and both[k].confidence > LEAST_CONFIDENCE}
    tracks = build_tracks(inliers, merge_px=threshold_px)
    to = lambda x: torch.as_tensor(x)
    agreed = np.where(focal_given, 1.0, common_focal(both, pixels.mean(1), shared=shared_focal) / pixels.mean(1))
    eye, zero = np.tile(np.eye(3), (views, 1, 1)), np.zeros((views, 3))
    rig = Rig(R=to(eye), t=to(zero), focal=to(pixels), principal=to(centre), log_scale=to(np.log(agreed)))
    fixed = pose_given if pose_given.sum() > 1 or not both else np.zeros(views, bool)
    o = Options(threshold=threshold_px, sigma=sigma, shared=shared_focal, pose_given=to(fixed), focal_given=to(focal_given))
    unknown = lambda: to(np.full((tracks.count, 3), np.nan))
    if fixed.any() and cam_to_world is not None:
        T = np.linalg.inv(np.where(fixed[:, None, None], cam_to_world, np.eye(4)))
        s = Growing(replace(rig, R=to(T[:, :3, :3]), t=to(T[:, :3, 3])), to(fixed.copy()), unknown())
        return _finish(s, tracks, grow(s, tracks, both, o), o)
    best = None
    for i, j in _starts(both):
        R, t = rig.R.clone(), rig.t.clone()
        R[j], t[j] = to(both[(i, j)].R), to(both[(i, j)].t)
        s = Growing(replace(rig, R=R, t=t), to(np.isin(np.arange(views), (i, j))), unknown())
        bundle = _finish(s, tracks, grow(s, tracks, both, o), o)
        if len(bundle.points) >= 8 and (best is None or (bundle.placed.sum(), -bundle.cost) > (best.placed.sum(), -best.cost)):
            best = bundle
        if best is not None and best.cost < 1.0 and best.placed.sum() >= len(_reachable(inliers, i)):
            break
    if best is None:
        nothing = Growing(rig, to(np.zeros(views, bool)), unknown())
        best = _finish(nothing, tracks, tracks.take(to(np.zeros(0, int))), o)
    return _carried(best, cam_to_world, pose_given) if pose_given.any() and cam_to_world is not None else best


def _starts(relative: Mapping[Pair, RelativePose]) -> list[Pair]:
    """Pairs to begin with, the surest first, no two through the same view."""
    score = {k: p.confidence * np.sqrt(p.support) for k, p in relative.items() if k[0] < k[1]}
    chosen: list[Pair] = []
    for k in sorted(score, key=lambda k: -score[k]):
        if not any(set(k) & set(c) for c in chosen):
            chosen.append(k)
    return chosen[:STARTS]


def _reachable(pairs: Mapping[Pair, Matches], view: int) -> set[int]:
    """The views that pairs with matches connect with a view, itself among them."""
    seen, new = {view}, [view]
    while new:
        v = new.pop()
        near = {b if a == v else a for a, b in pairs if v in (a, b) and len(pairs[(a, b)])} - seen
        seen |= near
        new += near
    return seen


def _finish(s: Growing, tracks: Observations, active: Observations, o: Options) -> Bundle:
    """The answer: world = first placed view unless poses were given, longest baseline from it 1 then; confidence by support and share."""
    views = len(s.placed)
    placed, given = s.placed.cpu().numpy(), o.pose_given.cpu().numpy()
    error = reprojection_errors(s.rig, s.points, active)
    limit = 4 * o.threshold
    spent = torch.log1p((error.clamp(max=limit) / o.threshold).square()).sum() + np.log1p(16) * (len(tracks.view) - len(active.view))
    few, old = active.compact()
    length = few.lengths()
    mean = torch.zeros(few.count, dtype=error.dtype, device=error.device).index_add_(0, few.point, error) / length.clamp(min=1)
    host = lambda x: x.cpu().numpy()
    T = np.tile(np.eye(4), (views, 1, 1))
    T[:, :3, :3], T[:, :3, 3] = host(s.rig.R), host(s.rig.t)
    cam_to_world, points = np.linalg.inv(T), host(s.points[old])
    if not given.any() and placed.any():
        first = np.flatnonzero(placed)[0]
        baseline = np.linalg.norm(cam_to_world[placed][:, :3, 3] - cam_to_world[first, :3, 3], axis=1).max()
        scale = 1 / baseline if baseline > 0 else 1.0
        points = (points @ T[first, :3, :3].T + T[first, :3, 3]) * scale
        cam_to_world = T[first] @ cam_to_world
        cam_to_world[:, :3, 3] *= scale
        cam_to_world[first] = np.eye(4)
    cam_to_world[~placed] = np.nan
    K = np.tile(np.eye(3), (views, 1, 1))
    K[:, 0, 0], K[:, 1, 1] = host(s.rig.focal_now).T
    K[:, :2, 2] = host(s.rig.principal)
    count = lambda view: np.bincount(host(view), minlength=views)
    support = count(active.view)
    share = support / np.maximum(count(tracks.view[s.placed[tracks.view]]), 1)
    confidence = np.where(given, 1.0, np.where(placed, np.sqrt(share) * support / (support + 40.0), 0.0))
    return Bundle(
        K=K, cam_to_world=cam_to_world, placed=placed, confidence=confidence, points=points, view=host(active.view), point=host(few.point),
        xy=host(active.xy), error=host(mean), cost=float(spent) / max(len(tracks.view), 1),
    )  # fmt: skip


def _carried(bundle: Bundle, cam_to_world: np.ndarray, given: np.ndarray) -> Bundle:
    """The bundle with its world moved to where the one view that is given stands; that view counts as placed."""
    g = int(np.flatnonzero(given)[0])
    out, points = bundle.cam_to_world.copy(), bundle.points
    if bundle.placed[g]:
        move = cam_to_world[g] @ np.linalg.inv(out[g])
        out, points = move @ out, points @ move[:3, :3].T + move[:3, 3]
    else:
        out[:] = np.nan
    out[g] = cam_to_world[g]
    placed = np.isfinite(out).all((1, 2))
    return replace(bundle, cam_to_world=out, points=points, placed=placed, confidence=np.where(given, 1.0, np.where(placed, bundle.confidence, 0.0)))
