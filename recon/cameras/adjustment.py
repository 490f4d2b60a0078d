"""Bundle adjustment: cameras, focal lengths and points that fit their observations best.

Levenberg-Marquardt with the points eliminated (Schur complement; Triggs et al. 2000, section 6.1), Cauchy loss by reweighting, numpy alone.
The reduced system is dense, which is right up to about a hundred views.
"""
from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recon.cameras.pose import PRIOR_WEIGHT, rotation, skew
from recon.cameras.tracks import Observations


@dataclass(frozen=True, kw_only=True)
class Rig:
    """Cameras under adjustment: x_camera = R x_world + t, u = focal exp(log_scale) x / z + principal."""

    R: np.ndarray  # [V, 3, 3] world to camera
    t: np.ndarray  # [V, 3]
    focal: np.ndarray  # [V, 2] pixels, the prior
    principal: np.ndarray  # [V, 2]
    log_scale: np.ndarray  # [V] of the focal

    @property
    def focal_now(self) -> np.ndarray:  # [V, 2]
        return self.focal * np.exp(self.log_scale)[:, None]


def project(rig: Rig, points: np.ndarray, o: Observations) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [O, 2] of the observed points and the points in camera axes [O, 3]."""
    p = np.einsum("oij,oj->oi", rig.R[o.view], points[o.point]) + rig.t[o.view]
    z = np.maximum(p[:, 2:], 1e-9)
    return rig.focal_now[o.view] * p[:, :2] / z + rig.principal[o.view], p


def reprojection_errors(rig: Rig, points: np.ndarray, o: Observations) -> np.ndarray:
    """Distances [O] in pixels; infinite behind the camera and for points that are not finite."""
    u, p = project(rig, points, o)
    e = np.linalg.norm(u - o.xy, axis=1)
    return np.where((p[:, 2] > 1e-9) & np.isfinite(e), e, np.inf)


def robust_cost(rig: Rig, points: np.ndarray, o: Observations, threshold: float, prior: np.ndarray) -> float:
    """Sum of log1p((error / threshold)^2) and of prior [V] * log_scale^2."""
    u, _ = project(rig, points, o)
    return np.log1p(((u - o.xy) ** 2).sum(1) / threshold**2).sum() + (prior * rig.log_scale**2).sum()


def jacobians(rig: Rig, points: np.ndarray, o: Observations, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted Jacobians by camera [O, 2, 7] (rotation, translation, log focal) and point [O, 2, 3], and residuals [O, 2]."""
    u, p = project(rig, points, o)
    f, z = rig.focal_now[o.view], np.maximum(p[:, 2], 1e-9)
    r = (u - o.xy) / threshold
    D = np.zeros((len(z), 2, 3))
    D[:, 0, 0], D[:, 1, 1] = f[:, 0] / z, f[:, 1] / z
    D[:, :, 2] = -(u - rig.principal[o.view]) / z[:, None]
    D /= threshold
    Jc = np.concatenate([-D @ skew(p - rig.t[o.view]), D, ((u - rig.principal[o.view]) / threshold)[..., None]], 2)
    w = 1 / np.sqrt(1 + (r**2).sum(1))
    return w[:, None, None] * Jc, w[:, None, None] * (D @ rig.R[o.view]), w[:, None] * r


def _columns(views: int, free: np.ndarray, focal_free: np.ndarray, shared: bool) -> np.ndarray:
    """Selection [7 V, n] from all camera parameters to those that are adjusted; shared focals are one column."""
    rows = np.zeros((views, 7), bool)
    rows[:, :6], rows[:, 6] = free[:, None], focal_free & (not shared)
    S = np.eye(7 * views)[:, rows.reshape(-1)]
    if shared and focal_free.any():
        together = np.zeros((views, 7))
        together[focal_free, 6] = 1
        S = np.concatenate([S, together.reshape(-1, 1)], 1)
    return S


