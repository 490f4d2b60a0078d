"""Contains the growing of a point cloud: each point splits into several, guided by its neighbours and by the picture.

Snowflake point deconvolution with skip transformer (Xiang et al., "SnowflakeNet", ICCV 2021; SPD++, TPAMI 2022), written from the papers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recon.models.layers.acceleration import exact

NEIGHBOURS = 16


def two_layers(channels: int, hidden: int, out: int) -> nn.Sequential:
    """Two pointwise layers with a ReLU between."""
    return nn.Sequential(nn.Conv1d(channels, hidden, 1), nn.ReLU(), nn.Conv1d(hidden, out, 1))


class ResidualLayers(nn.Module):
    """Two pointwise layers beside a linear one."""

    def __init__(self, channels: int, hidden: int, out: int) -> None:
        super().__init__()
        self.conv_1, self.conv_2, self.conv_shortcut = nn.Conv1d(channels, hidden, 1), nn.Conv1d(hidden, out, 1), nn.Conv1d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:  # [B, C, N] -> [B, out, N]
        return self.conv_shortcut(x) + self.conv_2(F.relu(self.conv_1(x)))


def neighbours(points: Tensor, count: int) -> Tensor:  # [B, N, 3] -> [B, N, count] int64
    """The nearest points of each point, itself among them."""
    a, b = points[:, :, None], points[:, None]
    squares = sum((a[..., i] - b[..., i]).square_() for i in range(3))  # three passes: exact, and 20 times as fast as torch.cdist on a GPU
    return squares.topk(min(count, points.shape[1]), largest=False).indices  # type: ignore[union-attr]


def gather(x: Tensor, index: Tensor) -> Tensor:  # [B, C, N], [B, N, k] -> [B, C, N, k]
    """Values at the neighbours."""
    return x.gather(2, index.flatten(1)[:, None].expand(-1, x.shape[1], -1)).unflatten(2, index.shape[1:])


class SkipTransformer(nn.Module):
    """Attention of each point to its neighbours, channel by channel, between the features of this stage and the last."""

    def __init__(self, channels: int = 128, dim: int = 64) -> None:
        super().__init__()
        self.mlp_v = ResidualLayers(2 * channels, channels, channels)
        self.conv_key, self.conv_query, self.conv_value = (nn.Conv1d(channels, dim, 1) for _ in range(3))
        self.pos_mlp = nn.Sequential(nn.Conv2d(3, 64, 1), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, dim, 1))
        self.attn_mlp = nn.Sequential(nn.Conv2d(dim, 4 * dim, 1), nn.BatchNorm2d(4 * dim), nn.ReLU(), nn.Conv2d(4 * dim, dim, 1))
        self.conv_end = nn.Conv1d(dim, channels, 1)

    def forward(self, points: Tensor, key: Tensor, query: Tensor) -> Tensor:  # [B, 3, N], [B, C, N] twice -> [B, C, N]
        value = self.mlp_v(torch.cat([key, query], 1))
        index = neighbours(points.transpose(1, 2), NEIGHBOURS)
        place = self.pos_mlp(points[..., None] - gather(points, index))
        difference = self.conv_query(query)[..., None] - gather(self.conv_key(key), index)
        share = self.attn_mlp(difference + place).softmax(-1)
        return self.conv_end((share * (self.conv_value(value)[..., None] + place)).sum(-1)) + value


class Split(nn.Module):
    """Every point to `factor` points near it."""

    def __init__(self, features: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.mlp_1 = two_layers(3, 64, 128)
        self.mlp_2 = two_layers(2 * 128 + features, 256, 128)
        self.skip_transformer = SkipTransformer()
        self.mlp_ps = two_layers(128, 64, 32)
        self.ps = nn.ConvTranspose1d(32, 128, factor, factor, bias=False)
        self.mlp_delta_feature = ResidualLayers(256, 128, 128)
        self.mlp_delta = two_layers(128, 64, 3)

    def forward(self, points: Tensor, seen: Tensor, previous: Tensor | None) -> tuple[Tensor, Tensor]:
        """points [B, 3, N], what the picture shows there [B, C, N] and the last stage's features [B, 128, N] -> [B, 3, fN], [B, 128, fN]."""
        own = self.mlp_1(points)
        query = self.mlp_2(torch.cat([own, own.amax(2, keepdim=True).expand_as(own), seen], 1))
        hidden = self.skip_transformer(points, query if previous is None else previous, query)
        children = self.ps(self.mlp_ps(hidden))
        features = self.mlp_delta_feature(torch.cat([children, hidden.repeat_interleave(self.factor, 2)], 1))
        step = exact(self.mlp_delta[2], self.mlp_delta[:2](F.relu(features))).tanh()
        return points.repeat_interleave(self.factor, 2) + step, features
