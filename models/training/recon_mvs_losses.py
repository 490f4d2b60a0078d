"""Contains the training losses of recon-mvs: the planes of its three sweeps, log depth, its slopes and confidence, validity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.models.recon_mvs.network import Stage, SweptDepth
from recon.models.training.correspondence import cell_depth

STAGE_WEIGHTS = (1.0, 0.7, 0.5)
SMOOTH_STEP = 0.2  # of log depth between neighbours, up to which they count as one surface


def mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of the values where mask is true, 0 where it nowhere is."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def stage_target(depth: Tensor, mask: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Inverse depth [M, 1, h, w] at the centres of a stage's cells and where it is known, of depth and mask [M, H, W].

    Where the four pixels about the centre see several surfaces, that of one of them.
    """
    z, smooth = (x[:, 0] for x in cell_depth(torch.where(mask, depth, 0.0)[:, None], stride))
    middle = slice(stride // 2, None, stride)
    known, one = mask[:, middle, middle], depth[:, middle, middle]
    return 1 / torch.where(smooth, z, one).clamp(min=1e-3)[:, None], (smooth | known)[:, None]


def stage_loss(stage: Stage, target: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy to the two planes about the truth plus a Huber loss of what is decided, in planes; and the share within one plane."""
    planes = stage.logits.shape[1]
    plane = (target - stage.first) / stage.step
    inside = (plane > -0.5) & (plane < planes - 0.5) & known
    plane = plane.clamp(0, planes - 1)
    lower = plane.long().clamp(max=planes - 2)
    logits = stage.logits.float()
    both = torch.lerp(logits.gather(1, lower), logits.gather(1, lower + 1), plane - lower)
    error = ((stage.inverse_depth - target) / stage.step).abs()
    huber = torch.where(error < 1, 0.5 * error.square(), error - 0.5).clamp(max=8)
    loss = mean_where(logits.logsumexp(1, keepdim=True) - both, inside) + 0.3 * mean_where(huber, known)
    return loss, mean_where((error < 1).float(), known)


def slope_loss(log_depth: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Difference of the steps of log depth over 1 and 4 pixels inside surfaces. All [M, H, W]."""
    loss = log_depth.new_zeros(())
    for step in (1, 4):
        for dim in (-1, -2):
            n = log_depth.shape[dim] - step
            ahead, here = (lambda x, d=dim, s=step, n=n: x.narrow(d, s, n)), (lambda x, d=dim, n=n: x.narrow(d, 0, n))
            true = ahead(truth) - here(truth)
            smooth = ahead(mask) & here(mask) & (true.abs() < SMOOTH_STEP)
            loss = loss + mean_where((ahead(log_depth) - here(log_depth) - true).abs().clamp(max=0.5), smooth)
    return loss


def total_loss(out: SweptDepth, depth: Tensor, mask: Tensor, sky: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum and its parts; depth [M, H, W] true z, mask where it counts, sky where there is nothing (bool; a pixel may be neither)."""
    loss, hits = depth.new_zeros(()), {}
    for stage, weight in zip(out.stages, STAGE_WEIGHTS, strict=True):
        stride = depth.shape[-1] // stage.inverse_depth.shape[-1]
        part, hits[f"hits{stride}"] = stage_loss(stage, *stage_target(depth, mask, stride))
        loss = loss + weight * part
    log_depth, truth = -out.inverse_depth.log(), depth.clamp(min=1e-3).log()
    error = (log_depth - truth).abs()
    bounded = error.clamp(max=1.0)
    l1 = mean_where(bounded, mask)
    slope = slope_loss(log_depth, truth, mask)
    likelihood = mean_where(bounded.detach() / out.log_b.exp() + out.log_b, mask)
    validity = mean_where(F.binary_cross_entropy_with_logits(out.validity, mask.float(), reduction="none"), mask | sky)
    loss = loss + 8 * l1 + 4 * slope + 0.1 * likelihood + 0.1 * validity
    off = mean_where((error > 0.05).float(), mask)
    relative = mean_where(error.clamp(max=3).expm1(), mask)
    parts = dict(loss=loss, l1=l1, relative=relative, off5=off, slope=slope, likelihood=likelihood, validity=validity)
    return loss, {name: value.detach() for name, value in (parts | hits).items()}
