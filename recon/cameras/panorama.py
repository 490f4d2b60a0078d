"""Contains the cameras of views that turn in one place: rotations and a focal length by which every pair's matches fall on each other.

Without parallax an essential matrix fits any focal length with a translation that is not there; the rotation alone tells the lens (Hartley,
Self-calibration of stationary cameras, IJCV 1997).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recon.cameras.bundle import Bundle
from recon.cameras.pairing import Pair
from recon.cameras.pose import Matches, homogeneous
from recon.cameras.turning import from_rotation, median

FACTORS = np.exp(np.linspace(-0.9, 0.9, 61))  # of the prior focal lengths that are tried
LEAST_MATCHES = 30
TYPICAL_PX, WORST_PX = 2.0, 4.0  # thresholds within which the median match of the typical, of every pair must fall
ROUNDS = 4  # of the fit to the better half
LOOKED_AT, HOPELESS = 6, 4.0  # pairs that a scene is first judged by; so many times off at the best step, no finer step can mend it


@dataclass(frozen=True, kw_only=True)
class Turn:
    """The rotation of one pair."""

    R: np.ndarray  # [3, 3] R_b_a
    off: np.ndarray  # [n] pixels in view b that each match is off


def turn(m: Matches, focal_a: float, focal_b: float, principal_a: np.ndarray, principal_b: np.ndarray) -> Turn:
    """The rotation that explains the better half of the matches best (Kabsch on the rays, re-fitted to those)."""
    a = homogeneous((m.xa - principal_a) / focal_a)
    b = homogeneous((m.xb - principal_b) / focal_b)
    unit_a, unit_b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    kept = np.ones(len(m), bool)
    for _ in range(ROUNDS):
        U, _, Vt = np.linalg.svd(unit_b[kept].T @ unit_a[kept])
        R = U @ np.diag([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))]) @ Vt
        turned = a @ R.T
        front = turned[:, 2] > 1e-6
        seen = focal_b * turned[:, :2] / np.where(front, turned[:, 2], 1.0)[:, None] + principal_b
        off = np.where(front, np.linalg.norm(seen - m.xb, axis=1), np.inf)
        kept = off <= np.median(off)
    return Turn(R=R, off=off)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The matches of P pairs, each filled up to N."""

    pairs: list[Pair]
    a: np.ndarray  # [P, 3, N] pixels from the principal points
    b: np.ndarray  # [P, 3, N]
    real: np.ndarray  # [P, N] bool

    @classmethod
    def of(cls, matches: Mapping[Pair, Matches], principal: np.ndarray) -> Batch:
        """Of the matches of each pair; principal [V, 2]."""
        most = max(map(len, matches.values()))
        a, b, real = np.ones((len(matches), 3, most)), np.ones((len(matches), 3, most)), np.zeros((len(matches), most), bool)
        for k, ((i, j), m) in enumerate(matches.items()):
            a[k, :2, : len(m)], b[k, :2, : len(m)] = (m.xa - principal[i]).T, (m.xb - principal[j]).T
            real[k, : len(m)] = True
        return cls(pairs=list(matches), a=a, b=b, real=real)

    def take(self, index: list[int]) -> Batch:
        """Some of the pairs."""
        return Batch(pairs=[self.pairs[k] for k in index], a=self.a[index], b=self.b[index], real=self.real[index])

    def typical_off(self, focal: np.ndarray) -> np.ndarray:  # [V] -> [P]
        """Pixels that the median match of each pair is off from the rotation that explains its better half best."""
        log_focal = np.log(focal[np.array(self.pairs)])
        return median(from_rotation(self.a, self.b, self.real, log_focal, ROUNDS), self.real)


def panorama(
    matches: Mapping[Pair, Matches], principal: np.ndarray, focal: np.ndarray, known: np.ndarray, threshold_px: float
) -> Bundle | None:
    """Cameras in one place where rotations alone explain the matches of all pairs; None where they do not, or leave views unconnected.

    principal [V, 2] and focal [V] in pixels; known [V]: focal lengths that stay. The bundle has no points: nothing tells a depth.
    """
    pairs = {pair: m for pair, m in matches.items() if len(m) >= LEAST_MATCHES}
    if not pairs:
        return None
    few = Batch.of({pair: m.best(400) for pair, m in pairs.items()}, principal)
    off = lambda factor, some: some.typical_off(np.where(known, focal, focal * factor))
    order = sorted(range(len(few.pairs)), key=lambda k: -len(pairs[few.pairs[k]]))
    largest = few.take(order[:LOOKED_AT])  # nearly every scene has parallax, and these tell it at once
    factors = np.ones(1) if known.all() else FACTORS
    cost = [float(np.median(off(s, largest))) for s in factors]
    if min(cost) > HOPELESS * TYPICAL_PX * threshold_px:
        return None
    best = float(factors[int(np.argmin(cost))])
    if off(best, largest).max() > HOPELESS * WORST_PX * threshold_px:
        return None
    for span in () if known.all() else (0.03, 0.005, 0.001):  # between the steps of the sweep
        near = best * np.exp(np.linspace(-span, span, 13))
        best = float(near[int(np.argmin([np.mean(np.minimum(off(s, few), WORST_PX * threshold_px)) for s in near]))])
    medians = off(best, few)
    if np.median(medians) > TYPICAL_PX * threshold_px or medians.max() > WORST_PX * threshold_px:
        return None
    f = np.where(known, focal, focal * best)
    turns = {(i, j): turn(m, f[i], f[j], principal[i], principal[j]) for (i, j), m in pairs.items()}
    R = _chained(turns, len(focal))
    if R is None:
        return None
    within = {pair: int((t.off < 4 * threshold_px).sum()) for pair, t in turns.items()}
    support = np.array([max(n for pair, n in within.items() if v in pair) for v in range(len(focal))])
    share = np.array([max(within[pair] / len(turns[pair].off) for pair in within if v in pair) for v in range(len(focal))])
    cam_to_world = np.tile(np.eye(4), (len(focal), 1, 1))
    cam_to_world[:, :3, :3] = R.transpose(0, 2, 1)
    K = np.tile(np.eye(3), (len(focal), 1, 1))
    K[:, 0, 0] = K[:, 1, 1] = f
    K[:, :2, 2] = principal
    return Bundle(
        K=K, cam_to_world=cam_to_world, placed=np.ones(len(focal), bool), confidence=np.sqrt(share) * support / (support + 40.0),
        points=np.zeros((0, 3)), view=np.zeros(0, int), point=np.zeros(0, int), xy=np.zeros((0, 2)), error=np.zeros(0),
        cost=float(np.median(medians)),
    )  # fmt: skip


def _chained(turns: Mapping[Pair, Turn], views: int) -> np.ndarray | None:  # -> [V, 3, 3] from view 0
    """Rotations from view 0 along the pairs whose median match is off least; None where some view is not reached."""
    R: list[np.ndarray | None] = [None] * views
    R[0] = np.eye(3)
    order = sorted(turns, key=lambda pair: float(np.median(turns[pair].off)))
    while any(r is None for r in R):
        step = next(((i, j) for i, j in order if (R[i] is None) != (R[j] is None)), None)
        if step is None:
            return None
        i, j = step
        if R[j] is None:
            R[j] = turns[step].R @ R[i]
        else:
            R[i] = turns[step].R.T @ R[j]
    return np.array(R)
