"""Contains the U-Net of latent diffusion (Rombach et al., CVPR 2022) without time, normalised after each convolution, attending over all views.

Views lie along the batch as (view, scene): attention joins the tokens of a scene's views, so that features cross between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD_CHANNELS = 32
GROUPS = 8


@dataclass(frozen=True)
class UNetParams:
    """Sizes: channels, levels of equal width, and the strides at which views attend to each other."""

    channels: int
    levels: int
    attention_at: tuple[int, ...]


class ResidualBlock(nn.Module):
    """Two convolutions, each normalised and passed through SiLU, around the identity."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), nn.GroupNorm(GROUPS, out), nn.SiLU())
        self.out_layers = nn.Sequential(nn.Conv2d(out, out, 3, padding=1), nn.GroupNorm(GROUPS, out), nn.SiLU())
        self.skip_connection = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: Tensor, views: int) -> Tensor:  # [V B, C, h, w] -> [V B, out, h, w]
        return self.skip_connection(x) + self.out_layers(self.in_layers(x))


class ViewAttention(nn.Module):
    """Attention among all cells of all views of a scene, normalised view by view after it, around the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // HEAD_CHANNELS
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)
        self.norm = nn.GroupNorm(GROUPS, channels)

    def forward(self, x: Tensor, views: int) -> Tensor:  # [V B, C, h, w] -> [V B, C, h, w]
        joined = x.unflatten(0, (views, -1)).permute(1, 2, 0, 3, 4).flatten(2)  # [B, C, V h w]
        q, k, v = self.qkv(joined).unflatten(1, (self.heads, 3, -1)).permute(2, 0, 1, 4, 3)  # [B, heads, V h w, C / heads]
        message = self.proj_out(F.scaled_dot_product_attention(q, k, v).transpose(2, 3).flatten(1, 2))
        return x + self.norm(message.unflatten(2, (views, *x.shape[2:])).permute(2, 0, 1, 3, 4).flatten(0, 1))


class Down(nn.Module):
    """Half the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, 2, 1)

    def forward(self, x: Tensor, views: int) -> Tensor:
        return self.op(x)


class Up(nn.Module):
    """Twice the resolution, by repetition and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, views: int) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2))


class UNet(nn.Module):
    """Maps of all views at one resolution to maps of the same size."""

    def __init__(self, params: UNetParams) -> None:
        super().__init__()
        c = params.channels
        strides = [2**level for level in range(params.levels)]
        first = nn.ModuleList([nn.Conv2d(c, c, 3, padding=1)])
        self.input_blocks, self.output_blocks = nn.ModuleList([first]), nn.ModuleList()
        for stride in strides:
            attention = [ViewAttention(c)] if stride in params.attention_at else []
            self.input_blocks.append(nn.ModuleList([ResidualBlock(c, c), *attention]))
            if stride != strides[-1]:
                self.input_blocks.append(nn.ModuleList([Down(c)]))
        self.middle_block = nn.ModuleList([ResidualBlock(c, c), nn.Identity(), ResidualBlock(c, c)])  # published files number it so
        for stride in reversed(strides):
            for last in (False, True):
                attention = [ViewAttention(c)] if stride in params.attention_at else []
                up = [Up(c)] if last and stride > 1 else []
                self.output_blocks.append(nn.ModuleList([ResidualBlock(2 * c, c), *attention, *up]))
        self.out = nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.GroupNorm(GROUPS, c), nn.SiLU())

    def forward(self, x: Tensor, views: int) -> Tensor:  # [V B, C, h, w] -> [V B, C, h, w]; sides multiples of 2^(levels - 1)
        (stem,), *blocks = self.input_blocks  # type: ignore[misc]
        skips = [stem(x)]
        for block in blocks:
            skips.append(_through(block, skips[-1], views))
        x = self.middle_block[2](self.middle_block[0](skips[-1], views), views)
        for block in self.output_blocks:
            x = _through(block, torch.cat([x, skips.pop()], 1), views)
        return self.out(x)


def _through(parts: nn.Module, x: Tensor, views: int) -> Tensor:
    for part in parts.children():
        x = part(x, views)
    return x
