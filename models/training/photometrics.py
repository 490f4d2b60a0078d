"""Contains what a camera does to light: exposure, tone, white balance, vignetting, blur, noise, JPEG; drawn for each view."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from recon.models.training.dice import Dice


def dct_matrix(device: torch.device) -> Tensor:  # [8, 8]
    """The orthonormal DCT-II of JPEG's blocks (ITU T.81, A.3.3)."""
    k, n = torch.arange(8, device=device).float()[:, None], torch.arange(8, device=device).float()
    matrix = torch.cos(math.pi * (2 * n + 1) * k / 16) / 2
    return torch.cat([matrix[:1] / math.sqrt(2), matrix[1:]])


def compress(x: Tensor, strength: Tensor) -> Tensor:  # [N, 3, H, W], [N] -> [N, 3, H, W]
    """Quantises the 8x8 DCT of the pixels with steps that grow with frequency, in 0..1 units; strength is the step of the lowest."""
    d = dct_matrix(x.device)
    height, width = x.shape[-2] // 8 * 8, x.shape[-1] // 8 * 8
    blocks = x[..., :height, :width].unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)  # [N, 3, h, w, 8, 8]
    frequency = torch.arange(8, device=x.device)
    step = strength[:, None, None, None, None, None] * (1 + 0.7 * (frequency[:, None] + frequency))
    spectrum = d @ blocks @ d.T
    spectrum = (spectrum / step).round() * step
    out = x.clone()
    out[..., :height, :width] = (d.T @ spectrum @ d).transpose(-3, -2).flatten(-4, -3).flatten(-2, -1)
    return out


def expose(dice: Dice, color: Tensor, seen: Tensor) -> Tensor:  # [B, V, H, W, 3] 0..1, [B, V, H, W] bool -> [B, V, H, W, 3] 0..1
    """Brings the mean of what is seen of each scene to a usual brightness, as a camera's meter does."""
    mean = (color.mean(-1) * seen).sum((1, 2, 3)) / seen.sum((1, 2, 3)).clamp(min=1)
    gain = dice.uniform(0.25, 0.55, len(color)) / mean.clamp(min=0.02)
    return (color * gain.clamp(0.6, 5)[:, None, None, None, None]).clamp(max=1)


def develop(dice: Dice, color: Tensor) -> Tensor:  # [B, V, H, W, 3] 0..1 -> [B, V, 3, H, W] 0..1
    """The pictures as different cameras would give them; every view is drawn on its own."""
    batch, views, height, width, _ = color.shape
    x = color.permute(0, 1, 4, 2, 3).flatten(0, 1)
    n = len(x)
    r = lambda low, high: dice.uniform(low, high, n, 1, 1, 1)
    y_axis, x_axis = torch.linspace(-1, 1, height, device=x.device)[:, None], torch.linspace(-1, 1, width, device=x.device)
    x = x * (1 - r(0, 0.35) * dice.chance(0.4, n, 1, 1, 1) * (x_axis**2 + y_axis**2) / 2)
    x = x.clamp(1e-4, 1) ** r(-0.25, 0.25).exp()
    x = x * r(0.8, 1.25) * (1 + dice.normal(n, 3, 1, 1) * 0.05)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * r(0.8, 1.25) + mean
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * r(0.4, 1.4)
    kernel = torch.tensor([1.0, 2.0, 1.0], device=x.device) / 4
    blurred = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), (kernel[:, None] * kernel).expand(3, 1, 3, 3), groups=3)
    x = torch.lerp(x, blurred, r(0, 1) * dice.chance(0.5, n, 1, 1, 1))
    x = x + dice.normal(*x.shape) * r(0, 0.025) * dice.chance(0.6, n, 1, 1, 1)
    x = x.clamp(0, 1)
    x = torch.where(dice.chance(0.4, n, 1, 1, 1), compress(x, dice.log_uniform(0.01, 0.08, n)), x)
    return x.clamp(0, 1).unflatten(0, (batch, views))
