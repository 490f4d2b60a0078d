"""Contains sub-pixel matches of two views from descriptors at stride 8 and stride 4 (coarse to fine, as LoFTR, Sun et al. 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recon.cameras.pose import Matches
from recon.models.recon_small.network import COARSE_STRIDE, FINE_STRIDE, ReconSmall

if TYPE_CHECKING:
    from recon.scene import Images

WINDOW = 7  # fine cells around the coarse peak, as trained
CHUNK = 2048  # rows of the coarse similarity at a time: 2048 x 12288 floats are 100 MB


def coarse_matches(a: Tensor, b: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mutual best cells of unit descriptors a [C, n], b [C, m]: rows, columns and the peak of the softmax over b, all [k]."""
    best, highest, peak = [], [], []
    column_highest = torch.full((b.shape[1],), -torch.inf, device=a.device)
    for start in range(0, a.shape[1], CHUNK):
        logits = (a[:, start : start + CHUNK].T @ b).float() * scale
        value, index = logits.max(1)
        best.append(index)
        highest.append(value)
        peak.append((value - logits.logsumexp(1)).exp())
        column_highest = torch.maximum(column_highest, logits.amax(0))  # without the row numbers, which cost ten times as much on a CPU
    columns = torch.cat(best)
    rows = (torch.cat(highest) == column_highest[columns]).nonzero()[:, 0]
    first = torch.full_like(column_highest, a.shape[1], dtype=torch.long).scatter_reduce(0, columns[rows], rows, "amin")
    rows = rows[first[columns[rows]] == rows]  # of rows that tie for a column, one
    return rows, columns[rows], torch.cat(peak)[rows]


def refine(query: Tensor, fine: Tensor, base: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Sub-cell position [n, 2] of queries [n, c] in windows of fine [c, H, W] with corner base [n, 2], and the mass kept [n].

    Soft-argmax over the 3x3 cells around the window's peak; positions in cells, the centre of cell (0, 0) at (0, 0).
    """
    width = fine.shape[-1]
    k = torch.arange(WINDOW, device=fine.device)
    index = ((base[:, 1, None] + k) * width)[:, :, None] + (base[:, 0, None] + k)[:, None, :]
    window = fine.flatten(1).T[index.flatten(1)]  # [n, 49, c]
    probability = (torch.einsum("nc,nkc->nk", query, window).float() * scale).softmax(-1)
    cell = torch.arange(WINDOW * WINDOW, device=fine.device)
    row, column = cell // WINDOW, cell % WINDOW
    peak = probability.argmax(-1, keepdim=True)
    near = ((row - peak // WINDOW).abs() <= 1) & ((column - peak % WINDOW).abs() <= 1)
    kept = probability * near
    mass = kept.sum(-1)
    x, y = (kept * column).sum(-1) / mass, (kept * row).sum(-1) / mass
    return torch.stack([x, y], -1) + base, mass


def match_views(
    coarse_a: Tensor, coarse_b: Tensor, fine_a: Tensor, fine_b: Tensor, scales: Tensor, *,
    cells_a: Tensor | None = None, cells_b: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mutual sub-pixel matches: xa, xb [n, 2] pixels (centre of pixel (0, 0) at (0.5, 0.5)) and confidence [n] 0..1.

    coarse [C, H/8, W/8] and fine [c, H/4, W/4] unit descriptors of the two views, scales [2] of ReconSmall.scales();
    cells_a, cells_b [H/8, W/8] bool: the cells that may match (inside the photo). xa are the centres of stride-8 cells.
    """
    columns_a, columns_b = coarse_a.shape[-1], coarse_b.shape[-1]
    height, width = fine_b.shape[-2:]
    flat_a, flat_b = coarse_a.flatten(1), coarse_b.flatten(1)
    every_a, every_b = (
        torch.arange(f.shape[1], device=f.device) if c is None else c.flatten().nonzero()[:, 0] for f, c in ((flat_a, cells_a), (flat_b, cells_b))
    )
    if min(len(every_a), len(every_b)) == 0 or min(height, width) < WINDOW:
        return fine_a.new_zeros(0, 2), fine_a.new_zeros(0, 2), fine_a.new_zeros(0)
    rows, columns, peak = coarse_matches(flat_a[:, every_a], flat_b[:, every_b], float(scales[0]))
    rows, columns = every_a[rows], every_b[columns]
    query = F.normalize(F.avg_pool2d(fine_a[None], 2), dim=1)[0].flatten(1)[:, rows].T
    corner = torch.stack([columns % columns_b, columns // columns_b], -1) * (COARSE_STRIDE // FINE_STRIDE) - 2
    base = torch.stack([corner[:, 0].clamp(0, width - WINDOW), corner[:, 1].clamp(0, height - WINDOW)], -1)
    cell, mass = refine(query, fine_b, base, float(scales[1]))
    xa = (torch.stack([rows % columns_a, rows // columns_a], -1) + 0.5) * COARSE_STRIDE
    return xa, (cell + 0.5) * FINE_STRIDE, peak * mass


def own_descriptors(net: ReconSmall, images: Images) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Coarse and fine descriptors and the usable cells of each view, at the resolution of `images`; one view at a time."""
    device = next(net.parameters()).device
    out = []
    for v in range(len(images.rgb)):
        x = images.rgb[v].permute(2, 0, 1)[None, None].to(device)
        _, coarse, fine = net.encode(x)
        inside = F.avg_pool2d(images.mask[v][None, None].float().to(device), COARSE_STRIDE)[0, 0] > 0.5
        out.append((coarse[0], fine[0], inside))
    return out


def own_matches(net: ReconSmall, a: tuple[Tensor, Tensor, Tensor], b: tuple[Tensor, Tensor, Tensor]) -> Matches:
    """Sub-pixel matches from a's cells into b and from b's cells into a."""
    scales = net.scales()
    xa, xb, confidence = match_views(a[0], b[0], a[1], b[1], scales, cells_a=a[2], cells_b=b[2])
    yb, ya, back = match_views(b[0], a[0], b[1], a[1], scales, cells_a=b[2], cells_b=a[2])
    join = lambda p, q: torch.cat([p, q]).double().cpu().numpy()
    return Matches(xa=join(xa, ya), xb=join(xb, yb), confidence=join(confidence, back), source="own")


def view_similarity(coarse: Tensor) -> np.ndarray:  # [V, C, h, w] unit descriptors -> [V, V]
    """How well each view's cells (every fourth) find a partner in each other view: mean of the best similarity."""
    flat = coarse[:, :, ::2, ::2].flatten(2)
    best = torch.stack([torch.einsum("cn,vcm->vnm", f, flat).amax(-1).mean(-1) for f in flat])
    return ((best + best.T) / 2).cpu().numpy()
