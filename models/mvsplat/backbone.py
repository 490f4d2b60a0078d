"""Contains MVSplat's features: a convolutional encoder and a transformer whose windows attend within a view and across views.

The encoder and transformer of GMFlow and UniMatch (Xu et al., CVPR 2022; TPAMI 2023), with cross attention to all other views.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pictures
LAYERS = 6
MASKED = -100.0  # logit of a pair of cells that the shift brought together


class ConvBlock(nn.Module):
    """Two convolutions with instance normalisation around the identity."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.downsample = nn.Conv2d(channels, out, 1, stride) if (channels, stride) != (out, 1) else None

    def forward(self, x: Tensor) -> Tensor:  # [N, C, h, w] -> [N, out, h / stride, w / stride]
        y = F.relu(F.instance_norm(self.conv1(x)))
        y = F.relu(F.instance_norm(self.conv2(y)))
        return F.relu(y + (x if self.downsample is None else F.instance_norm(self.downsample(x))))


class Encoder(nn.Module):
    """Images to features at stride 4."""

    mean: Tensor
    std: Tensor

    def __init__(self, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.layer1 = nn.Sequential(ConvBlock(64, 64, 1), ConvBlock(64, 64, 1))
        self.layer2 = nn.Sequential(ConvBlock(64, 96, 2), ConvBlock(96, 96, 1))
        self.layer3 = nn.Sequential(ConvBlock(96, 128, 1), ConvBlock(128, 128, 1))
        self.conv2 = nn.Conv2d(128, out, 1)
        for name, values in (("mean", MEAN), ("std", STD)):
            # no weights hold them: real values also where the module is built without memory (the meta device)
            self.register_buffer(name, torch.tensor(values, device="cpu")[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:  # [N, 3, H, W] 0..1 -> [N, C, H / 4, W / 4]
        normal = (images - self.mean) / self.std
        x = F.relu(F.instance_norm(self.conv1(normal)))
        return self.conv2(self.layer3(self.layer2(self.layer1(x))))


def sine_position(rows: int, columns: int, channels: int, device: torch.device) -> Tensor:  # [channels, rows, columns]
    """Sines and cosines of the place in a window, half the channels for y, half for x (Carion et al. 2020)."""
    quarter = channels // 4
    frequency = 10000 ** (-torch.arange(quarter, device=device) / quarter)
    y, x = ((torch.arange(1, n + 1, device=device) / (n + 1e-6) * 2 * math.pi)[:, None] * frequency for n in (rows, columns))
    y, x = (torch.stack([a.sin(), a.cos()], -1).flatten(1) for a in (y, x))  # [n, channels / 2]
    return torch.cat([y[:, None].expand(-1, columns, -1), x[None].expand(rows, -1, -1)], -1).permute(2, 0, 1)


def to_windows(x: Tensor, splits: int) -> Tensor:  # [..., h, w, C] -> [..., splits * splits, cells, C]
    """Maps cut into windows."""
    h, w = x.shape[-3:-1]
    cut = x.unflatten(-2, (splits, w // splits)).unflatten(-4, (splits, h // splits))
    return cut.transpose(-4, -3).flatten(-3, -2).flatten(-4, -3)


def from_windows(x: Tensor, splits: int, height: int, width: int) -> Tensor:  # the inverse of to_windows
    """Windows put together to maps."""
    cut = x.unflatten(-2, (height // splits, width // splits)).unflatten(-4, (splits, splits))
    return cut.transpose(-4, -3).flatten(-5, -4).flatten(-3, -2)


def shift_mask(height: int, width: int, splits: int, device: torch.device) -> Tensor:  # [splits * splits, cells, cells]
    """What is added to the logits of shifted windows: the last row and column of windows hold cells of opposite borders (Liu et al., Swin, 2021)."""

    def strips(size: int) -> Tensor:
        window = size // splits
        place = torch.arange(size, device=device)
        return (place >= size - window).long() + (place >= size - window // 2)

    region = to_windows((strips(height)[:, None] * 3 + strips(width))[..., None], splits)[..., 0]
    return (region[:, :, None] != region[:, None, :]) * MASKED


class Attention(nn.Module):
    """Attention with one head in windows, and for `feed_forward` an MLP of source and message; the message is normalised and added."""

    def __init__(self, dim: int, *, feed_forward: bool) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.merge = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.norm1 = nn.LayerNorm(dim)
        self.mlp: nn.Sequential | None = None
        if feed_forward:
            self.mlp = nn.Sequential(nn.Linear(2 * dim, 8 * dim, bias=False), nn.GELU(), nn.Linear(8 * dim, dim, bias=False))
            self.norm2 = nn.LayerNorm(dim)

    def forward(self, source: Tensor, target: Tensor, splits: int, mask: Tensor | None) -> Tensor:
        """source [N, h, w, C] attends to target [N, M, h, w, C], window by window; mask [windows, cells, cells] of shifted windows."""
        height, width = source.shape[1:3]
        q, k, v = self.q_proj(source), self.k_proj(target), self.v_proj(target)
        if mask is not None:
            shift = (-(height // splits // 2), -(width // splits // 2))
            q, k, v = (x.roll(shift, (-3, -2)) for x in (q, k, v))
        q = to_windows(q, splits)  # [N, windows, cells, C]
        k, v = (to_windows(x, splits).permute(0, 2, 3, 1, 4).flatten(2, 3) for x in (k, v))  # [N, windows, cells M, C]
        bias = None if mask is None else mask.repeat(1, 1, target.shape[1]).to(q.dtype)  # views in turn, unlike the keys: so the weights were trained
        message = from_windows(F.scaled_dot_product_attention(q, k, v, bias), splits, height, width)
        if mask is not None:
            message = message.roll((height // splits // 2, width // splits // 2), (-3, -2))
        message = self.norm1(self.merge(message))
        if self.mlp is not None:
            message = self.norm2(self.mlp(torch.cat([source, message], -1)))
        return source + message


class TransformerLayer(nn.Module):
    """Each view's windows attend to themselves, then to those of all other views."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.self_attn = Attention(dim, feed_forward=False)
        self.cross_attn_ffn = Attention(dim, feed_forward=True)

    def forward(self, x: Tensor, splits: int, mask: Tensor | None) -> Tensor:  # [V, B, h, w, C] -> [V, B, h, w, C]
        views = len(x)
        others = torch.stack([torch.cat([x[:i], x[i + 1 :]]).transpose(0, 1) for i in range(views)])  # [V, B, V - 1, h, w, C]
        own = x.flatten(0, 1)
        attended = self.self_attn(own, own[:, None], splits, mask)
        return self.cross_attn_ffn(attended, others.flatten(0, 1), splits, mask).view_as(x)


class Backbone(nn.Module):
    """Images of several views to features that know of each other."""

    def __init__(self, dim: int, splits: int) -> None:
        super().__init__()
        self.splits = splits
        self.encoder = Encoder(dim)
        self.layers = nn.ModuleList(TransformerLayer(dim) for _ in range(LAYERS))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # [B, V, 3, H, W] 0..1 -> twice [V, B, C, H / 4, W / 4]
        """Features after the transformer and those of the encoder alone."""
        batch, views = images.shape[:2]
        alone = self.encoder(images.transpose(0, 1).flatten(0, 1))  # (view, scene)
        channels, height, width = alone.shape[1:]
        splits = self.splits
        position = sine_position(height // splits, width // splits, channels, images.device).repeat(1, splits, splits)
        x = (alone + position).unflatten(0, (views, batch)).permute(0, 1, 3, 4, 2)
        mask = shift_mask(height, width, splits, images.device)
        for number, layer in enumerate(self.layers):
            x = layer(x, splits, mask if number % 2 else None)
        return x.permute(0, 1, 4, 2, 3), alone.unflatten(0, (views, batch))
