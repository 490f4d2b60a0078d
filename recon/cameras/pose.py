"""Contains the records of pairs: matches of two views, and the relative pose that explains them. Camera axes are OpenCV's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

Start = tuple[np.ndarray, np.ndarray, tuple[float, float]]  # a guess: R [3, 3], t [3] of unit length, both focals in pixels


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
        return self.take(np.sort(np.argpartition(-(self.confidence + jitter), count)[:count]))

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

    @property
    def start(self) -> Start:
        """What another solve may begin with."""
        return self.R, self.t, (self.focal_a, self.focal_b)

    def inverse(self) -> RelativePose:
        """The first camera from the second."""
        return replace(self, R=self.R.T, t=-self.R.T @ self.t, focal_a=self.focal_b, focal_b=self.focal_a)


def concatenate(parts: Sequence[Matches]) -> Matches:
    """All the matches of several kinds as one."""
    parts = [p for p in parts if len(p)] or [Matches(xa=np.zeros((0, 2)), xb=np.zeros((0, 2)), confidence=np.zeros(0))]
    return Matches(xa=np.concatenate([p.xa for p in parts]), xb=np.concatenate([p.xb for p in parts]),
                   confidence=np.concatenate([p.confidence for p in parts]), source="+".join(p.source for p in parts),
                   weight=np.concatenate([p.weights() for p in parts]))


def homogeneous(x: np.ndarray) -> np.ndarray:  # [n, 2] -> [n, 3]
    """Points with a one appended."""
    return np.concatenate([x, np.ones((len(x), 1))], 1)
