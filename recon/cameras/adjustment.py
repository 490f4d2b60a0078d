"""Contains bundle adjustment: cameras, focal lengths and points that fit their observations best (PyTorch, float64, on any device).

Levenberg-Marquardt with the points eliminated (Schur complement; Triggs et al. 2000, section 6.1), Cauchy loss by reweighting. The reduced
system is gathered from the pairs of observations of each point: memory grows with their number, not with views times points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon.cameras.epipolar import PRIOR_WEIGHT, rotation, skew
from recon.cameras.tracks import Observations, accumulate, gather

BLOCKS_AT_ONCE = 1 << 18  # of 7 x 7 doubles: 100 MB


@dataclass(frozen=True, kw_only=True)
class Rig:
    """Cameras under adjustment: x_camera = R x_world + t, u = focal exp(log_scale) x / z + principal."""

    R: Tensor  # [V, 3, 3] world to camera
    t: Tensor  # [V, 3]
    focal: Tensor  # [V, 2] pixels, the prior
    principal: Tensor  # [V, 2]
    log_scale: Tensor  # [V] of the focal

    @property
    def focal_now(self) -> Tensor:  # [V, 2]
        return self.focal * self.log_scale.exp()[:, None]


def project(rig: Rig, points: Tensor, o: Observations) -> tuple[Tensor, Tensor]:
    """Pixels [O, 2] of the observed points and the points in camera axes [O, 3]."""
    p = (rig.R[o.view] @ points[o.point][..., None])[..., 0] + rig.t[o.view]
    return rig.focal_now[o.view] * p[:, :2] / p[:, 2:].clamp(min=1e-9) + rig.principal[o.view], p


def reprojection_errors(rig: Rig, points: Tensor, o: Observations) -> Tensor:
    """Distances [O] in pixels; infinite behind the camera and for points that are not finite."""
    u, p = project(rig, points, o)
    e = (u - o.xy).norm(dim=1)
    return torch.where((p[:, 2] > 1e-9) & e.isfinite(), e, torch.inf)


@dataclass(frozen=True, kw_only=True)
class Freedom:
    """What may move, and the prior."""

    column: Tensor  # [7 V] the unknown that each camera parameter (rotation, translation, log focal) is moved by; `count` for none
    count: int
    prior: Tensor  # [V] weight of log_scale^2


def freedom(o: Observations, free: Tensor, focal_free: Tensor, *, shared: bool, sigma: float) -> Freedom:
    """free [V]: poses that move; focal_free [V]: focal lengths that do, all as one when they are shared."""
    views = len(free)
    moves = torch.cat([free[:, None].expand(-1, 6), (focal_free & (not shared))[:, None]], 1).reshape(-1)
    column = torch.where(moves, moves.cumsum(0) - 1, -1)
    count = int(moves.sum())
    if shared and bool(focal_free.any()):
        column.view(views, 7)[focal_free, 6] = count
        count += 1
    column = torch.where(column < 0, count, column)
    seen = torch.bincount(o.view, minlength=views).to(o.xy)
    holders = focal_free & (seen > 0)
    weight = PRIOR_WEIGHT * seen[holders].mean() / sigma**2 if bool(holders.any()) else torch.zeros(())
    prior = torch.where(holders, weight / (holders.sum() if shared else 1), 0.0).to(o.xy)
    return Freedom(column=column, count=count, prior=prior)


def robust_cost(rig: Rig, points: Tensor, o: Observations, threshold: float, prior: Tensor) -> Tensor:
    """Sum of log1p((error / threshold)^2) and of prior [V] * log_scale^2."""
    u, _ = project(rig, points, o)
    return torch.log1p((u - o.xy).square().sum(1) / threshold**2).sum() + (prior * rig.log_scale.square()).sum()


def jacobians(rig: Rig, points: Tensor, o: Observations, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted Jacobians by camera [O, 2, 7] (rotation, translation, log focal) and point [O, 2, 3], and residuals [O, 2]."""
    u, p = project(rig, points, o)
    f, z = rig.focal_now[o.view], p[:, 2].clamp(min=1e-9)
    r = (u - o.xy) / threshold
    from_centre = u - rig.principal[o.view]
    D = torch.cat([torch.diag_embed(f / z[:, None]), -(from_centre / z[:, None])[..., None]], 2) / threshold
    Jc = torch.cat([-D @ skew(p - rig.t[o.view]), D, (from_centre / threshold)[..., None]], 2)
    w = (1 + r.square().sum(1)).rsqrt()
    return w[:, None, None] * Jc, w[:, None, None] * (D @ rig.R[o.view]), w[:, None] * r