def moved(rig: Rig, points: np.ndarray, dc: np.ndarray, dp: np.ndarray | float) -> tuple[Rig, np.ndarray]:
    """The rig and points after a step: dc [V * 7] (rotation, translation, log focal), dp [P, 3]."""
    dc = dc.reshape(-1, 7)
    turned = rotation(dc[:, :3])
    return replace(rig, R=turned @ rig.R, t=rig.t + dc[:, 3:6], log_scale=np.clip(rig.log_scale + dc[:, 6], -2.5, 2.5)), points + dp


def adjust(rig: Rig, points: np.ndarray, o: Observations, *, free: np.ndarray, focal_free: np.ndarray, sigma: float = 0.35,
           prior_weight: float = PRIOR_WEIGHT, threshold_px: float = 1.0, shared_focal: bool = True, rounds: int = 15) -> tuple[Rig, np.ndarray]:
    """The rig and points after adjustment; free [V] poses move, focal_free [V] focals move; `points` [o.count, 3] must be finite.

    The loss is sum log1p((error / threshold)^2) + prior_weight * observations per view * (log focal / sigma)^2. R turns as exp(w) R.
    """
    views, count = len(rig.R), o.count
    S = _columns(views, free, focal_free, shared_focal)
    seen = np.bincount(o.view, minlength=views).astype(float)
    holders = focal_free & (seen > 0)
    prior = np.where(holders, prior_weight * seen[holders].mean() / sigma**2 if holders.any() else 0.0, 0.0)
    if shared_focal and holders.any():
        prior /= holders.sum()
    damping, old = 1e-4, robust_cost(rig, points, o, threshold_px, prior)
    for _ in range(rounds):
        Jc, Jp, r = jacobians(rig, points, o, threshold_px)
        U, g = np.zeros((views, 7, 7)), np.zeros((views, 7))
        JcT, JpT = Jc.transpose(0, 2, 1), Jp.transpose(0, 2, 1)
        np.add.at(U, o.view, JcT @ Jc)
        np.add.at(g, o.view, (JcT @ r[..., None])[..., 0])
        h = np.stack([np.bincount(o.point, x, count) for x in (JpT @ r[..., None])[..., 0].T], 1)
        V = np.stack([np.bincount(o.point, x, count) for x in (JpT @ Jp).reshape(-1, 9).T], 1).reshape(-1, 3, 3)
        W = np.zeros((count, views, 7, 3))
        W[o.point, o.view] = JcT @ Jp
        W = W.reshape(count, 7 * views, 3)
        U[:, 6, 6] += prior
        g[:, 6] += prior * rig.log_scale
        H = np.zeros((7 * views, 7 * views))
        for v in range(views):
            H[7 * v:7 * v + 7, 7 * v:7 * v + 7] = U[v]
        g, H = S.T @ g.reshape(-1), S.T @ H @ S
        WS = np.einsum("pcx,cn->pxn", W, S, optimize=True)  # [P, 3, n]
        accepted = False
        for _ in range(6):
            diagonal = np.einsum("pii->pi", V)
            Vd = V + np.eye(3) * (damping * diagonal + 1e-9 * diagonal.max(1, keepdims=True) + 1e-15)[:, None]
            Vi = np.linalg.inv(Vd)
            T = (Vi @ WS).reshape(3 * count, S.shape[1])
            flat = WS.reshape(3 * count, S.shape[1])
            reduced = H + damping * np.diag(H.diagonal() + 1e-9) - flat.T @ T
            rhs = -(g - T.T @ h.reshape(-1))
            dc = np.linalg.lstsq(reduced, rhs, rcond=1e-14)[0] if S.shape[1] else np.zeros(0)
            dp = -(Vi @ (h + (WS @ dc))[..., None])[..., 0]
            trial = moved(rig, points, S @ dc, dp)
            new = robust_cost(*trial, o, threshold_px, prior)
            if np.isfinite(new) and new < old:
                accepted, damping = True, max(damping / 10, 1e-9)
                break
            damping *= 10
        if not accepted:
            break
        rig, points = trial
        gain, old = old - new, new
        if gain < 1e-5 * old:
            break
    return rig, points
