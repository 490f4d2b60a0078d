"""Contains recon-small, the default network: N >= 1 photos to pointmaps, sub-pixel matches and lens, in one forward pass.

    photo -> conv stem (strides 4, 8, 16) -> frame blocks -> descriptors: stride 8 (coarse) and 4 (fine)
                                                  |                |
                                                  |     correlation with every other view: expected match, peak, spread
                                                  v                v
                         tokens + match features + sine position + reference mark -> (frame block, global block) x 4
                                                  |
              heads: local points + confidence + validity + Gaussian corrections, points in view 0 + confidence, lens

The design follows the project's training experiments.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recon.models.layers.blocks import Block, DenseHead, ResidualConv, rope_tables

COARSE_STRIDE, FINE_STRIDE, PATCH = 8, 4, 16
GAUSSIAN_CHANNELS = 13  # position 3, log scale 3, rotation 3, opacity logit 1, colour 3: what is added to the closed form of pixel_gaussians
MATCH_FEATURES = 6


@dataclass(frozen=True)
class ReconSmallParams:
    """Sizes of the network; the committed weights belong to the defaults."""

    width: int = 320
    heads: int = 5
    frame_blocks: int = 4  # before the correlation
    joint_blocks: int = 4  # pairs of frame block and global block after it
    registers: int = 4
    coarse_channels: int = 128
    fine_channels: int = 64
    lens_bins: int = 64
    lens_range: tuple[float, float] = (0.2, 8.0)  # focal / image diagonal, log-uniform bins


class Stem(nn.Module):
    """Convolutional features at strides 4 and 8 and tokens at stride 16."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down2 = nn.Conv2d(3, 48, 7, 2, 3)
        self.down4 = nn.Conv2d(48, 96, 3, 2, 1)
        self.res4 = ResidualConv(96)
        self.down8 = nn.Conv2d(96, 160, 3, 2, 1)
        self.res8 = nn.Sequential(ResidualConv(160), ResidualConv(160))
        self.down16 = nn.Conv2d(160, width, 3, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # [B, 3, H, W]
        f4 = self.res4(self.down4(F.gelu(self.down2(x))))
        f8 = self.res8(self.down8(F.gelu(f4)))
        return f4, f8, self.down16(F.gelu(f8))


def cell_positions(rows: int, columns: int, device: torch.device) -> Tensor:
    """Cell centres [rows*columns, 2] (x, y) in units of half the long side, zero at the image centre."""
    long = max(rows, columns)
    y = (torch.arange(rows, device=device) + 0.5) * 2 / long - rows / long
    x = (torch.arange(columns, device=device) + 0.5) * 2 / long - columns / long
    return torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)], -1).reshape(-1, 2)


def summarise_correlation(logits: Tensor, positions: Tensor) -> Tensor:
    """Match features [B, n, 6] of logits [B, n, m]: offset, expected position, peak probability and spread."""
    probability = logits.softmax(-1)
    expected = probability @ positions
    peak = probability.amax(-1, keepdim=True)
    variance = (probability @ positions.square()).sum(-1, keepdim=True) - expected.square().sum(-1, keepdim=True)
    spread = (variance.clamp(min=0) + 1e-4).sqrt()  # 1e-4: the gradient of sqrt at a peaked softmax is infinite
    return torch.cat([expected - positions, expected, peak, spread], -1)


def pool_match_features(per_view: Tensor) -> Tensor:
    """[B, others, n, 6] -> [B, n, 12]: peak-weighted mean and the most peaked view's own features."""
    peak = per_view[..., 4:5] + 1e-3
    mean = (per_view * peak / peak.sum(1, keepdim=True)).sum(1)
    best = peak.argmax(1, keepdim=True).expand(-1, -1, -1, MATCH_FEATURES)
    return torch.cat([mean, torch.gather(per_view, 1, best)[:, 0]], -1)


