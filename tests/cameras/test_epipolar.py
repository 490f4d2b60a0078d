"""The compiled passes over matches against plain PyTorch: the refinement ends where the gradient is zero, and costs are what they say."""

from dataclasses import replace

import pytest
import torch

from recon.cameras.epipolar import CLIP, PRIOR_WEIGHT, Poses, Problems, cheirality, cost, in_front, rays, refine, rotation, sampson

WIDTH = 2.0  # thresholds of the last inliers


def scenes(count: int, points: int, *, columns: torch.Tensor, noise: float = 0.3) -> tuple[Poses, Problems]:
    """True poses, and noisy matches of points before both cameras, every fifth wrong; the last few of each are padding."""
    generator = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    R, t = rotation(0.2 * draw(count, 3)), torch.nn.functional.normalize(draw(count, 3), dim=1)
    log_focal = torch.full((count, 2), 6.2, dtype=torch.float64)
    X = torch.cat([1.2 * draw(count, 2, points), 5 + draw(count, 1, points).abs()], 1)
    pixels = lambda X: torch.cat([log_focal[:, 0].exp()[:, None, None] * X[:, :2] / X[:, 2:], torch.ones_like(X[:, 2:])], 1)
    a, b = pixels(X), pixels(R @ X + t[..., None])
    b[:, :2] += noise * draw(count, 2, points)
    b[:, :2, ::5] += 80 * draw(count, 2, len(range(0, points, 5)))
    share = torch.where(torch.arange(points) % 2 == 0, 1.0, 5.0).double().expand(count, -1).clone()
    share[:, -7:] = 0
    q = Problems(a=a, b=b, share=share, log_prior=log_focal + 0.1, columns=columns.double().expand(count, 2, 2), sigma=0.35, threshold=0.5)
    return Poses(R=R, t=t, log_focal=log_focal), q


@pytest.mark.parametrize("columns", [[[1.0, 0], [1, 0]], [[1, 0], [0, 1]], [[0, 0], [0, 1]], [[0, 0], [0, 0]]])
def test_the_refinement_ends_where_nothing_pulls(columns):
    truth, q = scenes(4, 200, columns=torch.tensor(columns))
    first = rotation(torch.full((4, 3), 0.004).double()) @ truth.R
    start = Poses(R=first.clone(), t=truth.t, log_focal=truth.log_focal)
    found = refine(start, q)
    torch.testing.assert_close(start.R, first, rtol=0, atol=0)  # the start is left as it was
    fixed = torch.tensor(columns).abs().sum(1) == 0
    assert (found.log_focal[:, fixed] == start.log_focal[:, fixed]).all()
    turn, shift = torch.zeros(4, 3).double().requires_grad_(), torch.zeros(4, 3).double().requires_grad_()
    lens = torch.zeros(4, 2).double().requires_grad_()
    t = torch.nn.functional.normalize(found.t + shift, dim=1)
    moved = Poses(R=rotation(turn) @ found.R, t=t, log_focal=found.log_focal + (q.columns @ lens[..., None])[..., 0])
    r = sampson(moved, q) / q.threshold
    near = q.share * (r.abs() < WIDTH)
    off = (q.columns / q.columns.sum(1, keepdim=True).clamp(min=1)).mT @ (moved.log_focal - q.log_prior)[..., None]
    total = (near * torch.log1p(r.square())).sum() + (q.share.sum(1) * PRIOR_WEIGHT / q.sigma**2 * off[..., 0].square().sum(1)).sum()
    begin = sampson(start, q) / q.threshold
    assert bool(((near * torch.log1p(r.square())).sum(1) < 0.9 * (near * torch.log1p(begin.square())).sum(1)).all())
    # second derivatives are of the order of matches (focal / threshold)^2 = 1e8: what is left is a step of some 1e-7 radians
    assert max(float(g.abs().max()) for g in torch.autograd.grad(total, [turn, shift, lens])) < 20.0


def test_a_pose_says_whose_problem_it_is():
    truth, q = scenes(3, 120, columns=torch.zeros(2, 2))
    owner = torch.tensor([2, 0, 2])
    mine = Poses(R=truth.R[owner], t=truth.t[owner], log_focal=truth.log_focal[owner])
    taken = q.take(owner)
    for name in ("R", "t"):
        torch.testing.assert_close(getattr(refine(mine, q, owner), name), getattr(refine(mine, taken), name), rtol=0, atol=0)
    torch.testing.assert_close(cost(mine, q, owner), cost(mine, taken), rtol=0, atol=0)


@pytest.mark.parametrize("threads", [1, 3])
def test_costs_are_clipped_means_in_which_what_is_behind_explains_nothing(threads):
    truth, q = scenes(5, 300, columns=torch.eye(2))
    q = replace(q, sigma=0.5)
    twisted = Poses(R=truth.R, t=-truth.t, log_focal=truth.log_focal)  # cheirality is the cost's own affair
    wrong = Poses(R=rotation(torch.tensor([[0.0, 0.3, 0.0]]).double()) @ truth.R, t=truth.t, log_focal=truth.log_focal + 0.2)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for p in (truth, twisted, wrong):
            torch.testing.assert_close(cost(p, q), plain_cost(p, q), rtol=1e-9, atol=1e-9)
    finally:
        torch.set_num_threads(before)


def plain_cost(p: Poses, q: Problems) -> torch.Tensor:
    """As the docstring of `cost` says it."""
    each = torch.log1p((sampson(p, q) / q.threshold).square()).clamp(max=CLIP)
    near = (each < CLIP) & (q.share > 0)
    best = cheirality(p, q, near)
    rays_a, rays_b = rays(best, q)
    turned = best.R @ rays_a
    at_infinity = best.log_focal[:, 1, None, None].exp() * turned[:, :2] / turned[:, 2:].clamp(min=1e-6)
    behind = ~in_front(best.R, best.t, rays_a, rays_b) & ((at_infinity - q.b[:, :2]).square().sum(1) > (3 * q.threshold) ** 2)
    each = torch.where(near & behind, CLIP, each)
    prior = PRIOR_WEIGHT / 2 * ((p.log_focal - q.log_prior) / q.sigma).square().mean(1)
    return (q.share * each).sum(1) / q.share.sum(1) + prior
