"""Contains bundle adjustment: cameras, focal lengths and points that fit their observations best (float64, compiled, on all cores).

Levenberg-Marquardt with the points eliminated (Schur complement; Triggs et al. 2000, section 6.1), Cauchy loss by reweighting. The reduced
system is summed over the pairs of observations of each point: memory grows with the observations, not with views times points.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recon.cameras.epipolar import PRIOR_WEIGHT, rotation
from recon.cameras.tracks import Observations, gather
from recon.cores import all_threads, on_all_cores

LARGE = 512  # unknowns of a reduced system that is worth more than one thread


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


def moved(rig: Rig, dc: Tensor) -> Rig:
    """The rig after a step [V, 7] (rotation, translation, log focal)."""
    log_scale = (rig.log_scale + dc[:, 6]).clamp(-2.5, 2.5)
    return replace(rig, R=rotation(dc[:, :3]) @ rig.R, t=rig.t + dc[:, 3:6], log_scale=log_scale)


class System:
    """The adjustment's compiled passes over its observations, and the room that they work in."""

    def __init__(self, o: Observations, f: Freedom, views: int, threshold: float) -> None:
        order = torch.argsort(o.point, stable=True)
        self.view, self.point, self.xy = (x[order].contiguous().numpy() for x in (o.view, o.point, o.xy))
        self.start = np.searchsorted(self.point, np.arange(o.count + 1))
        self.rows = np.argsort(self.view, kind="stable")
        self.begin = np.searchsorted(self.view[self.rows], np.arange(views + 1))
        self.met = int((np.diff(self.start) ** 2).sum())  # pairs of observations of one point
        self.f, self.views, self.threshold = f, views, threshold
        O, P = len(order), o.count
        self.Jc, self.r, self.W, self.T = np.empty((O, 2, 7)), np.empty((O, 2)), np.empty((O, 7, 3)), np.empty((O, 7, 3))
        self.Vp, self.h, self.inverse = np.empty((P, 3, 3)), np.empty((P, 3)), np.empty((P, 3, 3))
        self.U, self.g = np.empty((views, 7, 7)), np.empty((views, 7))
        self.H, self.rhs = np.empty((views, 7, views, 7)), np.empty((views, 7))

    def _each(self, rows: Callable[..., None], count: int, *arguments, work: int | None = None) -> None:
        on_all_cores(rows, count, *arguments, work=work or len(self.view))

    def _cameras(self, rig: Rig, points: Tensor) -> list[np.ndarray | float]:
        tensors = (rig.R, rig.t, rig.focal_now, rig.principal, points)
        return [self.start, self.view, self.xy, *(np.ascontiguousarray(x.numpy()) for x in tensors), self.threshold]

    def cost(self, rig: Rig, points: Tensor) -> float:
        """Sum of log1p((error / threshold)^2) and of prior [V] * log_scale^2."""
        from recon.cameras.elimination import cost_rows

        out = np.empty(len(points))
        self._each(cost_rows, len(points), *self._cameras(rig, points), out)
        return float(out.sum()) + float((self.f.prior * rig.log_scale.square()).sum())

    def linearise(self, rig: Rig, points: Tensor) -> None:
        """The normal equations at this place."""
        from recon.cameras.elimination import linear_rows, view_rows

        self._each(linear_rows, len(points), *self._cameras(rig, points), self.Jc, self.r, self.W, self.Vp, self.h)
        self._each(view_rows, self.views, self.begin, self.rows, self.Jc, self.r, self.U, self.g)
        self.U[:, 6, 6] += self.f.prior.numpy()
        self.g[:, 6] += (self.f.prior * rig.log_scale).numpy()

    def _summed(self, full: Tensor) -> Tensor:  # [7 V, ...] -> [n, ...]
        """Rows of the camera parameters summed into the unknowns."""
        return gather(full, self.f.column, self.f.count + 1)[: self.f.count]

    def step(self, damping: float) -> tuple[Tensor, Tensor]:
        """Camera step [V, 7] and point step [P, 3]."""
        from recon.cameras.elimination import eliminated_rows, mirrored_rows, moved_rows, reduced_rows

        points = len(self.Vp)
        self._each(eliminated_rows, points, self.start, self.W, self.Vp, damping, self.inverse, self.T)
        x = torch.zeros(self.f.count, dtype=torch.float64)
        if self.f.count:
            tables = self.begin, self.rows, self.start, self.point, self.view
            self._each(reduced_rows, self.views, *tables, self.T, self.W, self.h, self.U, self.g, self.H, self.rhs, work=self.met)
            self._each(mirrored_rows, self.views, self.H)
            H = self._summed(self._summed(torch.from_numpy(self.H).reshape(7 * self.views, -1)).T)
            size = self._summed(torch.from_numpy(self.U).diagonal(dim1=1, dim2=2).reshape(-1))
            rhs = self._summed(torch.from_numpy(self.rhs).reshape(-1))
            with all_threads() if self.f.count > LARGE else nullcontext():
                x = solved(H + torch.diag(damping * (size + 1e-9) + 1e-12 * size.max()), rhs)
        dc, dp = torch.cat([x, x.new_zeros(1)])[self.f.column].unflatten(0, (-1, 7)), np.empty((points, 3))
        self._each(moved_rows, points, self.start, self.view, self.W, self.inverse, self.h, dc.numpy(), dp)
        return dc, torch.from_numpy(dp)


def solved(A: Tensor, b: Tensor) -> Tensor:  # [n, n] symmetric, [n] -> [n]
    """x of A x = b, by Cholesky's factors, half the work of others; where rounding has left A indefinite, by those."""
    L, failed = torch.linalg.cholesky_ex(A)
    return torch.linalg.solve(A, b) if failed else torch.cholesky_solve(b[:, None], L)[:, 0]


def adjust(
    rig: Rig, points: Tensor, o: Observations, *, free: Tensor, focal_free: Tensor, sigma: float = 0.35, threshold_px: float = 1.0,
    shared_focal: bool = True, rounds: int = 15,
) -> tuple[Rig, Tensor]:  # fmt: skip
    """The rig and points after adjustment; free [V] poses move, focal_free [V] focals move; `points` [o.count, 3] must be finite.

    The loss is sum log1p((error / threshold)^2) + PRIOR_WEIGHT * observations per view * (log focal / sigma)^2. R turns as exp(w) R.
    """
    system = System(o, freedom(o, free, focal_free, shared=shared_focal, sigma=sigma), len(rig.R), threshold_px)
    damping, old = 1e-4, system.cost(rig, points)
    for _ in range(rounds):
        system.linearise(rig, points)
        for _ in range(6):
            dc, dp = system.step(damping)
            trial = moved(rig, dc), points + dp
            new = system.cost(*trial)
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
