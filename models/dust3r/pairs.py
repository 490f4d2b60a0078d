"""Contains the pairs of photos that DUSt3R looks at, and what it says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from recon.errors import ReconError
from recon.models.dust3r.network import PATCH, Dust3r

if TYPE_CHECKING:
    from recon.scene import Images

PairKind = Literal["auto", "all", "sequence", "reference"]
WINDOW = 3  # neighbours on each side in "sequence"
BATCH = {"cpu": 1, "cuda": 8}  # images or pairs at once


@dataclass(frozen=True, kw_only=True)
class PairPoints:
    """Pointmaps of E directed pairs (i, j), on the CPU; both maps of a pair are in the axes of view i, each pair in its own scale."""

    index: Tensor  # [E, 2] int64
    first: Tensor  # [E, h, w, 3] of view i
    second: Tensor  # [E, h, w, 3] of view j
    first_confidence: Tensor  # [E, h, w] > 1; 1 where the photo is not
    second_confidence: Tensor  # [E, h, w]
    descriptors: tuple[tuple[Tensor, Tensor], ...] = ()  # E x two [h, w, D], of MASt3R

    @property
    def views(self) -> int:
        return int(self.index.max()) + 1

    @property
    def score(self) -> Tensor:  # [E]
        """How sure the network is of each pair: the product of the mean confidences."""
        return self.first_confidence.mean((1, 2)) * self.second_confidence.mean((1, 2))


def pair_graph(views: int, kind: PairKind) -> list[tuple[int, int]]:
    """Directed pairs in both orders: all ("auto" too), neighbours in the photos' order, or all with the first; one photo is paired with itself."""
    if kind not in get_args(PairKind):
        raise ReconError(f"unknown pairs {kind!r}; one of: {', '.join(get_args(PairKind))}")
    if views == 1:
        return [(0, 0)]
    pairs = [(i, j) for i in range(views) for j in range(i + 1, views)]
    if kind == "sequence":
        pairs = [(i, j) for i, j in pairs if j - i <= WINDOW]
    elif kind == "reference":
        pairs = [(i, j) for i, j in pairs if i == 0]
    return [directed for i, j in pairs for directed in ((i, j), (j, i))]


def predict_pairs(net: Dust3r, images: Images, pairs: Sequence[tuple[int, int]], step: Callable[[float], None]) -> PairPoints:
    """The network's outputs for all pairs, each photo encoded once; `step` is told the share done."""
    device = next(net.parameters()).device
    batch = BATCH.get(device.type, 1)
    height, width = images.rgb.shape[1:3]
    grid = height // PATCH, width // PATCH
    outputs: list[tuple[Tensor, ...]] = []
    with torch.autocast("cuda", net.half, enabled=device.type == "cuda"):
        normal = images.rgb.to(device).float().permute(0, 3, 1, 2) * 2 - 1
        encode, predict = net.recorded("encode", net.encode), net.recorded(f"predict {grid}", lambda a, b: net.predict(a, b, grid, grid))
        tokens = torch.cat([encode(part) for part in normal.split(batch)])
        for done in range(0, len(pairs), batch):
            i, j = (torch.tensor(side, device=device) for side in zip(*pairs[done : done + batch], strict=True))
            both = predict(tokens[i], tokens[j])
            outputs.append(tuple(x.float().cpu() for out in both for x in out if x is not None))
            step((done + len(i)) / len(pairs))
    first, first_sure, *rest = (torch.cat(parts) for parts in zip(*outputs, strict=True))
    own, other = rest[: len(rest) // 2 - 1], rest[len(rest) // 2 - 1 :]  # descriptors and their confidence, where there are any
    index = torch.tensor(pairs)
    mask = images.mask.cpu()
    inside = lambda confidence, side: torch.where(mask[index[:, side]], confidence, 1.0)
    descriptors = tuple(zip(own[0], other[2], strict=True)) if own else ()
    return PairPoints(
        index=index, first=first, second=other[0], first_confidence=inside(first_sure, 0), second_confidence=inside(other[1], 1),
        descriptors=descriptors,
    )  # fmt: skip
