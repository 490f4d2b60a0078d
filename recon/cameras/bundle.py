"""Cameras of many views from pairwise matches: common focal, incremental placement, bundle adjustment, tracks.

Two views go the same way. Cameras that are given are kept exactly. A view that cannot be placed is reported, never invented.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from recon.cameras.adjustment import Rig, adjust, jacobians, moved, reprojection_errors, robust_cost
from recon.cameras.pose import Matches, RelativePose, solve_pair
from recon.cameras.tracks import Observations, build_tracks, triangulate

MIN_ANGLE = np.radians(0.4)  # below it a point says nothing about its depth
MIN_SUPPORT = 12  # observations that hold a view in its place
POINT_LIMIT = 4000  # points in the adjustment
WORKERS = 2  # pairs solved at a time


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


@dataclass
class _State:
    """A reconstruction under way."""

    rig: Rig
    placed: np.ndarray
    points: np.ndarray  # [count, 3], NaN where unknown


@dataclass(frozen=True, kw_only=True)
class _Options:
    threshold: float
    sigma: float
    shared: bool
    pose_given: np.ndarray  # [V] bool
    focal_given: np.ndarray  # [V] bool


def common_focal(relative: Mapping[tuple[int, int], RelativePose], priors: np.ndarray, *, shared: bool, sigma: float) -> np.ndarray:
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


def _retriangulate(s: _State, tracks: Observations, threshold: float, rounds: int = 2) -> Observations:
    """Points anew from the placed views; the observations that fit come back, the worst of a track that does not fit is dropped first."""
    active = tracks.take(s.placed[tracks.view])
    for k in range(rounds + 1):
        points, angle = triangulate(active, s.rig.focal_now, s.rig.principal, s.rig.R, s.rig.t)
        points[angle < MIN_ANGLE] = np.nan
        error = reprojection_errors(s.rig, np.nan_to_num(points, nan=0.0), active)
        error = np.where(np.isfinite(points[active.point]).all(1), error, np.inf)
        worst = np.zeros(tracks.count)
        np.maximum.at(worst, active.point, error)
        length = np.bincount(active.point, minlength=tracks.count)
        if k < rounds:  # of a bad track of three or more the worst observation goes
            bad = (worst > 4 * threshold) & (length > 2)
            active = active.take(~(bad[active.point] & (error >= worst[active.point])))
    kept = error < 4 * threshold
    length = np.bincount(active.point[kept], minlength=tracks.count)
    points[length < 2] = np.nan
    s.points = points
    return active.take(kept & (length[active.point] >= 2))


def _adjust(s: _State, active: Observations, o: _Options, rounds: int, limit: int = POINT_LIMIT) -> None:
    """Bundle adjustment of the placed views, on the longest tracks; two views alone keep what their pair was refined to, on all its matches."""
    if len(s.placed) == 2 and not o.pose_given.any():
        return
    length = np.bincount(active.point, minlength=active.count)
    if (length > 0).sum() > limit:
        order = np.argsort(-(length + np.random.default_rng(0).random(len(length))))
        chosen = np.zeros(len(length), bool)
        chosen[order[:limit]] = True
        active = active.take(chosen[active.point])
    if len(active.view) < 8:
        return
    few, old = active.compact()
    free = s.placed & ~o.pose_given
    if not (s.placed & o.pose_given).any():
        free[np.flatnonzero(s.placed)[0]] = False
    s.rig, s.points[old] = adjust(s.rig, s.points[old], few, free=free, focal_free=s.placed & ~o.focal_given, sigma=o.sigma,
                          threshold_px=o.threshold, shared_focal=o.shared, rounds=rounds)
    if o.shared and (~o.focal_given).any():  # views yet to be placed share the lens
        first = np.flatnonzero(~o.focal_given & s.placed)[:1]
        s.rig = replace(s.rig, log_scale=np.where(o.focal_given, 0.0, s.rig.log_scale[first].sum() if len(first) else 0.0))


def _hypotheses(s: _State, view: int, xyz, xy, relative, neighbours, threshold):
    """Candidate R, t of an unplaced view: PnP on the points it sees, and each placed neighbour's relative pose at the scale the points ask for."""
    import cv2

    focal, principal = s.rig.focal_now[view], s.rig.principal[view]
    out = []
    if len(xyz) >= 6:
        K = np.array([[focal[0], 0, principal[0]], [0, focal[1], principal[1]], [0, 0, 1]])
        try:
            cv2.setRNGSeed(0)
            ok, w, t, _ = cv2.solvePnPRansac(
                xyz, xy, K, None, iterationsCount=1000, reprojectionError=4 * threshold, confidence=0.999, flags=cv2.SOLVEPNP_SQPNP
            )
            if ok and np.isfinite(w).all() and np.isfinite(t).all():
                out.append((cv2.Rodrigues(w)[0], t[:, 0]))
        except cv2.error:
            pass
    n = (xy - principal) / focal
    for q in neighbours:
        p = relative[(q, view)]
        R = p.R @ s.rig.R[q]
        base = xyz @ R.T + p.R @ s.rig.t[q]  # plus scale * p.t
        lead = p.t[:2] - n * p.t[2]
        scale = -(lead * (base[:, :2] - n * base[:, 2:])).sum(1) / np.maximum((lead**2).sum(1), 1e-12)
        scale = scale[scale > 0]
        out += [(R, p.R @ s.rig.t[q] + k * p.t) for k in (np.quantile(scale, (0.3, 0.5, 0.7)) if len(scale) >= 3 else ())]
    return out


