"""Contains DUSt3R (Wang et al., "DUSt3R: Geometric 3D Vision Made Easy", CVPR 2024) and MASt3R (Leroy et al., ECCV 2024), written from the papers.

    image 1 -> ViT encoder -> tokens 1 -> decoder 1 <-> decoder 2 <- tokens 2 <- ViT encoder <- image 2     (one encoder, cross attention)
                                              |             |
                                           head 1         head 2   -> points of both views in view 1's axes, confidence, descriptors (MASt3R)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recon.models.layers.acceleration import Accelerated, exact
from recon.models.layers.dpt import DptHead, DptParams
from recon.models.layers.vit import NORM_EPS, DecoderBlock, EncoderBlock, Mlp, rope

PATCH = 16
EXACT = ("head1.proj", "head2.proj", "dpt.head.4")  # layers that stay in float32: what they give is exponentiated
HeadKind = Literal["linear", "dpt", "catmlp+dpt"]


@dataclass(frozen=True)
class Dust3rParams:
    """Sizes of the network; the defaults are the published ones (head and long side differ between files)."""

    head: HeadKind = "dpt"
    long_side: int = 512  # of the photos that it was trained on
    encoder_width: int = 1024
    encoder_depth: int = 24
    encoder_heads: int = 16
    decoder_width: int = 768
    decoder_depth: int = 12
    decoder_heads: int = 12
    dpt: DptParams = field(default_factory=DptParams)
    descriptors: int = 24  # channels, of the head "catmlp+dpt"
    local_hidden: int = 7168  # of the descriptors' MLP

    @property
    def taps(self) -> tuple[int, int, int, int]:
        """The decoder layers that a dpt head reads; 0 stands for the encoder's tokens."""
        return 0, self.decoder_depth // 2, self.decoder_depth * 3 // 4, self.decoder_depth


class ViewOutput(NamedTuple):
    """What the network says of one view of a pair."""

    points: Tensor  # [B, H, W, 3] in the axes of view 1
    confidence: Tensor  # [B, H, W] > 1
    descriptors: Tensor | None = None  # [B, H, W, D] unit, of MASt3R
    descriptor_confidence: Tensor | None = None  # [B, H, W] > 0


class LinearHead(nn.Module):
    """The last tokens to 16 x 16 pixels each."""

    def __init__(self, params: Dust3rParams) -> None:
        super().__init__()
        self.proj = nn.Linear(params.decoder_width, 4 * PATCH**2)

    def forward(self, tokens: list[Tensor], rows: int, columns: int) -> ViewOutput:
        return activate(to_pixels(exact(self.proj, tokens[-1]), rows, columns))


class DenseHead(nn.Module):
    """DPT of four depths; with `descriptors` also an MLP of first and last tokens."""

    def __init__(self, params: Dust3rParams) -> None:
        super().__init__()
        self.taps = params.taps
        self.dpt = DptHead([params.encoder_width, *[params.decoder_width] * 3], 4, params.dpt)
        self.local: Mlp | None = None
        if params.head == "catmlp+dpt":
            self.local = Mlp(params.encoder_width + params.decoder_width, params.local_hidden, (params.descriptors + 1) * PATCH**2)

    def forward(self, tokens: list[Tensor], rows: int, columns: int) -> ViewOutput:
        dense = self.dpt([tokens[i] for i in self.taps], rows, columns)
        if self.local is None:
            return activate(dense)
        local = to_pixels(self.local(torch.cat([tokens[0], tokens[-1]], -1)), rows, columns)
        return activate(torch.cat([dense, local.float()], 1))  # exponentials of halves would lose digits


def to_pixels(x: Tensor, rows: int, columns: int) -> Tensor:  # [B, N, C * 256] -> [B, C, H, W]
    """Each token's values spread over its patch."""
    return F.pixel_shuffle(x.transpose(1, 2).unflatten(2, (rows, columns)), PATCH)


