"""Contains DINOv2 (Oquab et al., 2023) whose layer norms are modulated by a camera (adaLN, Peebles and Xie 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recon.models.layers.acceleration import constant
from recon.models.layers.vit import NORM_EPS, Mlp, attend

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pictures


@dataclass(frozen=True)
class DinoParams:
    """Sizes of the encoder; the defaults are those of dinov2-base."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    patch: int = 14
    positions: int = 37  # patches along each side of the pictures that it was trained on


class Modulation(nn.Module):
    """A scale and a shift from a condition."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.linear2 = nn.Linear(condition, 2 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:  # [B, N, D], [B, C] -> [B, N, D]
        scale, shift = self.linear2(F.silu(condition))[:, None].chunk(2, -1)
        return x * (1 + scale) + shift


class DinoLayer(nn.Module):
    """Self attention and MLP around the identity, scaled and modulated."""

    def __init__(self, params: DinoParams, condition: int) -> None:
        super().__init__()
        d, self.heads = params.width, params.heads
        self.norm1, self.norm2 = nn.LayerNorm(d, NORM_EPS), nn.LayerNorm(d, NORM_EPS)
        self.query, self.key, self.value, self.out = (nn.Linear(d, d) for _ in range(4))
        self.scale1, self.scale2 = nn.Parameter(torch.ones(d)), nn.Parameter(torch.ones(d))
        self.mlp = Mlp(d, 4 * d)
        self.modulation1, self.modulation2 = Modulation(d, condition), Modulation(d, condition)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:  # [B, N, D], [B, C] -> [B, N, D]
        y = self.modulation1(self.norm1(x), condition)
        x = x + self.scale1 * self.out(attend(self.query(y), self.key(y), self.value(y), self.heads))
        return x + self.scale2 * self.mlp(self.modulation2(self.norm2(x), condition))


class Dino(nn.Module):
    """Images to tokens: one of the whole picture, then one a patch, row by row."""

    def __init__(self, params: DinoParams, condition: int) -> None:
        super().__init__()
        self.params = params
        d = params.width
        self.cls_token = nn.Parameter(torch.zeros(1, 1, d))
        self.mask_token = nn.Parameter(torch.zeros(1, d))  # of the pre-training; in every published file, never read
        self.position_embeddings = nn.Parameter(torch.randn(1, params.positions**2 + 1, d) * 0.02)
        self.patch_embed = nn.Conv2d(3, d, params.patch, params.patch)
        self.layers = nn.ModuleList(DinoLayer(params, condition) for _ in range(params.depth))
        self.norm = nn.LayerNorm(d, NORM_EPS)

    def positions(self, rows: int, columns: int) -> Tensor:  # [1, rows * columns, D]
        """The patches' learned positions, resampled to another grid."""
        side = self.params.positions
        grid = self.position_embeddings[:, 1:].transpose(1, 2).unflatten(2, (side, side)).float()
        if (rows, columns) != (side, side):
            factor = ((rows + 0.1) / side, (columns + 0.1) / side)  # the tenth keeps the size from being rounded down, and moves the samples a little
            grid = F.interpolate(grid, scale_factor=factor, mode="bicubic", align_corners=False)
        return grid.flatten(2).transpose(1, 2)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:  # [B, 3, H, W] 0..1, [B, C] -> [B, 1 + N, D]
        mean, std = (constant(values, images.device)[:, None, None] for values in (MEAN, STD))
        normal = (images - mean) / std
        patches = self.patch_embed(normal)
        x = patches.flatten(2).transpose(1, 2) + self.positions(*patches.shape[2:])
        whole = (self.cls_token + self.position_embeddings[:, :1]).expand(len(x), -1, -1)
        x = torch.cat([whole, x], 1)
        for layer in self.layers:
            x = layer(x, condition)
        return self.norm(x)
