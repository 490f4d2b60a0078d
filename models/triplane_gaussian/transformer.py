"""Contains the transformer that turns learned tokens, of points or of planes, into those of the object in a picture."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from recon.models.layers.vit import attend

GROUPS = 32


class CrossAttention(nn.Module):
    """Attention over context; queries, keys and values without bias."""

    def __init__(self, dim: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = nn.Linear(dim, dim, bias=False), nn.Linear(context, dim, bias=False), nn.Linear(context, dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:  # [B, N, D], [B, M, C] -> [B, N, D]
        return self.to_out(attend(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


class Block(nn.Module):
    """Self attention, attention over the picture, and a gated MLP (GEGLU, Shazeer 2020), each around the identity."""

    def __init__(self, dim: int, context: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn1, self.attn2 = CrossAttention(dim, dim, heads), CrossAttention(dim, context, heads)
        self.gate = nn.Linear(dim, 8 * dim)
        self.out = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:  # [B, N, D], [B, M, C] -> [B, N, D]
        y = self.norm1(x)
        x = x + self.attn1(y, y)
        x = x + self.attn2(self.norm2(x), context)
        value, gate = self.gate(self.norm3(x)).chunk(2, -1)
        return x + self.out(value * F.gelu(gate))


class TokenTransformer(nn.Module):
    """Tokens that read a picture's tokens, as a change to what they are."""

    def __init__(self, dim: int, context: int, heads: int, depth: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, dim, eps=1e-6)
        self.proj_in = nn.Linear(dim, dim)
        self.blocks = nn.ModuleList(Block(dim, context, heads) for _ in range(depth))
        self.proj_out = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:  # [B, D, N], [B, M, C] -> [B, D, N]
        x = self.proj_in(self.norm(tokens).transpose(1, 2))
        for block in self.blocks:
            x = block(x, context)
        return tokens + self.proj_out(x).transpose(1, 2)