class Dust3r(Accelerated):
    """A pair of images to the points of both in the first one's axes (see the module's figure)."""

    exact_layers = EXACT

    def __init__(self, params: Dust3rParams = Dust3rParams()) -> None:
        super().__init__()
        self.params = params
        e, d, heads = params.encoder_width, params.decoder_width, params.decoder_heads
        self.patch_embed = nn.Conv2d(3, e, PATCH, PATCH)
        self.encoder = nn.ModuleList(EncoderBlock(e, params.encoder_heads) for _ in range(params.encoder_depth))
        self.encoder_norm = nn.LayerNorm(e, NORM_EPS)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, d))  # of the pre-training; in every published file, never read
        self.decoder_in = nn.Linear(e, d)
        self.decoder1 = nn.ModuleList(DecoderBlock(d, heads) for _ in range(params.decoder_depth))
        self.decoder2 = nn.ModuleList(DecoderBlock(d, heads) for _ in range(params.decoder_depth))
        self.decoder_norm = nn.LayerNorm(d, NORM_EPS)
        make = LinearHead if params.head == "linear" else DenseHead
        self.head1, self.head2 = make(params), make(params)

    def compiled_parts(self) -> list[nn.Module]:
        """Blocks and heads."""
        return [*self.encoder, *self.decoder1, *self.decoder2, self.head1, self.head2]

    def encode(self, images: Tensor) -> Tensor:  # [B, 3, H, W] in -1..1, sides multiples of 16 -> [B, N, D]
        """Tokens of images, row by row."""
        x = self.patch_embed(images)
        rows, columns = x.shape[-2:]
        x = x.flatten(2).transpose(1, 2)
        tables = rope(rows, columns, self.params.encoder_width // self.params.encoder_heads, x.device)
        for block in self.encoder:
            x = block(x, tables)
        return self.encoder_norm(x)

    def decode(self, tokens1: Tensor, tokens2: Tensor, grid1: tuple[int, int], grid2: tuple[int, int]) -> tuple[list[Tensor], list[Tensor]]:
        """The tokens of both views of pairs after each layer, the encoder's first and the last normed; grids are (rows, columns)."""
        head_dim = self.params.decoder_width // self.params.decoder_heads
        rope1, rope2 = (rope(*grid, head_dim, tokens1.device) for grid in (grid1, grid2))
        x1, x2 = self.decoder_in(tokens1), self.decoder_in(tokens2)
        out1, out2 = [tokens1], [tokens2]
        for block1, block2 in zip(self.decoder1, self.decoder2, strict=True):
            x1, x2 = block1(x1, x2, rope1, rope2), block2(x2, x1, rope2, rope1)  # both read the layer before
            out1.append(x1)
            out2.append(x2)
        out1[-1], out2[-1] = self.decoder_norm(x1), self.decoder_norm(x2)
        return out1, out2

    def predict(self, tokens1: Tensor, tokens2: Tensor, grid1: tuple[int, int], grid2: tuple[int, int]) -> tuple[ViewOutput, ViewOutput]:
        """What `forward` gives, from the encoder's tokens."""
        out1, out2 = self.decode(tokens1, tokens2, grid1, grid2)
        return self.head1(out1, *grid1), self.head2(out2, *grid2)

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[ViewOutput, ViewOutput]:  # [B, 3, H, W] in -1..1 each
        """Both views of pairs, all points in the axes of view 1."""
        if image1.shape == image2.shape:
            tokens1, tokens2 = self.encode(torch.cat([image1, image2])).chunk(2)
        else:
            tokens1, tokens2 = self.encode(image1), self.encode(image2)
        grid1, grid2 = ((x.shape[2] // PATCH, x.shape[3] // PATCH) for x in (image1, image2))
        return self.predict(tokens1, tokens2, grid1, grid2)


def activate(raw: Tensor) -> ViewOutput:  # [B, 4 or more, H, W]
    """Points, confidences and descriptors of a head's channels: directions with exponential distances, exponentials, unit vectors."""
    x = raw.permute(0, 2, 3, 1)
    distance = x[..., :3].norm(dim=-1, keepdim=True)
    points = x[..., :3] / distance.clamp(min=1e-8) * torch.expm1(distance)
    confidence = 1 + x[..., 3].exp()
    if x.shape[-1] == 4:
        return ViewOutput(points, confidence)
    descriptors = x[..., 4:-1]
    return ViewOutput(points, confidence, descriptors / descriptors.norm(dim=-1, keepdim=True), x[..., -1].exp())
