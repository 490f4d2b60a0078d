"""Contains the epipolar geometry of many pairs at once: residuals batched in PyTorch, refinement of pose and focal lengths and costs compiled.

B problems of up to N matches each; a match of share 0 is padding. Points are pixels relative to the principal points, with a one appended;
x_b ~ K_b (R x_a + t). Nothing here is differentiable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from recon.cores import on_all_cores

CLIP = math.log1p(16.0)  # cost of a match that is no match: four thresholds away and beyond
PRIOR_WEIGHT = 0.006  # weight of the focal prior per match: matches are not independent, so the prior grows with their number
SCHEDULE = ((4.0, 10), (3.0, 10), (2.0, 14))  # of the refinement: inliers within so many thresholds, rounds
ROUNDS = 10  # passes over the matches that a refinement takes, at least
CONVERGED = 1e-6  # share of the cost that a last step gains
FLAT = torch.diag(torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))


class Rows:
    """A dataclass of tensors with B rows each."""

    def take(self, index: Tensor):
        """Some of the rows, by number or mask."""
        return type(self)(**{f.name: value[index] if isinstance(value := getattr(self, f.name), Tensor) else value for f in fields(self)})  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Problems(Rows):
    """What is to be explained: matches and focal priors."""

    a: Tensor  # [B, 3, N]
    b: Tensor  # [B, 3, N]
    share: Tensor  # [B, N] weight of each match in the costs
    log_prior: Tensor  # [B, 2] log focals
    columns: Tensor  # [B, 2, 2] what each of two unknowns adds to the log focals; a column of zeros is no unknown
    sigma: float  # width of the prior in log focal
    threshold: float  # expected error of a match, pixels


@dataclass(frozen=True, kw_only=True)
class Poses(Rows):
    """Answers, one a problem."""

    R: Tensor  # [B, 3, 3] R_b_a
    t: Tensor  # [B, 3] unit length
    log_focal: Tensor  # [B, 2]


def cat(poses: list[Poses]) -> Poses:
    """All the poses one after the other."""
    return Poses(**{f.name: torch.cat([getattr(p, f.name) for p in poses]) for f in fields(Poses)})


def where(condition: Tensor, yes: Poses, no: Poses) -> Poses:  # [B]
    """Each row from one or the other."""
    pick = lambda x, y: torch.where(condition.reshape(-1, *[1] * (x.ndim - 1)), x, y)
    return Poses(**{f.name: pick(getattr(yes, f.name), getattr(no, f.name)) for f in fields(Poses)})


def skew(t: Tensor) -> Tensor:  # [..., 3] -> [..., 3, 3]
    """The matrix of the cross product with t."""
    x, y, z = t.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))


def rotation(vectors: Tensor) -> Tensor:  # [..., 3] -> [..., 3, 3]
    """Rotation matrices of rotation vectors (Rodrigues)."""
    angle = vectors.norm(dim=-1)[..., None, None]
    W = skew(vectors)
    eye = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    return eye + torch.sinc(angle / math.pi) * W + 0.5 * torch.sinc(angle / 2 / math.pi) ** 2 * (W @ W)


def tangent(t: Tensor) -> Tensor:  # [B, 3] -> [B, 3, 2]
    """Two unit vectors at right angles to each unit vector t."""
    axis = torch.nn.functional.one_hot(t.abs().argmin(-1), 3).to(t)
    first = torch.linalg.cross(t, axis)
    first = first / first.norm(dim=-1, keepdim=True)
    return torch.stack([first, torch.linalg.cross(t, first)], -1)


def _lens(log_focal: Tensor) -> Tensor:  # [B] -> [B, 3, 1]: by which pixels become rays
    inverse = (-log_focal).exp()
    return torch.stack([inverse, inverse, torch.ones_like(inverse)], -1)[..., None]


def fundamental(p: Poses) -> Tensor:  # -> [B, 3, 3]
    """F between pixels relative to the principal points: x_b' F x_a = 0."""
    return _lens(p.log_focal[:, 1]) * (skew(p.t) @ p.R) * _lens(p.log_focal[:, 0]).mT


def dot(x: Tensor, y: Tensor) -> Tensor:  # [B, 3, N] twice -> [B, N]
    """Products of columns; spelled out, as a sum over three rows is slow."""
    return x[:, 0] * y[:, 0] + x[:, 1] * y[:, 1] + x[:, 2] * y[:, 2]


def cross(x: Tensor, y: Tensor) -> Tensor:  # [B, 3, N] twice -> [B, 3, N]
    """Cross products of columns."""
    (a, b, c), (d, e, f) = x.unbind(1), y.unbind(1)
    return torch.stack([b * f - c * e, c * d - a * f, a * e - b * d], 1)


def _lines(p: Poses, q: Problems) -> tuple[Tensor, Tensor, Tensor]:
    """Epipolar lines in b and in a [B, 3, N], and the squared size of their gradient [B, N]."""
    F = fundamental(p)
    l, m = F @ q.a, F.mT @ q.b
    size = l[:, 0].square() + l[:, 1].square() + m[:, 0].square() + m[:, 1].square()
    return l, m, size.clamp_(min=1e-30)


def sampson(p: Poses, q: Problems) -> Tensor:  # -> [B, N]
    """Signed first-order distance to the epipolar geometry, in pixels (Hartley and Zisserman, eq. 11.9)."""
    l, _, size = _lines(p, q)
    return dot(q.b, l) * size.rsqrt_()


