"""Pose and focal length of two views from point matches and a focal prior.

The route: essential matrix by MAGSAC at several focal lengths around the prior, then a refinement of rotation, translation direction and
log focal on the Sampson error under a Cauchy loss, the focal held by a log-normal prior. Camera axes are OpenCV's; x_b ~ K_b (R x_a + t).
Nothing here is differentiable.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

CLIP = float(np.log1p(16.0))  # cost of a match that is no match: four thresholds away and beyond
PRIOR_WEIGHT = 0.006  # weight of the focal prior per match: matches are not independent, so the prior grows with their number
STARTS = (1.0, 0.75, 1.35, 0.55, 1.8)  # focal starts, as factors of the prior
REFINE_LIMIT = 2000
COARSE_LIMIT = 600  # matches in the refinement of each start
RANSAC_LIMIT = 1000
Pose = tuple[np.ndarray, np.ndarray, np.ndarray]  # R, t, log focals


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Matched points of two views, in pixels; the centre of pixel (0, 0) is (0.5, 0.5)."""

    xa: np.ndarray  # [n, 2]
    xb: np.ndarray  # [n, 2]
    confidence: np.ndarray  # [n] 0..1
    source: str = ""
    weight: np.ndarray | None = None  # [n] of each in the costs, from how exact it is; None: all alike

    def __len__(self) -> int:
        return len(self.xa)

    def take(self, index: np.ndarray) -> Matches:
        """The matches at `index` (integers or a mask)."""
        return replace(self, xa=self.xa[index], xb=self.xb[index], confidence=self.confidence[index], weight=self.weights()[index])

    def weights(self) -> np.ndarray:
        """`weight`, or ones."""
        return np.ones(len(self.xa)) if self.weight is None else self.weight

    def best(self, count: int) -> Matches:
        """The `count` most confident matches, in their old order; all of them when there are fewer."""
        if len(self) <= count:
            return self
        jitter = np.random.default_rng(0).random(len(self)) * 1e-6  # equal confidences: spread, not the first rows of the image
        return self.take(np.sort(np.argsort(-(self.confidence + jitter), kind="stable")[:count]))

    def swapped(self) -> Matches:
        """The same matches from b to a."""
        return replace(self, xa=self.xb, xb=self.xa)


@dataclass(frozen=True, kw_only=True)
class RelativePose:
    """Second camera from the first: x_b ~ K_b (R x_a + t)."""

    R: np.ndarray  # [3, 3] R_b_a
    t: np.ndarray  # [3] unit length
    focal_a: float
    focal_b: float
    inliers: np.ndarray  # [n] bool, within twice the threshold and in front of both cameras
    cost: float  # mean over matches of log1p(r^2), clipped, plus the focal prior; lower is better
    support: int  # number of inliers
    confidence: float  # 0..1, from the share and number of inliers and the parallax
    parallax_px: float = 0.0  # median distance of the inliers from the best pure rotation
    focal_sigma: float = np.inf  # spread of log focal that the matches alone leave; comparable between pairs, not calibrated

    def inverse(self) -> RelativePose:
        """The first camera from the second."""
        return replace(self, R=self.R.T, t=-self.R.T @ self.t, focal_a=self.focal_b, focal_b=self.focal_a)


def concatenate(parts: Sequence[Matches]) -> Matches:
    """All the matches of several kinds as one."""
    parts = [p for p in parts if len(p)] or list(parts[:1])
    return Matches(xa=np.concatenate([p.xa for p in parts]), xb=np.concatenate([p.xb for p in parts]),
                   confidence=np.concatenate([p.confidence for p in parts]), source="+".join(p.source for p in parts),
                   weight=np.concatenate([p.weights() for p in parts]))


def skew(t: np.ndarray) -> np.ndarray:  # [..., 3] -> [..., 3, 3]
    """The matrix of the cross product with t."""
    x, y, z = np.moveaxis(np.asarray(t, float), -1, 0)
    o = np.zeros_like(x)
    return np.stack([o, -z, y, z, o, -x, -y, x, o], -1).reshape(*x.shape, 3, 3)


SPINS = skew(np.eye(3))  # generators of rotation


def rotation(vectors: np.ndarray) -> np.ndarray:  # [..., 3] -> [..., 3, 3]
    """Rotation matrices of rotation vectors (Rodrigues)."""
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    W = skew(vectors)
    return np.eye(3) + np.sinc(angle / np.pi) * W + 0.5 * np.sinc(angle / 2 / np.pi) ** 2 * (W @ W)


