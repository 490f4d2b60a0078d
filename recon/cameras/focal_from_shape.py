"""Contains what the shape of things says about the lens, where the matches of two views leave it open.

Two cameras that look at one point from the same distance, as on a turntable, fit any focal length (Sturm, "On focal length calibration from two
views", CVPR 2001). But each focal length makes another shape of the matches: too short a lens makes the thing too deep and turns it too little. The
network may mistake the lens and still know the shape. So the focal lengths are swept, the matches triangulated at each, and their points
compared, up to a similarity, with the network's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recon.cameras.epipolar import Poses, cat, cost, refine
from recon.cameras.pairs import Solver, TwoViews
from recon.cameras.pose import RelativePose, Start, homogeneous
from recon.cores import in_threads
from recon.geometry import umeyama

SHIFTS = np.linspace(-1.6, 1.6, 25)  # of log focal from the prior
PAIR_LIMIT = 8  # the surest pairs are swept
MATCH_LIMIT = 400  # of each
MATCH_WEIGHT = 250.0  # of the mean cost of a pair's matches: they are thousands, but their errors are not independent
SHAPE_WEIGHT = 2.0  # of the log of the residual between the two shapes


@dataclass(frozen=True, kw_only=True)
class SeenPair:
    """A solved pair and where the network sees its matches."""

    views: TwoViews
    points_a: np.ndarray  # [n, 3] of each of `views.every`: the network's points in view a's axes, at any scale
    points_b: np.ndarray  # [n, 3] in view b's axes
    pose: RelativePose

    def best(self) -> SeenPair:
        """At most MATCH_LIMIT of the inliers, spread evenly."""
        index = np.flatnonzero(self.pose.inliers)
        index = np.sort(np.random.default_rng(0).permutation(index)[:MATCH_LIMIT])
        views = replace(self.views, kinds=(self.views.every.take(index),))
        return replace(self, views=views, points_a=self.points_a[index], points_b=self.points_b[index])


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """P pairs at each of S focal lengths."""

    R: Tensor  # [S, P, 3, 3]
    t: Tensor  # [S, P, 3]
    cost: Tensor  # [S, P]


def sweep(pairs: Sequence[SeenPair], solver: Solver) -> Sweep:
    """The pairs at every one of SHIFTS, each refined from its neighbour, from the pair's own focal outwards in both directions at once."""
    problems, _ = solver.problems([p.views for p in pairs], [p.views.every for p in pairs])
    to = lambda x: torch.as_tensor(np.asarray(x)).to(problems.a.device)
    base, shifts = to(np.log([[p.views.focal_a, p.views.focal_b] for p in pairs])), to(SHIFTS)
    count, last = len(pairs), len(SHIFTS) - 1
    R, t, price = base.new_zeros(last + 1, count, 3, 3), base.new_zeros(last + 1, count, 3), base.new_zeros(last + 1, count)

    def visit(start: Poses, pair: Tensor, shift: Tensor) -> Poses:
        log_focal = base[pair] + shifts[shift][:, None]
        mine = problems.take(pair)
        mine = replace(mine, log_prior=log_focal, columns=torch.zeros_like(mine.columns))
        pose = refine(replace(start, log_focal=log_focal), mine)
        R[shift, pair], t[shift, pair], price[shift, pair] = pose.R, pose.t, cost(pose, mine)
        return pose

    pair = torch.arange(count, device=base.device)
    own = to([int(np.abs(SHIFTS - np.log(p.pose.focal_a / p.views.focal_a)).argmin()) for p in pairs])
    pose = visit(Poses(R=to(np.stack([p.pose.R for p in pairs])), t=to(np.stack([p.pose.t for p in pairs])), log_focal=base), pair, own)
    pose, pair, way = cat([pose, pose]), pair.repeat(2), torch.ones_like(own).repeat(2)
    way[count:] = -1
    for step in range(1, int(torch.maximum(own, last - own).max()) + 1):
        pose = visit(pose, pair, (own.repeat(2) + way * step).clamp(0, last))
    return Sweep(R=R.cpu(), t=t.cpu(), cost=price.cpu())


def triangulate(views: TwoViews, R: np.ndarray, t: np.ndarray, shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of the matches in the axes of view a and of view b [S, n, 3], on the rays of each.

    R [S, 3, 3], t [S, 3]; shifts [S] of the log of the prior focals.
    """
    m = views.every
    lens = np.exp(-shifts)[:, None, None] * [1, 1, 0] + [0, 0, 1]
    rays_a = homogeneous((m.xa - views.principal_a) / views.focal_a) * lens
    rays_b = homogeneous((m.xb - views.principal_b) / views.focal_b) * lens
    turned = rays_a @ R.transpose(0, 2, 1)
    normal = np.cross(turned, rays_b)
    normal /= np.maximum((normal**2).sum(-1, keepdims=True), 1e-18)
    depth = lambda other: -(np.cross(t[:, None], other) * normal).sum(-1, keepdims=True)  # z_a turned + t = z_b rays_b, along the common normal
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


@dataclass(frozen=True, kw_only=True)
class Lens:
    """What the pairs together tell of the focal lengths."""

    shift: float  # to be added to the log of the priors
    width: float  # standard deviation of that
    starts: list[Start]  # each pair's pose near there


def lens_shift(pairs: Sequence[SeenPair], log_prior: Callable[[np.ndarray], np.ndarray], solver: Solver) -> Lens:
    """The shift of the prior focals at which matches, shapes and log_prior (shifts [S] -> [S]) agree best."""
    few = [p.best() for p in pairs]
    swept = sweep(few, solver)
    total = -log_prior(SHIFTS) + MATCH_WEIGHT * swept.cost.sum(1).numpy()

    def shape(k: int) -> np.ndarray:
        pair = few[k]
        in_a, in_b = triangulate(pair.views, swept.R[:, k].numpy(), swept.t[:, k].numpy(), SHIFTS)
        return np.log(shape_residuals(pair.points_a, in_a)) + np.log(shape_residuals(pair.points_b, in_b))

    for one in in_threads(shape, range(len(few))):
        total = total + SHAPE_WEIGHT / len(pairs) * one / 2
    at = int(total.argmin())
    shift = SHIFTS[at]
    if 0 < at < len(SHIFTS) - 1:  # the vertex of the parabola through three
        before, here, after = total[at - 1 : at + 2]
        shift += 0.5 * (before - after) / max(before - 2 * here + after, 1e-12) * (SHIFTS[1] - SHIFTS[0])
    factor = np.exp(SHIFTS[at])
    starts = [(swept.R[at, k].numpy(), swept.t[at, k].numpy(), (p.views.focal_a * factor, p.views.focal_b * factor)) for k, p in enumerate(few)]
    density = np.exp(total.min() - total)
    mean = (density * SHIFTS).sum() / density.sum()
    width = np.sqrt((density * (SHIFTS - mean) ** 2).sum() / density.sum())
    return Lens(shift=float(shift), width=float(width), starts=starts)
