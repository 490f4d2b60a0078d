"""A palette of vectors by k-means in two levels: coarse groups first, then a few centres inside each, so that 65,536 cost little."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

LIMIT = 1 << 16
ROUNDS = 5
SAMPLE = 1 << 17  # rows that the coarse level learns from
BLOCK = 1 << 14


def palette(vectors: np.ndarray, size: int | None = None) -> tuple[np.ndarray, np.ndarray]:  # [N, D] -> [P, D], [N] int64
    """At most `size` centres (default: a quarter of the rows, but at least 16,384 and at most 65,536) and the one of each row.

    The same rows give the same palette.
    """
    x = torch.from_numpy(np.ascontiguousarray(vectors, np.float32))
    size = size or min(LIMIT, max(1 << 14, len(x) // 4))
    if len(x) <= size:
        return vectors.astype(np.float32), np.arange(len(x))
    groups = max(1, round(size**0.5))
    random = torch.Generator().manual_seed(0)
    sample = x[torch.randperm(len(x), generator=random)[:SAMPLE]]
    group = _nearest(x, _means(sample, groups, random))
    order = group.argsort(stable=True)
    counts = torch.bincount(group, minlength=groups)
    centres, labels, start = [], torch.empty(len(x), dtype=torch.int64), 0
    made = 0
    for rows in order.split(counts.tolist()):
        start += len(rows)
        share = min(len(rows), max(1, (size * start) // len(x) - made)) if len(rows) else 0  # in proportion to the rows so far
        share = min(share, size - made)
        if not len(rows):
            continue
        inner = _means(x[rows], max(1, share), random)
        labels[rows] = _nearest(x[rows], inner) + made
        centres.append(inner)
        made += len(inner)
    return torch.cat(centres).numpy(), labels.numpy()


def _means(x: Tensor, count: int, random: torch.Generator) -> Tensor:
    """Lloyd's algorithm from random rows; an empty centre stays where it was."""
    if count >= len(x):
        return x.clone()
    centres = x[torch.randperm(len(x), generator=random)[:count]].clone()
    for _ in range(ROUNDS):
        label = _nearest(x, centres)
        weight = torch.bincount(label, minlength=count)
        sums = torch.segment_reduce(x[label.argsort()], "sum", lengths=weight, unsafe=True)
        centres = torch.where(weight[:, None] > 0, sums / weight[:, None].clamp(min=1), centres)
    return centres


def _nearest(x: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre of each row."""
    half = centres.square().sum(1) / 2
    return torch.cat([(half - part @ centres.T).argmin(1) for part in x.split(max(1, min(BLOCK, (1 << 26) // len(centres))))])