def companions(o: Observations) -> tuple[Tensor, Tensor]:
    """All ordered pairs of observations of one point, an observation with itself too: two lists of numbers."""
    order = torch.argsort(o.point, stable=True)
    length = o.lengths()
    first = length.cumsum(0) - length  # of each point in that order
    mine = length[o.point[order]]
    one = torch.repeat_interleave(torch.arange(len(order), device=order.device), mine)
    within = torch.arange(len(one), device=order.device) - (mine.cumsum(0) - mine)[one]
    return order[one], order[first[o.point[order]][one] + within]


def moved(rig: Rig, dc: Tensor) -> Rig:
    """The rig after a step [V, 7] (rotation, translation, log focal)."""
    log_scale = (rig.log_scale + dc[:, 6]).clamp(-2.5, 2.5)
    return replace(rig, R=rotation(dc[:, :3]) @ rig.R, t=rig.t + dc[:, 3:6], log_scale=log_scale)


class System:
    """The normal equations at one place, points eliminated as the damping asks for it."""

    def __init__(self, rig: Rig, points: Tensor, o: Observations, f: Freedom, pairs: tuple[Tensor, Tensor], threshold: float) -> None:
        Jc, Jp, r = jacobians(rig, points, o, threshold)
        views = len(rig.R)
        self.o, self.f, self.pairs, self.views = o, f, pairs, views
        self.W = Jc.mT @ Jp  # [O, 7, 3]
        self.U, self.g = gather(Jc.mT @ Jc, o.view, views), gather((Jc.mT @ r[..., None])[..., 0], o.view, views)
        self.V, self.h = gather(Jp.mT @ Jp, o.point, o.count), gather((Jp.mT @ r[..., None])[..., 0], o.point, o.count)
        self.U[:, 6, 6] += f.prior
        self.g[:, 6] += f.prior * rig.log_scale

    def reduced(self, full: Tensor) -> Tensor:  # [7 V, ...] -> [n, ...]
        """Rows of the camera parameters summed into the unknowns."""
        return gather(full, self.f.column, self.f.count + 1)[: self.f.count]

    def step(self, damping: float) -> tuple[Tensor, Tensor]:
        """Camera step [V, 7] and point step [P, 3]."""
        V, o = self.V, self.o
        diagonal = V.diagonal(dim1=1, dim2=2)
        V = V + torch.diag_embed(damping * diagonal + 1e-9 * diagonal.amax(1, keepdim=True) + 1e-15)
        inverse = torch.linalg.inv(V)
        T = self.W @ inverse[o.point]  # [O, 7, 3]
        if self.f.count:
            H = V.new_zeros(self.views * self.views, 7, 7)
            for start in range(0, len(self.pairs[0]), BLOCKS_AT_ONCE):
                one, other = (p[start : start + BLOCKS_AT_ONCE] for p in self.pairs)
                accumulate(H, o.view[one] * self.views + o.view[other], -(T[one] @ self.W[other].mT))
            H = H.unflatten(0, (self.views, self.views))
            H[range(self.views), range(self.views)] += self.U
            H = self.reduced(self.reduced(H.permute(0, 2, 1, 3).reshape(7 * self.views, -1)).T)
            size = self.reduced(self.U.diagonal(dim1=1, dim2=2).reshape(-1))
            rhs = self.reduced((gather((T @ self.h[o.point][..., None])[..., 0], o.view, self.views) - self.g).reshape(-1))
            x = torch.linalg.solve(H + torch.diag(damping * (size + 1e-9) + 1e-12 * size.max()), rhs)
        else:
            x = V.new_zeros(0)
        dc = torch.cat([x, x.new_zeros(1)])[self.f.column].unflatten(0, (-1, 7))
        back = gather((self.W.mT @ dc[o.view][..., None])[..., 0], o.point, o.count)
        return dc, -(inverse @ (self.h + back)[..., None])[..., 0]


def adjust(
    rig: Rig, points: Tensor, o: Observations, *, free: Tensor, focal_free: Tensor, sigma: float = 0.35, threshold_px: float = 1.0,
    shared_focal: bool = True, rounds: int = 15,
) -> tuple[Rig, Tensor]:  # fmt: skip
    """The rig and points after adjustment; free [V] poses move, focal_free [V] focals move; `points` [o.count, 3] must be finite.

    The loss is sum log1p((error / threshold)^2) + PRIOR_WEIGHT * observations per view * (log focal / sigma)^2. R turns as exp(w) R.
    """
    f, pairs = freedom(o, free, focal_free, shared=shared_focal, sigma=sigma), companions(o)
    damping, old = 1e-4, float(robust_cost(rig, points, o, threshold_px, f.prior))
    for _ in range(rounds):
        system = System(rig, points, o, f, pairs, threshold_px)
        for _ in range(6):
            dc, dp = system.step(damping)
            trial = moved(rig, dc), points + dp
            new = float(robust_cost(*trial, o, threshold_px, f.prior))
            if new < old:
                damping = max(damping / 10, 1e-9)
                break
            damping *= 10
        else:
            break
        rig, points = trial
        gain, old = old - new, new
        if gain < 1e-5 * old:
            break
    return rig, points