def _fit_view(R, t, focal, principal, xyz, xy, threshold):
    """A view's pose polished on the points it sees (Gauss-Newton, Cauchy), and the number of points that agree."""
    rig = Rig(R=R[None], t=t[None], focal=focal[None], principal=principal[None], log_scale=np.zeros(1))
    o = Observations(view=np.zeros(len(xyz), int), point=np.arange(len(xyz)), xy=xy, count=len(xyz))
    for width in (8.0, 4.0, 2.0):
        for _ in range(4):
            Jc, _, r = jacobians(rig, xyz, o, width * threshold)
            J = Jc[..., :6].reshape(-1, 6)
            x = -np.linalg.lstsq(J.T @ J + 1e-12 * np.eye(6), J.T @ r.reshape(-1), rcond=None)[0]
            trial = moved(rig, xyz, np.r_[x, 0.0], 0.0)[0]
            zero = np.zeros(1)
            if not robust_cost(trial, xyz, o, width * threshold, zero) < robust_cost(rig, xyz, o, width * threshold, zero):
                break
            rig = trial
    error = reprojection_errors(rig, xyz, o)
    cost = np.log1p((np.minimum(error, 1e6) / threshold) ** 2).clip(max=np.log1p(16)).mean()
    return rig.R[0], rig.t[0], int((error < 4 * threshold).sum()), float(cost)


