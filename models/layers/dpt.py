"""Contains the dense prediction transformer's head (Ranftl et al., "Vision Transformers for Dense Prediction", ICCV 2021, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recon.models.layers.acceleration import exact_pointwise


@dataclass(frozen=True)
class DptParams:
    """Sizes of a head."""

    layer_dims: tuple[int, int, int, int] = (96, 192, 384, 768)  # channels of the four maps, at strides 4, 8, 16 and 32
    features: int = 256
    last_dim: int = 128


class Twice(nn.Module):
    """Bilinear, with the corners' centres kept in place; in x's own dtype, which autocast would widen."""

    def forward(self, x: Tensor) -> Tensor:  # [B, C, H, W] -> [B, C, 2H, 2W]
        with torch.autocast(x.device.type, enabled=False):
            return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class ResidualUnit(nn.Module):
    """Two convolutions after ReLUs, around the identity; the identity is the value before the ReLU."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # [B, F, H, W] -> [B, F, H, W]
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Fusion(nn.Module):
    """A coarser path and the map of this level to a path at twice the resolution."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.skip = ResidualUnit(features)  # the coarsest level has one too in published files, and does not use it
        self.unit = ResidualUnit(features)
        self.out = nn.Conv2d(features, features, 1)
        self.twice = Twice()

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:  # [B, F, H, W] -> [B, F, 2H, 2W]
        x = x if level is None else x + self.skip(level)
        return self.twice(self.out(self.unit(x)))  # as the paper's interpolation before a 1 x 1 convolution, at a quarter of its cost


class DptHead(nn.Module):
    """Tokens of four depths at stride `16` to a map at full resolution."""

    def __init__(self, token_dims: Sequence[int], out_channels: int, params: DptParams = DptParams()) -> None:
        super().__init__()
        dims, features = params.layer_dims, params.features
        lifted = [nn.Sequential(nn.Conv2d(t, d, 1)) for t, d in zip(token_dims, dims, strict=True)]
        lifted[0].append(nn.ConvTranspose2d(dims[0], dims[0], 4, 4))
        lifted[1].append(nn.ConvTranspose2d(dims[1], dims[1], 2, 2))
        lifted[3].append(nn.Conv2d(dims[3], dims[3], 3, 2, 1))
        self.lift = nn.ModuleList(lifted)
        self.level = nn.ModuleList(nn.Conv2d(d, features, 3, padding=1, bias=False) for d in dims)
        self.fusion = nn.ModuleList(Fusion(features) for _ in dims)
        self.head = nn.Sequential(
            nn.Conv2d(features, features // 2, 3, padding=1), Twice(),
            nn.Conv2d(features // 2, params.last_dim, 3, padding=1), nn.ReLU(), nn.Conv2d(params.last_dim, out_channels, 1),
        )  # fmt: skip

    def forward(self, tokens: Sequence[Tensor], rows: int, columns: int) -> Tensor:  # 4 x [B, N, D] -> [B, C, 16 rows, 16 columns]
        maps = [t.transpose(1, 2).unflatten(2, (rows, columns)) for t in tokens]
        levels = [level(lift(x)) for level, lift, x in zip(self.level, self.lift, maps, strict=True)]
        path = self.fusion[3](levels[3])[:, :, : levels[2].shape[2], : levels[2].shape[3]]  # odd grids: the coarsest map was rounded up
        for i in (2, 1, 0):
            path = self.fusion[i](path, levels[i])
        last = self.head[-1]
        assert isinstance(last, nn.Conv2d), last
        return exact_pointwise(last, self.head[:-1](path))