def homogeneous(x: np.ndarray) -> np.ndarray:  # [n, 2] -> [n, 3]
    """Points with a one appended."""
    return np.concatenate([x, np.ones((len(x), 1))], 1)


def fundamental(R: np.ndarray, t: np.ndarray, focal_a: float, focal_b: float) -> np.ndarray:
    """F between pixels taken relative to the principal points: x_b' F x_a = 0."""
    return np.diag([1 / focal_b, 1 / focal_b, 1]) @ skew(t) @ R @ np.diag([1 / focal_a, 1 / focal_a, 1])


def sampson(F: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:  # [3, 3], [n, 3], [n, 3] -> [n]
    """Signed first-order distance to the epipolar geometry, in pixels (Hartley and Zisserman, eq. 11.9)."""
    l, m = a @ F.T, b @ F
    return (b * l).sum(1) / np.sqrt(np.maximum((l[:, :2] ** 2).sum(1) + (m[:, :2] ** 2).sum(1), 1e-30))


def _residual_jacobian(R, t, N, log_focal, a, b, columns):
    """Sampson residual [n] and its derivative [n, P] by rotation (3, left), translation tangent (2) and log focals."""
    left, right = np.diag(np.exp([-log_focal[1]] * 2 + [0.0])), np.diag(np.exp([-log_focal[0]] * 2 + [0.0]))
    T, flat, back = skew(t), np.diag([1.0, 1.0, 0.0]), R @ right
    F = left @ T @ back
    by_focal = [-F @ flat, -flat @ F]
    dF = [left @ T @ SPINS @ back, left @ skew(N.T) @ back] + [np.sum([by_focal[k] for k in c], 0)[None] for c in columns]
    dF = np.concatenate(dF)  # [P, 3, 3]
    l, m = a @ F.T, b @ F
    size = np.sqrt(np.maximum((l[:, :2] ** 2).sum(1) + (m[:, :2] ** 2).sum(1), 1e-30))
    r = (b * l).sum(1) / size
    dl, dm = a @ dF.transpose(0, 2, 1), b @ dF  # [P, n, 3]
    d_size = ((dl[..., :2] * l[:, :2]).sum(-1) + (dm[..., :2] * m[:, :2]).sum(-1)) / size
    return r, (((dl * b).sum(-1) - r * d_size) / size).T


def _step(R, t, N, log_focal, x, columns):
    t = t + N @ x[3:5]
    log_focal = log_focal.copy()
    for value, c in zip(x[5:], columns, strict=True):
        log_focal[list(c)] += value
    return rotation(x[:3]) @ R, t / np.linalg.norm(t), log_focal


def _refine(R, t, log_focal, log_prior, a, b, share, sigma, threshold, columns) -> Pose:
    """Levenberg-Marquardt on sum share log1p((r / threshold)^2) + the focal prior, over three shrinking sets of inliers; share [n]."""
    weight = np.sqrt(share.sum() * PRIOR_WEIGHT) / sigma
    for width, rounds in ((4.0, 8), (3.0, 8), (2.0, 12)):
        near = np.abs(sampson(fundamental(R, t, *np.exp(log_focal)), a, b)) < width * threshold
        if near.sum() < 8:
            return R, t, log_focal
        an, bn, sn, damping, old = a[near], b[near], share[near], 1e-4, None
        for _ in range(rounds):
            N = np.linalg.svd(t[None])[2][1:].T
            r, J = _residual_jacobian(R, t, N, log_focal, an, bn, columns)
            r, J = r / threshold, J / threshold
            w = sn / (1 + r * r)
            H, g = (J * w[:, None]).T @ J, (J * w[:, None]).T @ r
            old = (sn * np.log1p(r * r)).sum() + sum((weight * (log_focal - log_prior)[c[0]]) ** 2 for c in columns)
            for k, c in enumerate(columns):
                H[5 + k, 5 + k] += weight**2
                g[5 + k] += weight**2 * (log_focal - log_prior)[c[0]]
            for _ in range(5):
                x = -np.linalg.solve(H + damping * np.diag(H.diagonal() + 1e-9), g)
                trial = _step(R, t, N, log_focal, x, columns)
                q = sampson(fundamental(trial[0], trial[1], *np.exp(trial[2])), an, bn) / threshold
                new = (sn * np.log1p(q * q)).sum() + sum((weight * (trial[2] - log_prior)[c[0]]) ** 2 for c in columns)
                if new < old:
                    R, t, log_focal = trial
                    damping = max(damping / 10, 1e-9)
                    break
                damping *= 10
            else:
                break
            if old - new < 1e-6 * old:
                break
    return R, t, log_focal


def _focal_sigma(R, t, log_focal, a, b, threshold) -> float:
    """Standard deviation of a common log focal given matches with independent errors of one threshold, pose free."""
    if len(a) < 8:
        return np.inf
    J = _residual_jacobian(R, t, np.linalg.svd(t[None])[2][1:].T, log_focal, a, b, [(0, 1)])[1] / threshold
    H = J.T @ J
    rest = H[5, 5] - H[5, :5] @ np.linalg.pinv(H[:5, :5]) @ H[:5, 5]
    return float(1 / np.sqrt(max(rest, 1e-12)))


def _in_front(R, t, rays_a, rays_b):
    """Which matches meet in front of both cameras [n]."""
    p = rays_a @ R.T
    cross_pb, cross_tb, cross_tp = np.cross(p, rays_b), np.cross(t, rays_b), np.cross(t, p)
    # z_a p + t = z_b rays_b, solved along the common normal
    return ((cross_pb * cross_tb).sum(1) < 0) & ((cross_pb * cross_tp).sum(1) < 0)


def _cheirality(R, t, rays_a, rays_b):
    """Of the four poses that share an essential matrix the one with the most points in front."""
    twist = (2 * np.outer(t, t) - np.eye(3)) @ R
    poses = [(R, t), (R, -t), (twist, t), (twist, -t)]
    return max(poses, key=lambda p: _in_front(*p, rays_a, rays_b).sum())


def _behind(R, t, log_focal, a, b, threshold):
    """Which matches [n] meet behind a camera, and not only because their parallax drowns in the noise."""
    fa, fb = np.exp(log_focal)
    rays_a, rays_b = a / [fa, fa, 1], b / [fb, fb, 1]
    p = rays_a @ R.T
    at_infinity = fb * p[:, :2] / np.maximum(p[:, 2:], 1e-6)
    return ~_in_front(R, t, rays_a, rays_b) & (np.linalg.norm(at_infinity - b[:, :2], axis=1) > 3 * threshold)


def _match_cost(R, t, log_focal, a, b, share, threshold) -> float:
    """Mean over the matches, weighted by share [n], of log1p((Sampson / threshold)^2), clipped; a match behind a camera explains nothing.

    Without the latter a scene that is mostly one plane is taken for its mirror image, which fits the lines as well.
    """
    cost = np.log1p((sampson(fundamental(R, t, *np.exp(log_focal)), a, b) / threshold) ** 2).clip(max=CLIP)
    near = cost < CLIP
    an, bn = a[near], b[near]
    fa, fb = np.exp(log_focal)
    R, t = _cheirality(R, t, an / [fa, fa, 1], bn / [fb, fb, 1])
    cost[near] = np.where(_behind(R, t, log_focal, an, bn, threshold), CLIP, cost[near])
    return float((share * cost).sum() / share.sum())


def _planar_starts(xa, xb, log_focal, threshold):
    """Candidate poses from the homography of the largest plane: its two decompositions, of which the essential matrix shows but one."""
    import cv2

    fa, fb = np.exp(log_focal)
    try:
        H, _ = cv2.findHomography(xa / fa, xb / fb, cv2.USAC_MAGSAC, 4 * threshold / np.sqrt(fa * fb), maxIters=1000)
        if H is None:
            return []
        _, turns, shifts, _ = cv2.decomposeHomographyMat(H, np.eye(3))
    except cv2.error:
        return []
    poses = [(R, t[:, 0]) for R, t in zip(turns[::2], shifts[::2], strict=True)]  # the others differ by the sign of t
    return [(R, t / np.linalg.norm(t)) for R, t in poses if np.isfinite(R).all() and np.linalg.norm(t) > 1e-6]


def _starts(xa, xb, log_focal, threshold):
    """Candidate poses at one pair of focals: MAGSAC's essential matrix, relative to the principal points."""
    import cv2

    fa, fb = np.exp(log_focal)
    A, B = np.ascontiguousarray(xa / fa), np.ascontiguousarray(xb / fb)
    eye, scaled = np.eye(3), threshold / np.sqrt(fa * fb)
    try:
        E, mask = cv2.findEssentialMat(A, B, eye, method=cv2.USAC_MAGSAC, prob=0.999, threshold=scaled, maxIters=3000)
        if E is None or E.shape != (3, 3):
            return []
        _, R, t, _ = cv2.recoverPose(E, A, B, eye, mask=mask.copy())
    except cv2.error:
        return []
    return [(R, t[:, 0])]


def _judge(R, t, log_focal, log_prior, matches, a, b, sigma, threshold) -> RelativePose:
    """The finished record: inliers, cost, parallax and confidence on all the matches."""
    fa, fb = np.exp(log_focal)
    rays_a, rays_b = a / [fa, fa, 1], b / [fb, fb, 1]
    r = np.abs(sampson(fundamental(R, t, fa, fb), a, b)) / threshold
    near = r < 2
    if near.sum() >= 5:
        R, t = _cheirality(R, t, rays_a[near], rays_b[near])
    # pure rotation that explains the inliers best (Kabsch on the rays, twice, the second time on the better half)
    unit_a, unit_b = (q / np.linalg.norm(q, axis=1, keepdims=True) for q in (rays_a, rays_b))
    kept, distance = near, np.zeros(len(a))
    for _ in range(2):
        U, _, Vt = np.linalg.svd(unit_b[kept].T @ unit_a[kept])
        Q = U @ np.diag([1, 1, np.sign(np.linalg.det(U @ Vt))]) @ Vt
        p = rays_a @ Q.T
        distance = np.linalg.norm(np.where(p[:, 2:] > 1e-6, fb * (p[:, :2] / np.maximum(p[:, 2:], 1e-6)) - b[:, :2], 1e4), axis=1)
        kept = near & (distance <= np.median(distance[near])) if near.any() else near
    # parallax too small to tell front from back must not cost a match its inlier flag
    inliers = near & (_in_front(R, t, rays_a, rays_b) | (distance < 3 * threshold))
    count = int(inliers.sum())
    parallax = float(np.median(distance[inliers])) if count else 0.0
    ratio = count / max(len(a), 1)
    sharp = float((r[inliers] ** 2 < 1).mean()) if count else 0.0
    chance = 0.15  # share of random matches within two thresholds of some epipolar line, generously
    confidence = np.clip((ratio - chance) / 0.5, 0, 1) ** 0.5 * count / (count + 40.0) * parallax**2 / (parallax**2 + (4 * threshold) ** 2) * sharp
    cost = _match_cost(R, t, log_focal, a, b, matches.weights(), threshold) + PRIOR_WEIGHT / 2 * (((log_focal - log_prior) / sigma) ** 2).mean()
    return RelativePose(R=R, t=t, focal_a=float(fa), focal_b=float(fb), inliers=inliers, cost=float(cost), support=count,
                        confidence=float(confidence), parallax_px=parallax,
                        focal_sigma=_focal_sigma(R, t, log_focal, a[inliers], b[inliers], threshold))


def _focal_freedom(focal_prior_a, focal_prior_b, known: bool, shared: bool) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Log of the prior focals [2], one mean of both where they are one unknown, and which of them each free column moves."""
    log_prior = np.log(np.array([focal_prior_a, focal_prior_b], float))
    if known:
        return log_prior, []
    return (np.full(2, log_prior.mean()), [(0, 1)]) if shared else (log_prior, [(0,), (1,)])


def solve_pair(matches: Matches, principal_a, principal_b, focal_prior_a: float, focal_prior_b: float, *, sigma: float = 0.35,
               threshold_px: float = 1.0, focal_known: bool = False, shared_focal: bool = True) -> RelativePose | None:
    """Rotation, translation direction and focal lengths that explain the matches best; None where no essential matrix is found.

    principal_a, principal_b [2] and the focals are in pixels of the matches; `sigma` is the width of the prior in log focal;
    `threshold_px` is the expected error of a match. A shared focal starts and is held at the geometric mean of both priors.
    Raises ValueError for a focal, sigma or threshold that is not positive.
    """
    for name, value in (("focal_prior_a", focal_prior_a), ("focal_prior_b", focal_prior_b), ("sigma", sigma), ("threshold_px", threshold_px)):
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
    if len(matches) < 8:
        return None
    log_prior, columns = _focal_freedom(focal_prior_a, focal_prior_b, focal_known, shared_focal)
    few, fewer = matches.best(REFINE_LIMIT), matches.best(RANSAC_LIMIT)
    a, b = homogeneous(few.xa - principal_a), homogeneous(few.xb - principal_b)
    xa, xb = fewer.xa - principal_a, fewer.xb - principal_b
    some = np.random.default_rng(0).permutation(len(few))[:COARSE_LIMIT]
    share = few.weights()

    def cost(R, t, lf):
        return _match_cost(R, t, lf, a, b, share, threshold_px) + PRIOR_WEIGHT / 2 * (((lf - log_prior) / sigma) ** 2).mean()

    def fit(R, t, log_focal) -> tuple[float, Pose]:
        pose = _refine(R, t, log_focal, log_prior, a[some], b[some], share[some], sigma, threshold_px, columns)
        return cost(*pose), pose

    found = [fit(R, t, log_prior) for R, t in _planar_starts(xa, xb, log_prior, threshold_px)]
    searched: list[float] = []  # costs by way of the essential matrix
    for factor in (1.0,) if focal_known else STARTS:
        log_focal = log_prior + np.log(factor)
        fitted = [fit(R, t, log_focal) for R, t in _starts(xa, xb, log_focal, threshold_px)]
        found += fitted
        searched += [c for c, _ in fitted]
        if len(searched) == 3 and max(searched) < 1.02 * min(searched) and searched[0] < 0.5 * CLIP:
            break  # three starts, one answer
    if not found:
        return None
    best = min(found, key=lambda f: f[0])[1]
    if len(few) > COARSE_LIMIT:
        finer = _refine(*best, log_prior, a, b, share, sigma, threshold_px, columns)
        best = min(best, finer, key=lambda p: cost(*p))
    a, b = homogeneous(matches.xa - principal_a), homogeneous(matches.xb - principal_b)
    return _judge(*best, log_prior, matches, a, b, sigma, threshold_px)


def polish(start: RelativePose, matches: Matches, principal_a, principal_b, focal_prior_a: float, focal_prior_b: float, *, sigma: float = 0.35,
           threshold_px: float = 1.0, focal_known: bool = False, shared_focal: bool = True) -> RelativePose:
    """The pose refined from `start` alone, without a search; with `focal_known` at exactly the prior's focals. Arguments as in `solve_pair`."""
    log_prior, columns = _focal_freedom(focal_prior_a, focal_prior_b, focal_known, shared_focal)
    log_focal = log_prior if focal_known else np.log([start.focal_a, start.focal_b])
    a, b = homogeneous(matches.xa - principal_a), homogeneous(matches.xb - principal_b)
    some = np.random.default_rng(0).permutation(len(a))[:REFINE_LIMIT]
    pose = _refine(start.R, start.t, log_focal, log_prior, a[some], b[some], matches.weights()[some], sigma, threshold_px, columns)
    return _judge(*pose, log_prior, matches, a, b, sigma, threshold_px)


def choose(kinds: Sequence[Matches], principal_a, principal_b, focal_prior_a: float, focal_prior_b: float, *, sigma: float = 0.35,
           threshold_px: float = 1.0, focal_known: bool = False, shared_focal: bool = True) -> RelativePose | None:
    """The pose that explains the matches of every kind together best, among one candidate from each kind and one from all.

    `inliers` of the answer is over `concatenate(kinds)`. Arguments as in `solve_pair`.
    """
    kinds = [k for k in kinds if len(k)]
    if not kinds:
        return None
    options: dict[str, Any] = {"sigma": sigma, "threshold_px": threshold_px, "focal_known": focal_known, "shared_focal": shared_focal}
    priors = (principal_a, principal_b, focal_prior_a, focal_prior_b)
    if len(kinds) == 1:
        return solve_pair(kinds[0], *priors, **options)
    every = concatenate(kinds)
    a, b = homogeneous(every.xa - principal_a), homogeneous(every.xb - principal_b)
    log_prior, _ = _focal_freedom(focal_prior_a, focal_prior_b, focal_known, shared_focal)
    judged: list[RelativePose] = []
    for kind in kinds:
        p = solve_pair(kind, *priors, **options)
        if p is not None:
            judged.append(_judge(p.R, p.t, np.log([p.focal_a, p.focal_b]), log_prior, every, a, b, sigma, threshold_px))
            judged.append(polish(p, every, *priors, **options))
    return min(judged, key=lambda p: p.cost, default=None)