def _place_next(s: _State, tracks: Observations, relative, o: _Options, failed: dict[int, int]) -> int | None:
    """Place the unplaced view that sees most known points and can be placed; its number, or None when none can."""
    known = np.asarray(np.isfinite(s.points).all(1))
    seen = {}
    for v in np.flatnonzero(~s.placed):
        rows = np.flatnonzero((tracks.view == v) & known[tracks.point])
        if len(rows) >= 6 and failed.get(int(v), -1) != int(s.placed.sum()):
            seen[int(v)] = rows
    for v, rows in sorted(seen.items(), key=lambda item: -len(item[1])):
        xyz, xy = s.points[tracks.point[rows]], tracks.xy[rows]
        neighbours = [q for q in np.flatnonzero(s.placed) if (q, v) in relative]
        fits = [_fit_view(R, t, s.rig.focal_now[v], s.rig.principal[v], xyz, xy, o.threshold)
                for R, t in _hypotheses(s, v, xyz, xy, relative, neighbours, o.threshold)]
        best = max(fits, key=lambda f: f[2] - f[3], default=None)
        if best is not None and best[2] >= max(MIN_SUPPORT * 2 // 3, 0.15 * len(rows)):
            R, t = s.rig.R.copy(), s.rig.t.copy()
            R[v], t[v] = best[:2]
            s.rig, s.placed = replace(s.rig, R=R, t=t), s.placed.copy()
            s.placed[v] = True
            return v
        failed[v] = int(s.placed.sum())
    return None


def _grow(s: _State, tracks: Observations, relative, o: _Options) -> Observations:
    """Place view after view, adjusting as it grows; the observations that hold at the end."""
    failed: dict[int, int] = {}
    active = _retriangulate(s, tracks, 2 * o.threshold)
    _adjust(s, active, o, 10, limit=1500)
    active = _retriangulate(s, tracks, 2 * o.threshold)
    while (v := _place_next(s, tracks, relative, o, failed)) is not None:
        active = _retriangulate(s, tracks, 2 * o.threshold)
        _adjust(s, active, o, 6, limit=1500)
        active = _retriangulate(s, tracks, 1.5 * o.threshold)
        if (active.view == v).sum() < MIN_SUPPORT:
            s.placed[v] = False
            failed[v] = int(s.placed.sum())
            active = _retriangulate(s, tracks, 1.5 * o.threshold)
    for width, rounds in ((1.5, 15), (1.0, 15)):
        active = _retriangulate(s, tracks, width * o.threshold)
        _adjust(s, active, o, rounds)
    return _retriangulate(s, tracks, o.threshold)


def _cost(s: _State, tracks: Observations, active: Observations, threshold: float) -> float:
    """Mean over all observations of log1p((error / threshold)^2) clipped at 4 thresholds; those left out cost the limit."""
    error = np.minimum(reprojection_errors(s.rig, np.nan_to_num(s.points), active), 4 * threshold)
    limit = np.log1p(16)
    return float((np.log1p((error / threshold) ** 2).sum() + limit * (len(tracks.view) - len(active.view))) / max(len(tracks.view), 1))


def _starts(relative, given: np.ndarray, tracks: Observations) -> list[tuple[int, int]]:
    """Pairs to begin with, the surest first, no two through the same view."""
    score = {k: p.confidence * np.sqrt(p.support) for k, p in relative.items() if k[0] < k[1]}
    chosen: list[tuple[int, int]] = []
    for k in sorted(score, key=lambda k: -score[k]):
        if not any(set(k) & set(c) for c in chosen):
            chosen.append(k)
    return chosen[:3]


def _finish(s: _State, tracks: Observations, active: Observations, o: _Options) -> Bundle:
    """The answer: world = first placed view unless poses were given, unit median depth then; confidence by support and share."""
    views = len(s.placed)
    T = np.tile(np.eye(4), (views, 1, 1))
    T[:, :3, :3], T[:, :3, 3] = s.rig.R, s.rig.t
    cam_to_world = np.linalg.inv(T)
    support = np.bincount(active.view, minlength=views)
    active, old = active.compact()
    points = s.points[old]
    if not o.pose_given.any() and s.placed.any():
        first = np.flatnonzero(s.placed)[0]
        scale = 1.0
        baseline = np.linalg.norm(cam_to_world[s.placed][:, :3, 3] - cam_to_world[first, :3, 3], axis=1).max()
        if baseline > 0:
            scale = 1 / baseline
        points = (points @ T[first, :3, :3].T + T[first, :3, 3]) * scale
        cam_to_world = T[first] @ cam_to_world
        cam_to_world[:, :3, 3] *= scale
        cam_to_world[first] = np.eye(4)
    cam_to_world[~s.placed] = np.nan
    K = np.tile(np.eye(3), (views, 1, 1))
    K[:, 0, 0], K[:, 1, 1] = s.rig.focal_now.T
    K[:, :2, 2] = s.rig.principal
    error = reprojection_errors(s.rig, s.points, replace(active, point=old[active.point], count=len(s.points))) if len(old) else np.zeros(0)
    mean = np.bincount(active.point, error, len(old)) / np.maximum(np.bincount(active.point, minlength=len(old)), 1)
    near = tracks.take(s.placed[tracks.view])
    share = support / np.maximum(np.bincount(near.view, minlength=views), 1)
    confidence = np.where(s.placed, np.sqrt(share) * support / (support + 40.0), 0.0)
    confidence = np.where(o.pose_given, 1.0, confidence)
    return Bundle(K=K, cam_to_world=cam_to_world, placed=s.placed, confidence=confidence, points=points, view=active.view, point=active.point,
                  xy=active.xy, error=mean, cost=_cost(s, tracks, replace(active, point=old[active.point], count=len(s.points)), o.threshold))


def solve_views(matches: Mapping[tuple[int, int], Matches], principal: Sequence | np.ndarray, focal_prior: Sequence[float] | np.ndarray, *,
                relative: Mapping[tuple[int, int], RelativePose | None] | None = None, K: np.ndarray | None = None,
                cam_to_world: np.ndarray | None = None, sigma: float = 0.35, threshold_px: float = 1.0, shared_focal: bool = True) -> Bundle:
    """Cameras and tracks of V = len(focal_prior) views from the matches of pairs (i, j), i != j, in pixels of the views.

    principal [V, 2] and focal_prior [V] in pixels; `relative` saves solving pairs again; K [V, 3, 3] (a NaN matrix: unknown) and
    cam_to_world [V, 4, 4] (likewise) are kept exactly; poses that are given fix the world and its scale. Otherwise the longest
    baseline from the first view is 1. Raises ValueError for pairs outside the views.
    """
    views = len(focal_prior)
    if any(not (0 <= i < views and 0 <= j < views and i != j) for i, j in matches):
        raise ValueError(f"pairs must be of two different views below {views}, got {sorted(matches)}")
    centre, priors = np.array(principal, float).reshape(views, 2), np.array(focal_prior, float)
    focal = np.stack([priors, priors], 1)
    focal_given = np.zeros(views, bool) if K is None else np.asarray(np.isfinite(K).all((1, 2)))
    pose_given = np.zeros(views, bool) if cam_to_world is None else np.asarray(np.isfinite(cam_to_world).all((1, 2)))
    if K is not None:
        focal[focal_given] = K[focal_given][:, [0, 1], [0, 1]]
        centre[focal_given] = K[focal_given][:, :2, 2]
        priors = np.where(focal_given, focal.mean(1), priors)
    o = _Options(threshold=threshold_px, sigma=sigma, shared=shared_focal, pose_given=pose_given, focal_given=focal_given)
    both = solve_pairs(matches, centre, priors, o, relative)
    agreed = priors if focal_given.all() or not both else np.where(focal_given, priors, common_focal(both, priors, shared=shared_focal, sigma=sigma))
    rig = Rig(R=np.tile(np.eye(3), (views, 1, 1)), t=np.zeros((views, 3)), focal=focal, principal=centre, log_scale=np.log(agreed / priors))
    if len(both) > 2:  # the pairs again with the focal that all agree on
        both = _with_focal(matches, both, rig, o)
    both.update({(j, i): p.inverse() for (i, j), p in list(both.items())})
    inliers = {k: matches[k].take(p.inliers) if p.confidence > 0.02 else matches[k].take(np.zeros(0, int)) for k, p in both.items() if k in matches}
    tracks = build_tracks(inliers, merge_px=threshold_px)
    if pose_given.sum() >= 2 or (pose_given.any() and not both):
        T = np.linalg.inv(np.where(pose_given[:, None, None], cam_to_world if cam_to_world is not None else 0, np.eye(4)))
        s = _State(replace(rig, R=T[:, :3, :3], t=T[:, :3, 3]), pose_given.copy(), np.full((tracks.count, 3), np.nan))
        return _finish(s, tracks, _grow(s, tracks, both, o), o)
    best = None
    for i, j in _starts(both, pose_given, tracks):
        R, t = rig.R.copy(), rig.t.copy()
        R[j], t[j] = both[(i, j)].R, both[(i, j)].t
        s = _State(replace(rig, R=R, t=t), np.isin(np.arange(views), (i, j)), np.full((tracks.count, 3), np.nan))
        bundle = _finish(s, tracks, _grow(s, tracks, both, o), o)
        if len(bundle.points) >= 8 and (best is None or (bundle.placed.sum(), -bundle.cost) > (best.placed.sum(), -best.cost)):
            best = bundle
        if best is not None and best.placed.all() and best.cost < 1.0:
            break
    return best or _finish(_State(rig, pose_given.copy(), np.full((tracks.count, 3), np.nan)), tracks, tracks.take(np.zeros(0, int)), o)


def solve_pairs(matches, principal, priors, o: _Options, relative=None) -> dict[tuple[int, int], RelativePose]:
    """The relative pose of every pair that has one."""

    def solve(pair):
        i, j = pair
        if relative is not None and pair in relative:
            return relative[pair]
        if len(matches[pair]) < MIN_SUPPORT:
            return None
        both, either = bool(o.focal_given[i] and o.focal_given[j]), bool(o.focal_given[i] or o.focal_given[j])
        return solve_pair(matches[pair], principal[i], principal[j], priors[i], priors[j], sigma=o.sigma, threshold_px=o.threshold,
                          focal_known=both, shared_focal=o.shared and not either)

    with ThreadPoolExecutor(WORKERS) as pool:
        found = zip(matches, pool.map(solve, matches), strict=True)
        return {pair: p for pair, p in found if p is not None and p.support >= 8}


def _with_focal(matches, relative, rig: Rig, o: _Options) -> dict[tuple[int, int], RelativePose]:
    """Each pair solved again with the focals fixed."""
    f = rig.focal_now.mean(1)

    def solve(pair):
        i, j = pair
        return solve_pair(matches[pair], rig.principal[i], rig.principal[j], f[i], f[j], sigma=o.sigma, threshold_px=o.threshold, focal_known=True)

    with ThreadPoolExecutor(WORKERS) as pool:
        found = zip(relative, pool.map(solve, relative), strict=True)
        return {pair: p or relative[pair] for pair, p in found}
