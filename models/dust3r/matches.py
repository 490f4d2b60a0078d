"""Contains reciprocal matches of dense descriptors (Leroy et al., MASt3R, ECCV 2024, section 3.3: fast reciprocal matching)."""

from __future__ import annotations

import torch
from torch import Tensor

STEP = 8  # pixels between the places that the search starts from
ROUNDS = 8  # of going over and back
CHUNK = 1024  # queries at a time: 1024 x 196,608 floats are 800 MB


def reciprocal_matches(a: Tensor, b: Tensor, inside_a: Tensor, inside_b: Tensor, step: int = STEP) -> tuple[Tensor, Tensor]:
    """Pixel centres [n, 2] twice of places in a and b that are each other's nearest descriptor.

    a, b [H, W, D] unit descriptors, inside_a, inside_b [H, W] bool: the pixels that may match. From a grid of places in a the search goes to the
    nearest descriptor in b and back until it stands still.
    """
    height, width = a.shape[:2]
    flat_a, flat_b = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
    every_a, every_b = (x.flatten().nonzero()[:, 0] for x in (inside_a, inside_b))
    rows, columns = torch.meshgrid(torch.arange(step // 2, height, step), torch.arange(step // 2, width, step), indexing="ij")
    start = (rows * width + columns).flatten().to(a.device)
    start = start[inside_a.flatten()[start]]
    if not len(every_a) or not len(every_b) or not len(start):
        return a.new_zeros(0, 2), a.new_zeros(0, 2)
    found = []
    for _ in range(ROUNDS):
        there = every_b[nearest(flat_a[start], flat_b[every_b])]
        back = every_a[nearest(flat_b[there], flat_a[every_a])]
        still = back == start
        found.append(torch.stack([start[still], there[still]], 1))
        start = back[~still].unique()
        if not len(start):
            break
    pairs = torch.cat(found).unique(dim=0)
    centres = lambda i, columns: torch.stack([i % columns, i // columns], 1) + 0.5
    return centres(pairs[:, 0], width), centres(pairs[:, 1], b.shape[1])


def nearest(queries: Tensor, keys: Tensor) -> Tensor:  # [n, D], [m, D] -> [n] int64
    """Index of the key with the greatest product."""
    return torch.cat([(part @ keys.T).argmax(1) for part in queries.split(CHUNK)])
