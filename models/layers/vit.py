"""Contains the transformer parts of the published networks: RoPE-2D, self and cross attention, and the encoder and decoder blocks made of them.

Pre-norm blocks with exact GELU and LayerNorm eps 1e-6 (Dosovitskiy et al. 2021; CroCo v2, Weinzaepfel et al. 2023, for the decoder).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recon.models.layers.blocks import rope_tables

NORM_EPS = 1e-6
Rope = tuple[Tensor, Tensor]  # cosines and sines [N, dim/2] of `rope_tables`


def rope(rows: int, columns: int, head_dim: int, device: torch.device) -> Rope:
    """The tables for a grid of tokens in row-major order, positions from 0, base 100."""
    return rope_tables(rows, columns, head_dim, device)


def rotate_by_axis(x: Tensor, tables: Rope) -> Tensor:  # [..., N, dim] -> [..., N, dim], in x's own dtype
    """x rotated: the first half of its channels by y, the second by x, each half in pairs (i, i + dim/4)."""
    cos, sin = (t.unflatten(-1, (2, -1)) for t in tables)  # [N, 2, dim/4]
    a, b = x.float().unflatten(-1, (2, 2, -1)).unbind(-2)
    return torch.stack([a * cos - b * sin, b * cos + a * sin], -2).flatten(-3).to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, q_rope: Rope | None = None, k_rope: Rope | None = None) -> Tensor:
    """Softmax attention of q [B, N, D] over k, v [B, M, D] in `heads` heads, queries and keys rotated where tables are given."""
    split = lambda x: x.unflatten(-1, (heads, -1)).transpose(1, 2)
    q, k, v = split(q), split(k), split(v)
    q = q if q_rope is None else rotate_by_axis(q, q_rope)
    k = k if k_rope is None else rotate_by_axis(k, k_rope)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, dim: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, out or dim)

    def forward(self, x: Tensor) -> Tensor:  # [..., D] -> [..., out]
        return self.fc2(F.gelu(self.fc1(x)))


class SelfAttention(nn.Module):
    """Attention of tokens among themselves."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, tables: Rope | None) -> Tensor:  # [B, N, D] -> [B, N, D]
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.proj(attend(q, k, v, self.heads, tables, tables))


class CrossAttention(nn.Module):
    """Attention of one view's tokens over another's."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projq = nn.Linear(dim, dim)
        self.projk = nn.Linear(dim, dim)
        self.projv = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, y: Tensor, x_rope: Rope, y_rope: Rope) -> Tensor:  # [B, N, D], [B, M, D] -> [B, N, D]
        return self.proj(attend(self.projq(x), self.projk(y), self.projv(y), self.heads, x_rope, y_rope))


class EncoderBlock(nn.Module):
    """Self attention and MLP, each around the identity."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, NORM_EPS)
        self.attn = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, NORM_EPS)
        self.mlp = Mlp(dim, mlp_ratio * dim)

    def forward(self, x: Tensor, tables: Rope) -> Tensor:  # [B, N, D] -> [B, N, D]
        x = x + self.attn(self.norm1(x), tables)
        return x + self.mlp(self.norm2(x))


class DecoderBlock(nn.Module):
    """Self attention, attention over the other view's tokens, and MLP, each around the identity."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, NORM_EPS)
        self.attn = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, NORM_EPS)
        self.norm_y = nn.LayerNorm(dim, NORM_EPS)
        self.cross_attn = CrossAttention(dim, heads)
        self.norm3 = nn.LayerNorm(dim, NORM_EPS)
        self.mlp = Mlp(dim, mlp_ratio * dim)

    def forward(self, x: Tensor, y: Tensor, x_rope: Rope, y_rope: Rope) -> Tensor:  # [B, N, D], [B, M, D] -> [B, N, D]
        x = x + self.attn(self.norm1(x), x_rope)
        x = x + self.cross_attn(self.norm2(x), self.norm_y(y), x_rope, y_rope)
        return x + self.mlp(self.norm3(x))
