"""Contains what the shape of things says about the lens, where the matches of two views leave it open.

Two cameras that look at one point from the same distance, as on a turntable, fit any focal length (Sturm, "On focal length calibration from two
views", CVPR 2001). But each focal length makes another shape of the matches: too short a lens makes the thing too deep and turns it too little. The
network may mistake the lens and still know the shape. So the focal lengths are swept, the matches triangulated at each, and their points
compared, up to a similarity, with the network's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch

from recon.cameras.bundle import WORKERS
from recon.cameras.pose import Matches, RelativePose, homogeneous, polish
from recon.geometry import umeyama

SHIFTS = np.linspace(-1.6, 1.6, 25)  # of log focal from the prior
PAIR_LIMIT = 8  # the surest pairs are swept
MATCH_LIMIT = 400  # of each
MATCH_WEIGHT = 250.0  # of the mean cost of a pair's matches: they are thousands, but their errors are not independent
SHAPE_WEIGHT = 2.0  # of the log of the residual between the two shapes


@dataclass(frozen=True, kw_only=True)
class SeenPair:
    """A solved pair and where the network sees its matches."""

    matches: Matches
    points_a: np.ndarray  # [n, 3] the network's points in view a's axes, at any scale
    points_b: np.ndarray  # [n, 3] in view b's axes
    principal_a: np.ndarray  # [2]
    principal_b: np.ndarray
    focal_a: float  # the prior
    focal_b: float
    pose: RelativePose  # over `matches`

    def best(self) -> SeenPair:
        """At most MATCH_LIMIT of the inliers, spread evenly."""
        index = np.flatnonzero(self.pose.inliers)
        index = np.sort(np.random.default_rng(0).permutation(index)[:MATCH_LIMIT])
        return replace(self, matches=self.matches.take(index), points_a=self.points_a[index], points_b=self.points_b[index])


def sweep(pair: SeenPair, threshold_px: float) -> list[RelativePose]:
    """The pair's pose at every one of SHIFTS, each refined from its neighbour, from the pair's own focal outwards."""
    own = int(np.abs(SHIFTS - np.log(pair.pose.focal_a / pair.focal_a)).argmin())
    found: dict[int, RelativePose] = {}
    for way in (range(own, len(SHIFTS)), range(own - 1, -1, -1)):
        pose = found.get(own, pair.pose)
        for k in way:
            scale = np.exp(SHIFTS[k])
            pose = found[k] = polish(pose, pair.matches, pair.principal_a, pair.principal_b, pair.focal_a * scale, pair.focal_b * scale,
                                     threshold_px=threshold_px, focal_known=True)  # fmt: skip
    return [found[k] for k in range(len(SHIFTS))]


def triangulate(pair: SeenPair, pose: RelativePose) -> tuple[np.ndarray, np.ndarray]:
    """Points of the matches in the axes of view a and of view b [n, 3], on the rays of each."""
    rays_a = homogeneous((pair.matches.xa - pair.principal_a) / pose.focal_a)
    rays_b = homogeneous((pair.matches.xb - pair.principal_b) / pose.focal_b)
    turned = rays_a @ pose.R.T
    normal = np.cross(turned, rays_b)
    normal /= np.maximum((normal**2).sum(1, keepdims=True), 1e-18)
    depth = lambda other: -(np.cross(pose.t, other) * normal).sum(1, keepdims=True)  # z_a turned + t = z_b rays_b, along the common normal
    return rays_a * depth(rays_b), rays_b * depth(turned)


def shape_residuals(network: np.ndarray, solved: np.ndarray) -> np.ndarray:  # [n, 3], [S, n, 3] -> [S]
    """Median distance of the points after the best similarity, by the size of the shape; robust in three rounds."""
    target = torch.from_numpy(solved)
    source = torch.from_numpy(network).expand_as(target)
    weight = (torch.from_numpy(solved[..., 2]) > 0).double()
    residual = weight
    for _ in range(3):
        scale, R, t = umeyama(source, target, weight)
        share = weight / weight.sum(-1, keepdim=True).clamp(min=1e-12)
        centre = (share[..., None] * target).sum(-2, keepdim=True)
        size = (share * (target - centre).square().sum(-1)).sum(-1, keepdim=True).sqrt().clamp(min=1e-12)
        residual = (target - scale[..., None, None] * source @ R.mT - t[..., None, :]).norm(dim=-1) / size
        weight = 1 / (1 + (residual / residual.median(-1, keepdim=True).values.clamp(min=1e-6)) ** 2)
    return residual.median(-1).values.clamp(0.01, 1).numpy()


def lens_shift(pairs: Sequence[SeenPair], log_prior: Callable[[np.ndarray], np.ndarray], threshold_px: float) -> tuple[float, list[RelativePose]]:
    """What to add to the log of the prior focals so that matches, shapes and log_prior (shifts [S] -> [S]) agree best, and each pair's pose there.

    The poses' inliers are over the matches of `SeenPair.best`.
    """
    few = [p.best() for p in pairs]
    with ThreadPoolExecutor(WORKERS) as pool:
        swept = list(pool.map(lambda pair: sweep(pair, threshold_px), few))
    total = -log_prior(SHIFTS)
    for pair, poses in zip(few, swept, strict=True):
        in_a, in_b = (np.stack(side) for side in zip(*(triangulate(pair, pose) for pose in poses), strict=True))
        shape = np.log(shape_residuals(pair.points_a, in_a)) + np.log(shape_residuals(pair.points_b, in_b))
        total = total + MATCH_WEIGHT * np.array([p.cost for p in poses]) + SHAPE_WEIGHT / len(pairs) * shape / 2
    at = int(total.argmin())
    shift = SHIFTS[at]
    if 0 < at < len(SHIFTS) - 1:  # the vertex of the parabola through three
        before, here, after = total[at - 1 : at + 2]
        shift += 0.5 * (before - after) / max(before - 2 * here + after, 1e-12) * (SHIFTS[1] - SHIFTS[0])
    return float(shift), [poses[at] for poses in swept]