class ReconSmall(nn.Module):
    """N photos to local and common pointmaps, descriptors at two strides and lens logits (see the module's figure)."""

    def __init__(self, params: ReconSmallParams = ReconSmallParams()) -> None:
        super().__init__()
        self.params = params
        d, heads = params.width, params.heads
        self.stem = Stem(d)
        self.encoder = nn.ModuleList(Block(d, heads) for _ in range(params.frame_blocks))
        self.frame = nn.ModuleList(Block(d, heads) for _ in range(params.joint_blocks))
        self.joint = nn.ModuleList(Block(d, heads) for _ in range(params.joint_blocks))
        self.registers = nn.Parameter(torch.randn(params.registers, d) * 0.02)
        self.reference = nn.Parameter(torch.randn(2, d) * 0.02)
        c, f = params.coarse_channels, params.fine_channels
        self.token_to_cell = nn.Linear(d, 4 * c)
        self.coarse_mix = nn.Sequential(nn.Conv2d(160 + c, 192, 3, padding=1), nn.GELU(), nn.Conv2d(192, c, 1))
        self.fine_mix = nn.Sequential(nn.Conv2d(96 + c, 128, 3, padding=1), nn.GELU(), nn.Conv2d(128, f, 1))
        self.log_scales = nn.Parameter(torch.full((2,), 2.3))  # coarse, fine
        self.match_in = nn.Linear(4 * 2 * MATCH_FEATURES, d)
        self.position_in = nn.Linear(d, d)
        self.norm = nn.LayerNorm(d)
        self.local_head = DenseHead(d, 4, 5)
        self.gaussian_out = nn.Conv2d(self.local_head.out.in_channels, GAUSSIAN_CHANNELS * 16, 3, padding=1)  # beside local_head.out
        nn.init.zeros_(self.gaussian_out.weight)
        nn.init.zeros_(self.gaussian_out.bias)  # pyright: ignore[reportArgumentType] (it has one)
        self.common_head = DenseHead(d, 4, 4)
        self.common_head.out.bias.data[2 * 16 : 3 * 16] = 0.7  # pyright: ignore[reportOptionalMemberAccess] start in front of the camera
        self.lens_head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 128), nn.GELU(), nn.Linear(128, params.lens_bins))

    def scales(self) -> Tensor:
        """Inverse temperatures [2] of the coarse and fine similarities."""
        return self.log_scales.exp().clamp(max=60)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """images [B, V, 3, H, W] -> tokens [BV, N, D], coarse descriptors [BV, C, h8, w8] and fine ones [BV, c, h4, w4]."""
        f4, f8, f16 = self.stem((images.flatten(0, 1) - 0.5) / 0.25)
        rows, columns = f16.shape[-2:]
        cos, sin = rope_tables(rows, columns, self.params.width // self.params.heads, images.device)
        x = f16.flatten(2).transpose(1, 2)
        for block in self.encoder:
            x = block(x, cos, sin)
        cells = self.to_cells(self.token_to_cell(x), rows, columns)
        coarse_features = self.coarse_mix(torch.cat([f8, cells], 1))
        lifted = F.interpolate(coarse_features, scale_factor=2, mode="bilinear")
        fine = F.normalize(self.fine_mix(torch.cat([f4, lifted], 1)).float(), dim=1)
        return x, F.normalize(coarse_features.float(), dim=1), fine

    @staticmethod
    def to_cells(tokens: Tensor, rows: int, columns: int) -> Tensor:  # [B, N, 4C] -> [B, C, 2 rows, 2 columns]
        return F.pixel_shuffle(tokens.transpose(1, 2).reshape(tokens.shape[0], -1, rows, columns), 2)

    def match_features(self, coarse: Tensor) -> Tensor:
        """Descriptors [B, V, C, h8, w8] -> features [BV, N, 48] of the correlation with all other views (zeros for one)."""
        b, v, _, rows, columns = coarse.shape
        flat = coarse.flatten(3)
        positions = cell_positions(rows, columns, coarse.device)
        seen: list[list[Tensor]] = [[] for _ in range(v)]
        for i in range(v):
            for j in range(i + 1, v):
                logits = torch.einsum("bdn,bdm->bnm", flat[:, i], flat[:, j]).float() * self.scales()[0]
                seen[i].append(summarise_correlation(logits, positions))
                seen[j].append(summarise_correlation(logits.transpose(1, 2), positions))
        if v == 1:
            pooled = torch.zeros(b, rows * columns, 2 * MATCH_FEATURES, device=coarse.device)
        else:
            pooled = torch.stack([pool_match_features(torch.stack(s, 1)) for s in seen], 1).flatten(0, 1)
        maps = pooled.reshape(b * v, rows, columns, -1).permute(0, 3, 1, 2)
        return F.pixel_unshuffle(maps, 2).flatten(2).transpose(1, 2)

    def position_code(self, rows: int, columns: int, device: torch.device) -> Tensor:  # [N, D]
        frequency = 1.57 * 2 ** (torch.arange(self.params.width // 4, device=device) * 6 / (self.params.width // 4))
        angle = cell_positions(rows, columns, device)[:, :, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], -1).flatten(1)

    def decode(self, x: Tensor, views: int, rows: int, columns: int) -> list[Tensor]:
        """tokens [BV, N, D] -> three maps [B, V, R+N, D] from the second, third and last pair of blocks."""
        r, n, d = self.params.registers, rows * columns, self.params.width
        cos, sin = rope_tables(rows, columns, d // self.params.heads, x.device)
        cos = torch.cat([cos.new_ones(r, cos.shape[1]), cos])
        sin = torch.cat([sin.new_zeros(r, sin.shape[1]), sin])
        x = x.reshape(-1, views, n, d)
        x = torch.cat([x[:, :1] + self.reference[0], x[:, 1:] + self.reference[1]], 1)
        x = torch.cat([self.registers.to(x.dtype).expand(x.shape[0], views, r, d), x], 2)
        taps = []
        for frame, joint in zip(self.frame, self.joint, strict=True):
            x = frame(x.flatten(0, 1), cos, sin)
            x = joint(x.reshape(-1, views * (r + n), d), cos.repeat(views, 1), sin.repeat(views, 1))
            x = x.reshape(-1, views, r + n, d)
            taps.append(x)
        return taps[-3:]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Raw outputs for images [B, V, 3, H, W] in 0..1, H and W multiples of 16; differentiable.

        local, common [B, V, H, W, 3] (each view's own camera; view 0's camera; one unknown scale a scene), their
        confidences [B, V, H, W] >= 1, validity logits [B, V, H, W], corrections of the Gaussians [B, V, H, W, 13],
        lens logits [B, V, bins] over log(focal/diagonal), unit descriptors coarse [B, V, C, H/8, W/8] and fine
        [B, V, c, H/4, W/4].
        """
        b, v, _, height, width = images.shape
        rows, columns = height // PATCH, width // PATCH
        tokens, coarse, fine = self.encode(images)
        coarse = coarse.unflatten(0, (b, v))
        x = tokens + self.match_in(self.match_features(coarse))
        x = x + self.position_in(self.position_code(rows, columns, x.device))
        taps = self.decode(x, v, rows, columns)
        last = self.norm(taps[-1])
        r = self.params.registers
        features = [tokens] + [t[:, :, r:].flatten(0, 1) for t in (*taps[:-1], last)]
        trunk = self.local_head.trunk(features, rows, columns)
        local = F.pixel_shuffle(self.local_head.out(trunk), 4).float().unflatten(0, (b, v))
        gaussians = F.pixel_shuffle(self.gaussian_out(trunk), 4).float().unflatten(0, (b, v))
        common = self.common_head(features, rows, columns).float().unflatten(0, (b, v))
        z = local[:, :, 2:3].clamp(-8, 8).exp()
        length = common[:, :, :3].norm(dim=2, keepdim=True).clamp(min=1e-6)
        points = common[:, :, :3] / length * torch.expm1(length.clamp(max=8))
        return {
            "local": torch.cat([local[:, :, :2] * z, z], 2).permute(0, 1, 3, 4, 2),
            "common": points.permute(0, 1, 3, 4, 2),
            "local_confidence": 1 + local[:, :, 3].clamp(max=8).exp(),
            "common_confidence": 1 + common[:, :, 3].clamp(max=8).exp(),
            "validity": local[:, :, 4],
            "gaussians": gaussians.permute(0, 1, 3, 4, 2),
            "lens": self.lens_head(last[:, :, 0]).float(),
            "coarse": coarse,
            "fine": fine.unflatten(0, (b, v)),
        }