def residual_jacobian(p: Poses, q: Problems) -> tuple[Tensor, Tensor]:
    """Sampson residual [B, N] and its derivative [B, 7, N] by rotation (3, left), translation tangent (2) and the two focal unknowns."""
    F = fundamental(p)
    left, right = _lens(p.log_focal[:, 1])[:, None], _lens(p.log_focal[:, 0]).mT[:, None]
    eye, flat = torch.eye(3, dtype=F.dtype, device=F.device), FLAT.to(F)
    by_rotation = left * (skew(p.t)[:, None] @ skew(eye) @ p.R[:, None]) * right
    by_shift = left * (skew(tangent(p.t).mT) @ p.R[:, None]) * right
    by_focal = (q.columns.mT @ torch.stack([-F @ flat, -flat @ F], 1).flatten(2)).unflatten(2, (3, 3))
    dF = torch.cat([by_rotation, by_shift, by_focal], 1)  # [B, 7, 3, 3]
    l, m, size = _lines(p, q)
    inverse = size.rsqrt()
    r = dot(q.b, l) * inverse
    pull = (r * inverse.square())[:, None]
    # by the entries of F: b a' / s - n / s^3 (l a' + b m'), with only the first two entries of the lines
    side = q.b * inverse[:, None]
    side[:, :2] -= l[:, :2] * pull
    G = side[:, :, None] * q.a[:, None]  # [B, 3, 3, N]
    G[:, :, :2] -= q.b[:, :, None] * (m[:, :2] * pull)[:, None]
    return r, dF.flatten(2) @ G.flatten(1, 2)


def refine(p: Poses, q: Problems, owner: Tensor | None = None) -> Poses:
    """Levenberg-Marquardt on sum share log1p((r / threshold)^2) + the focal prior, over three shrinking sets of inliers, on all cores.

    Pose k is of problem owner[k] (None: of problem k).
    """
    from recon.cameras.descent import refine_rows

    owner = torch.arange(len(p.t)) if owner is None else owner
    R, t, log_focal = (x.numpy().copy("C") for x in (p.R, p.t, p.log_focal))
    prior = (q.share.sum(1) * PRIOR_WEIGHT / q.sigma**2).numpy()
    lenses = (np.ascontiguousarray(x.numpy()) for x in (q.log_prior, q.columns))
    constants = q.threshold, np.array(SCHEDULE), CONVERGED
    on_all_cores(refine_rows, len(owner), *_arrays(q, owner), *lenses, prior, *constants, R, t, log_focal, work=ROUNDS * _work(q, owner))
    return Poses(R=torch.from_numpy(R), t=torch.from_numpy(t), log_focal=torch.from_numpy(log_focal))


def _arrays(q: Problems, owner: Tensor) -> tuple[np.ndarray, ...]:
    """The matches as the compiled passes take them: a, b [P, 3, N], share [P, N], and the problem of each pose [B]."""
    return q.a.numpy(), q.b.numpy(), np.ascontiguousarray(q.share.numpy()), owner.numpy()


def _work(q: Problems, owner: Tensor) -> int:
    return len(owner) * q.share.shape[1]


def rays(p: Poses, q: Problems) -> tuple[Tensor, Tensor]:  # -> [B, 3, N] twice
    """Directions of the matches in the axes of a and of b."""
    return q.a * _lens(p.log_focal[:, 0]), q.b * _lens(p.log_focal[:, 1])


def in_front(R: Tensor, t: Tensor, rays_a: Tensor, rays_b: Tensor) -> Tensor:  # [B, 3, 3], [B, 3], [B, 3, N] twice -> [B, N] bool
    """Which matches meet in front of both cameras: z_a R rays_a + t = z_b rays_b, solved along the common normal."""
    turned = R @ rays_a
    normal = cross(turned, rays_b)
    shift = skew(t)
    return (dot(normal, shift @ rays_b) < 0) & (dot(normal, shift @ turned) < 0)


def cheirality(p: Poses, q: Problems, near: Tensor) -> Poses:  # [B, N] bool
    """Of the four poses that share an essential matrix the one with the most of the near matches in front."""
    twist = (2 * p.t[:, :, None] * p.t[:, None] - torch.eye(3, dtype=p.t.dtype, device=p.t.device)) @ p.R
    rays_a, rays_b = rays(p, q)
    four = [(p.R, p.t), (p.R, -p.t), (twist, p.t), (twist, -p.t)]
    count = torch.stack([(in_front(R, t, rays_a, rays_b) & near).sum(1) for R, t in four], 1)
    best, rows = count.argmax(1), torch.arange(len(p.t), device=p.t.device)
    R, t = (torch.stack([f[k] for f in four], 1)[rows, best] for k in (0, 1))
    return Poses(R=R, t=t, log_focal=p.log_focal)


def prior_cost(p: Poses, q: Problems, owner: Tensor) -> Tensor:  # -> [B]
    """What the focal lengths cost by their prior, beside the mean cost of the matches."""
    return PRIOR_WEIGHT / 2 * ((p.log_focal - q.log_prior[owner]) / q.sigma).square().mean(1)


def cost(p: Poses, q: Problems, owner: Tensor | None = None) -> Tensor:  # -> [B]
    """Mean over the matches, by share, of log1p((Sampson / threshold)^2), clipped, plus the prior's; a match behind a camera explains nothing.

    Behind, that is, in the best of the four poses of the essential matrix, and not only because its parallax drowns in the noise. Without that a
    scene that is mostly one plane is taken for its mirror image, which fits the lines as well. Pose k is of problem owner[k] (None: k).
    """
    from recon.cameras.costs import cost_rows

    owner = torch.arange(len(p.t)) if owner is None else owner
    out = np.empty(len(owner))
    poses = (np.ascontiguousarray(x.numpy()) for x in (p.R, p.t, p.log_focal))
    on_all_cores(cost_rows, len(owner), *_arrays(q, owner), q.threshold, CLIP, *poses, out, work=_work(q, owner))
    return torch.from_numpy(out) + prior_cost(p, q, owner)
