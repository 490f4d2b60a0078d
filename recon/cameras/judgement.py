"""Contains the finished record of solved pairs: inliers, cost, parallax, confidence and what is left open of the focal length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from recon import cores
from recon.cameras.epipolar import Poses, Problems, cheirality, cost, in_front, rays, residual_jacobian, sampson
from recon.cameras.pose import RelativePose
from recon.cameras.turning import from_rotation

CHANCE = 0.15  # share of random matches within two thresholds of some epipolar line, generously


def judge(p: Poses, q: Problems, counts: list[int]) -> list[RelativePose]:
    """The records of poses on all their matches, of which the first counts[k] of row k are real; some rows to each core."""
    parts = torch.arange(len(counts)).tensor_split(max(1, min(cores.cores(), len(counts))))
    judged = cores.in_threads(lambda rows: _judged(p.take(rows), q.take(rows), [counts[k] for k in rows.tolist()]), parts)
    return [record for records in judged for record in records]


def _judged(p: Poses, q: Problems, counts: list[int]) -> list[RelativePose]:
    """The records of a few rows, without the padding that only longer ones need."""
    a, b, share = (x[..., : max([*counts, 1])].contiguous() for x in (q.a, q.b, q.share))
    q = replace(q, a=a, b=b, share=share)
    r = sampson(p, q).abs() / q.threshold
    real = q.share > 0
    near = (r < 2) & real
    p = cheirality(p, q, near)
    rays_a, rays_b = rays(p, q)
    distance = torch.from_numpy(from_rotation(*(np.ascontiguousarray(x.numpy()) for x in (q.a, q.b, near, p.log_focal)), rounds=2))
    # parallax too small to tell front from back must not cost a match its inlier flag
    inliers = near & (in_front(p.R, p.t, rays_a, rays_b) | (distance < 3 * q.threshold))
    support = inliers.sum(1)
    parallax = _median(distance, inliers)
    sharp = (inliers & (r < 1)).sum(1) / support.clamp(min=1)
    ratio = support / real.sum(1).clamp(min=1)
    confidence = ((ratio - CHANCE) / 0.5).clamp(0, 1).sqrt() * support / (support + 40.0)
    confidence = confidence * parallax.square() / (parallax.square() + (4 * q.threshold) ** 2) * sharp
    values = {"cost": cost(p, q), "confidence": confidence, "parallax_px": parallax, "focal_sigma": _focal_sigma(p, q, inliers)}
    lists = {name: value.tolist() for name, value in values.items()}
    R, t, focal, inside = p.R.cpu().numpy(), p.t.cpu().numpy(), p.log_focal.exp().cpu().numpy(), inliers.cpu().numpy()
    return [
        RelativePose(
            R=R[k], t=t[k], focal_a=float(focal[k, 0]), focal_b=float(focal[k, 1]), inliers=inside[k, :n], support=int(inside[k].sum()),
            **{name: value[k] for name, value in lists.items()},
        )
        for k, n in enumerate(counts)
    ]  # fmt: skip


def _median(x: Tensor, mask: Tensor) -> Tensor:  # [B, N], [B, N] -> [B]
    """Median of each row where the mask is set; 0 where it is nowhere."""
    return torch.where(mask, x, torch.nan).nanmedian(1).values.nan_to_num(0.0)


def _focal_sigma(p: Poses, q: Problems, inliers: Tensor) -> Tensor:  # -> [B]
    """Standard deviation of a common log focal given matches with independent errors of one threshold, pose free."""
    both = torch.zeros_like(q.columns)
    both[:, :, 0] = 1
    common = Problems(a=q.a, b=q.b, share=q.share, log_prior=q.log_prior, columns=both, sigma=q.sigma, threshold=q.threshold)
    J = residual_jacobian(p, common)[1][:, :6] / q.threshold * inliers[:, None]
    H = J @ J.mT
    rest = H[:, 5, 5] - (H[:, 5:, :5] @ torch.linalg.pinv(H[:, :5, :5], hermitian=True) @ H[:, :5, 5:])[:, 0, 0]
    return torch.where(inliers.sum(1) >= 8, rest.clamp(min=1e-12).rsqrt(), torch.inf)
