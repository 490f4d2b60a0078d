"""Contains what a rendered picture is compared by: mean absolute difference, SSIM and PSNR where the inputs see, opacity where there is nothing."""

from __future__ import annotations

import torch
from torch import Tensor

WINDOW, SIGMA = 11, 1.5  # of SSIM
C1, C2 = 0.01**2, 0.03**2
SSIM_WEIGHT, EMPTY_WEIGHT = 0.2, 0.05


def bell(size: int, device: torch.device) -> Tensor:  # [size, size]
    """Matrix that blurs a line of pixels by SSIM's window, cut off at the ends; a matrix since convolutions may round to TF32."""
    x = torch.arange(size, device=device)
    away = (x[:, None] - x).float()
    weight = torch.exp(-0.5 * (away / SIGMA) ** 2) * (away.abs() <= WINDOW // 2)
    return weight / weight.sum(1, keepdim=True)


def ssim(a: Tensor, b: Tensor) -> Tensor:  # [T, H, W, 3] 0..1 twice -> [T, H, W]
    """Structural similarity of every pixel's neighbourhood under a Gaussian window, mean of the channels (Wang et al. 2004, eq. 13)."""
    rows, columns = bell(a.shape[1], a.device), bell(a.shape[2], a.device)
    both = torch.cat([a, b, a * a, b * b, a * b], -1).permute(0, 3, 1, 2)
    mean_a, mean_b, square_a, square_b, product = (rows @ both @ columns.T).split(3, 1)
    var_a, var_b, covariance = square_a - mean_a**2, square_b - mean_b**2, product - mean_a * mean_b
    similarity = (2 * mean_a * mean_b + C1) * (2 * covariance + C2) / ((mean_a**2 + mean_b**2 + C1) * (var_a + var_b + C2))
    return similarity.mean(1)


def mean_where(values: Tensor, mask: Tensor) -> Tensor:  # [T, H, W], [T, H, W] bool -> [T]
    """Each picture's mean over its mask; 0 where that is empty."""
    return (values * mask).sum((1, 2)) / mask.sum((1, 2)).clamp(min=1)


def picture_loss(color: Tensor, alpha: Tensor, truth: Tensor, seen: Tensor, empty: Tensor) -> Tensor:  # -> [T]
    """Loss of T pictures [T, H, W, 3], alpha [T, H, W]: L1 and SSIM over `seen`, opacity over `empty` (both [T, H, W] bool)."""
    shown = torch.where(seen[..., None], color, truth)  # SSIM's windows reach beyond the mask
    l1 = mean_where((color - truth).abs().mean(-1), seen)
    return l1 + SSIM_WEIGHT * mean_where(1 - ssim(shown, truth), seen) + EMPTY_WEIGHT * (alpha * empty).mean((1, 2))


def psnr(color: Tensor, truth: Tensor, seen: Tensor) -> Tensor:  # [T, H, W, 3] twice, [T, H, W] bool -> [T]
    """dB over what is seen."""
    return -10 * mean_where((color - truth).square().mean(-1), seen).clamp(min=1e-8).log10()
