"""Contains the transformer block and the convolutional parts that several networks share."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def rope_tables(rows: int, columns: int, dim: int, device: torch.device, base: float = 100.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines [rows*columns, dim/2] of RoPE-2D (first half of the pairs y, second half x; Heo et al. 2024)."""
    quarter = dim // 4
    frequency = base ** (-torch.arange(quarter, device=device) / quarter)
    y, x = torch.meshgrid(
        torch.arange(rows, device=device).float(), torch.arange(columns, device=device).float(), indexing="ij"
    )
    angle = torch.cat([y.reshape(-1, 1) * frequency, x.reshape(-1, 1) * frequency], -1)
    return angle.cos(), angle.sin()


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [..., N, dim] rotated by the tables of rope_tables, in x's own dtype."""
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1).to(x.dtype)


class Block(nn.Module):
    """Pre-norm transformer block with RoPE-2D, normalised queries and keys, and LayerScale."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.query_norm = nn.LayerNorm(dim // heads)
        self.key_norm = nn.LayerNorm(dim // heads)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp_ratio * dim), nn.GELU(), nn.Linear(mlp_ratio * dim, dim))
        self.scale1 = nn.Parameter(torch.full((dim,), 0.1))
        self.scale2 = nn.Parameter(torch.full((dim,), 0.1))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # [B, N, D] -> [B, N, D]
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q = apply_rope(self.query_norm(q), cos, sin).to(v.dtype)
        k = apply_rope(self.key_norm(k), cos, sin).to(v.dtype)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d)
        x = x + self.scale1 * self.proj(attended)
        return x + self.scale2 * self.mlp(self.norm2(x))


class ResidualConv(nn.Module):
    """Two 3x3 convolutions around the identity, group-normalised."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:  # [B, C, H, W] -> [B, C, H, W]
        return x + self.conv2(F.gelu(self.conv1(F.gelu(self.norm(x)))))


class DenseHead(nn.Module):
    """Token maps at stride 16 to a dense map: taps summed, two pixel-shuffle stages x2, then x4 (ESPCN, Shi et al. 2016)."""

    def __init__(self, dim: int, taps: int, out_channels: int, channels: int = 160) -> None:
        super().__init__()
        self.taps = nn.ModuleList(nn.Linear(dim, channels) for _ in range(taps))
        half, third = channels // 2, channels // 3 // 8 * 8
        self.conv0 = nn.Conv2d(channels, channels, 3, padding=1)
        self.up1 = nn.Conv2d(channels, 4 * half, 3, padding=1)
        self.conv1 = nn.Conv2d(half, half, 3, padding=1)
        self.up2 = nn.Conv2d(half, 4 * third, 3, padding=1)
        self.conv2 = nn.Conv2d(third, third, 3, padding=1)
        self.out = nn.Conv2d(third, out_channels * 16, 3, padding=1)
        nn.init.normal_(self.out.weight, std=1e-3)
        nn.init.zeros_(self.out.bias)  # pyright: ignore[reportArgumentType] (it has one)

    def trunk(self, features: list[Tensor], rows: int, columns: int) -> Tensor:  # taps x [B, N, D] -> [B, third, 4r, 4c]
        """What `out` reads; other outputs may read it too."""
        x = torch.stack([tap(f) for tap, f in zip(self.taps, features, strict=True)]).sum(0)
        x = x.transpose(1, 2).reshape(x.shape[0], -1, rows, columns)
        x = x + F.gelu(self.conv0(x))
        x = F.pixel_shuffle(self.up1(F.gelu(x)), 2)
        x = x + F.gelu(self.conv1(x))
        x = F.pixel_shuffle(self.up2(F.gelu(x)), 2)
        return F.gelu(x + F.gelu(self.conv2(x)))

    def forward(self, features: list[Tensor], rows: int, columns: int) -> Tensor:  # taps x [B, N, D] -> [B, C, 16r, 16c]
        return F.pixel_shuffle(self.out(self.trunk(features, rows, columns)), 4)
