"""Contains the placing of one view on points that are known: PnP (PoseLib), and its neighbours' relative poses at the scale the points ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recon.cameras.pose import RelativePose
from recon.cores import in_threads

ITERATIONS = 1000
LOSSES = ((8.0, 5), (4.0, 5), (2.0, 10))  # width of the robust loss in thresholds, rounds: a pose begins where the one before ended
LEAST_INLIERS, LEAST_SHARE = 8, 0.15  # of the points seen
LOOSE = 16.0  # thresholds within which a candidate's points tell how good it is before it is refined
FIRST, CLEAR = 2, 0.5  # candidates that are refined at first; share of inliers from which the others could bring nothing


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A view to be placed."""

    xyz: np.ndarray  # [n, 3] world
    xy: np.ndarray  # [n, 2] pixels
    focal: np.ndarray  # [2]
    principal: np.ndarray  # [2]
    threshold: float  # expected error, pixels
    neighbours: list[tuple[RelativePose, np.ndarray, np.ndarray]]  # relative pose from a placed view, and that view's R and t

    def camera(self) -> dict:
        """The lens as PoseLib takes it."""
        return {"model": "PINHOLE", "width": 1, "height": 1, "params": [*self.focal, *self.principal]}

    def errors(self, R: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Reprojection errors [n] in pixels, infinite behind the camera."""
        p = self.xyz @ R.T + t
        e = np.linalg.norm(self.focal * p[:, :2] / np.maximum(p[:, 2:], 1e-9) + self.principal - self.xy, axis=1)
        return np.where(p[:, 2] > 1e-9, e, np.inf)


def place_views(tasks: Sequence[Placement]) -> list[tuple[np.ndarray, np.ndarray] | None]:
    """R [3, 3] and t [3], world to camera, of each view, that most points agree with; None when too few do.

    Of a view's candidates the likeliest are refined, and the others only where half of the points agree with none of these.
    """
    starts = in_threads(_hypotheses, tasks)
    best: list[tuple[np.ndarray, np.ndarray] | None] = [None] * len(tasks)
    highest = [-np.inf] * len(tasks)

    def refine(wanted: list) -> None:
        for (k, _), (R, t, score) in zip(wanted, in_threads(lambda want: _polished(tasks[want[0]], want[1]), wanted), strict=True):
            if score > highest[k]:
                best[k], highest[k] = (R, t), score

    refine([(k, start) for k, some in enumerate(starts) for start in some[:FIRST]])
    refine([(k, start) for k, some in enumerate(starts) if highest[k] < CLEAR * len(tasks[k].xyz) for start in some[FIRST:]])
    return best


def _polished(task: Placement, start) -> tuple[np.ndarray, np.ndarray, float]:
    """A candidate refined on all points, and how good it is; -infinity where too few agree."""
    R, t = _polish(task, start)
    error = task.errors(R, t) / task.threshold
    inliers = int((error < 4).sum())
    enough = inliers >= max(LEAST_INLIERS, LEAST_SHARE * len(error))
    return R, t, inliers - np.log1p(np.minimum(error, 4.0) ** 2).mean() if enough else -np.inf


def _hypotheses(task: Placement) -> list:
    """Candidate poses, the likeliest first: PnP, and each neighbour's relative pose at three scales."""
    import poselib

    search = {"max_reproj_error": 4 * task.threshold, "max_iterations": ITERATIONS, "min_iterations": ITERATIONS // 10}
    pose, _ = poselib.estimate_absolute_pose(task.xy, task.xyz, task.camera(), search, {})
    out = [pose] if np.isfinite(np.array(pose.R)).all() and np.isfinite(np.array(pose.t)).all() else []
    n = (task.xy - task.principal) / task.focal
    for p, R_q, t_q in task.neighbours:
        R = p.R @ R_q
        base = task.xyz @ R.T + p.R @ t_q  # plus scale * p.t
        lead = p.t[:2] - n * p.t[2]
        scale = -(lead * (base[:, :2] - n * base[:, 2:])).sum(1) / np.maximum((lead**2).sum(1), 1e-12)
        scale = scale[scale > 0]
        for k in np.quantile(scale, (0.3, 0.5, 0.7)) if len(scale) >= 3 else ():
            guess = poselib.CameraPose()
            guess.R, guess.t = R, p.R @ t_q + k * p.t
            out.append(guess)
    misfit = lambda pose: np.log1p(np.minimum(task.errors(pose.R, pose.t) / task.threshold, LOOSE) ** 2).mean()
    return sorted(out, key=misfit)


def _polish(task: Placement, pose) -> tuple[np.ndarray, np.ndarray]:
    """The pose refined on all the points under three shrinking robust losses."""
    import poselib

    for width, rounds in LOSSES:
        loss = {"loss_type": "CAUCHY", "loss_scale": width * task.threshold, "max_iterations": rounds}
        pose, _ = poselib.refine_absolute_pose(task.xy, task.xyz, pose, task.camera(), loss)
    return np.array(pose.R), np.array(pose.t)
