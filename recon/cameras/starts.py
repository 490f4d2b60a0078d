"""Contains the first guesses of a pair's pose, by robust estimation at given focal lengths (PoseLib) and from the largest plane."""

from __future__ import annotations

import math

import numpy as np

from recon.cameras.pose import Start

MATCH_LIMIT = 1000  # the most confident are searched
ITERATIONS = 1000


def essential_starts(xa: np.ndarray, xb: np.ndarray, focal_a: float, focal_b: float, threshold: float, seed: int) -> list[Start]:
    """The pose of the best essential matrix of points [n, 2] relative to the principal points (LO-RANSAC with the five-point solver)."""
    import poselib

    lens = lambda focal: {"model": "SIMPLE_PINHOLE", "width": 1, "height": 1, "params": [focal, 0.0, 0.0]}
    search = {"max_epipolar_error": 2 * threshold, "max_iterations": ITERATIONS, "min_iterations": ITERATIONS // 10, "seed": seed}
    pose, _ = poselib.estimate_relative_pose(xa, xb, lens(focal_a), lens(focal_b), search, {"loss_scale": threshold})
    return _checked([(np.array(pose.R), np.array(pose.t))], focal_a, focal_b)


def planar_starts(xa: np.ndarray, xb: np.ndarray, focal_a: float, focal_b: float, threshold: float, seed: int) -> list[Start]:
    """Poses from the homography of the largest plane: its two decompositions, of which the essential matrix shows but one."""
    import cv2
    import poselib

    search = {"max_reproj_error": 4 * threshold / math.sqrt(focal_a * focal_b), "max_iterations": ITERATIONS, "min_iterations": 100, "seed": seed}
    H, _ = poselib.estimate_homography(xa / focal_a, xb / focal_b, search)
    if not np.isfinite(H).all() or abs(np.linalg.det(H)) < 1e-12:
        return []
    _, turns, shifts, _ = cv2.decomposeHomographyMat(H, np.eye(3))
    return _checked([(R, t[:, 0]) for R, t in zip(turns[::2], shifts[::2], strict=True)], focal_a, focal_b)  # the others differ by the sign of t


def _checked(poses: list[tuple[np.ndarray, np.ndarray]], focal_a: float, focal_b: float) -> list[Start]:
    good = [(R, t) for R, t in poses if np.isfinite(R).all() and np.isfinite(t).all() and np.linalg.norm(t) > 1e-6]
    return [(R, t / np.linalg.norm(t), (focal_a, focal_b)) for R, t in good]
