"""Contains sub-pixel matches of two views from descriptors at stride 8 and stride 4 (coarse to fine, as LoFTR, Sun et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recon.cameras.pose import Matches
from recon.cameras.usable import filled, holes
from recon.models.recon_small.network import COARSE_STRIDE, FINE_STRIDE, ReconSmall

if TYPE_CHECKING:
    from recon.scene import Images

WINDOW = 7  # fine cells around the coarse peak, as trained
CHUNK = 2048  # rows of the coarse similarity at a time: 2048 x 12288 floats are 100 MB


@dataclass(frozen=True, kw_only=True)
class Described:
    """What a view's matches are made from."""

    coarse: Tensor  # [C, H/8, W/8] unit descriptors
    fine: Tensor  # [c, H/4, W/4]
    cells: Tensor  # [H/8, W/8] bool: the coarse cells that may match

    @cached_property
    def rows(self) -> Tensor:  # [H/4 * W/4, c]
        """Fine descriptors one after the other, as windows of them are gathered."""
        return self.fine.flatten(1).T.contiguous()

    @cached_property
    def queries(self) -> Tensor:  # [H/8 * W/8, c]
        """Fine descriptors of the coarse cells."""
        return F.normalize(F.avg_pool2d(self.fine[None], 2), dim=1)[0].flatten(1).T.contiguous()


def coarse_matches(a: Tensor, b: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mutual best cells of unit descriptors a [C, n], b [C, m]: rows, columns, and the peak of the softmax over b and over a, all [k].

    One product serves both directions. Logits are at most `scale` (60) in size, so that their exponentials need no shift to stay in float32.
    """
    best, highest, row_sum = [], [], []
    column_highest = torch.full((b.shape[1],), -torch.inf, device=a.device)
    column_sum = torch.zeros(b.shape[1], device=a.device)
    queries = (a.float() * scale).T
    for start in range(0, a.shape[1], CHUNK):
        logits = queries[start : start + CHUNK] @ b.float()
        value, index = logits.max(1)
        best.append(index)
        highest.append(value)
        column_highest = torch.maximum(column_highest, logits.amax(0))  # without the row numbers, which cost ten times as much on a CPU
        logits.exp_()
        row_sum.append(logits.sum(1))
        column_sum += logits.sum(0)
    columns, value = torch.cat(best), torch.cat(highest)
    rows = (value == column_highest[columns]).nonzero()[:, 0]
    first = torch.full_like(column_highest, a.shape[1], dtype=torch.long).scatter_reduce(0, columns[rows], rows, "amin")
    rows = rows[first[columns[rows]] == rows]  # of rows that tie for a column, one
    columns = columns[rows]
    peak = value[rows].exp()
    return rows, columns, peak / torch.cat(row_sum)[rows], peak / column_sum[columns]


def refine(query: Tensor, fine: Tensor, width: int, base: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Sub-cell position [n, 2] of queries [n, c] in windows of fine [H * width, c] with corner base [n, 2], and the mass kept [n].

    Soft-argmax over the 3x3 cells around the window's peak; positions in cells, the centre of cell (0, 0) at (0, 0).
    """
    k = torch.arange(WINDOW, device=fine.device)
    index = ((base[:, 1, None] + k) * width)[:, :, None] + (base[:, 0, None] + k)[:, None, :]
    window = fine[index.flatten(1)]  # [n, 49, c]
    probability = (torch.einsum("nc,nkc->nk", query, window).float() * scale).softmax(-1)
    cell = torch.arange(WINDOW * WINDOW, device=fine.device)
    row, column = cell // WINDOW, cell % WINDOW
    peak = probability.argmax(-1, keepdim=True)
    near = ((row - peak // WINDOW).abs() <= 1) & ((column - peak % WINDOW).abs() <= 1)
    kept = probability * near
    mass = kept.sum(-1)
    x, y = (kept * column).sum(-1) / mass, (kept * row).sum(-1) / mass
    return torch.stack([x, y], -1) + base, mass


def match_views(a: Described, b: Described, scales: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sub-pixel matches of two views: xa, xb [n, 2] pixels (centre of pixel (0, 0) at (0.5, 0.5)) and confidence [n] 0..1.

    Every mutual pair of coarse cells gives two: the centre of a's cell with its place in b, and the centre of b's cell with its place in a.
    scales [2] of ReconSmall.scales().
    """
    every_a, every_b = (v.cells.flatten().nonzero()[:, 0] for v in (a, b))
    if min(len(every_a), len(every_b)) == 0 or min(*a.fine.shape[-2:], *b.fine.shape[-2:]) < WINDOW:
        return a.fine.new_zeros(0, 2), a.fine.new_zeros(0, 2), a.fine.new_zeros(0)
    rows, columns, forward, backward = coarse_matches(a.coarse.flatten(1)[:, every_a], b.coarse.flatten(1)[:, every_b], float(scales[0]))
    cell_a, cell_b = every_a[rows], every_b[columns]
    in_b, mass_b = _look_up(a, cell_a, b, cell_b, float(scales[1]))
    in_a, mass_a = _look_up(b, cell_b, a, cell_a, float(scales[1]))
    xa, xb = torch.cat([_centres(a, cell_a), in_a]), torch.cat([in_b, _centres(b, cell_b)])
    return xa, xb, torch.cat([forward * mass_b, backward * mass_a])


def _centres(view: Described, cells: Tensor) -> Tensor:  # [n] -> [n, 2]
    columns = view.coarse.shape[-1]
    return (torch.stack([cells % columns, cells // columns], -1) + 0.5) * COARSE_STRIDE


def _look_up(view: Described, cells: Tensor, other: Described, near: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Pixels [n, 2] of the centres of `cells` in the other view, looked for around its coarse cells `near`, and the mass kept [n]."""
    height, width = other.fine.shape[-2:]
    columns = other.coarse.shape[-1]
    corner = torch.stack([near % columns, near // columns], -1) * (COARSE_STRIDE // FINE_STRIDE) - 2
    base = torch.stack([corner[:, 0].clamp(0, width - WINDOW), corner[:, 1].clamp(0, height - WINDOW)], -1)
    cell, mass = refine(view.queries[cells], other.rows, width, base, scale)
    return (cell + 0.5) * FINE_STRIDE, mass


def own_descriptors(net: ReconSmall, images: Images) -> list[Described]:
    """What each view's matches are made from, at the resolution of `images`; one view at a time."""
    device = next(net.parameters()).device
    out = []
    for v in range(len(images.rgb)):
        gap, rgb = holes(images, v), images.rgb[v]
        inside = F.avg_pool2d(images.mask[v][None, None].float().to(device), COARSE_STRIDE)[0, 0] > 0.5
        if gap.any():  # neither the fill nor the edge of a mask may match
            rgb = torch.from_numpy(filled(rgb.cpu().numpy(), ~gap))
            inside &= F.max_pool2d(torch.from_numpy(gap)[None, None].float().to(device), COARSE_STRIDE)[0, 0] == 0
        _, coarse, fine = net.encode(rgb.permute(2, 0, 1)[None, None].to(device))
        out.append(Described(coarse=coarse[0], fine=fine[0], cells=inside))
    return out


def own_matches(net: ReconSmall, a: Described, b: Described) -> Matches:
    """Sub-pixel matches of two views, from either's cells into the other."""
    xa, xb, confidence = (x.double().cpu().numpy() for x in match_views(a, b, net.scales()))
    return Matches(xa=xa, xb=xb, confidence=confidence, source="own")


def view_similarity(coarse: Tensor) -> np.ndarray:  # [V, C, h, w] unit descriptors -> [V, V]
    """How well each view's cells (every fourth) find a partner in each other view: mean of the best similarity."""
    flat = coarse[:, :, ::2, ::2].flatten(2)
    best = torch.stack([torch.einsum("cn,vcm->vnm", f, flat).amax(-1).mean(-1) for f in flat])
    return ((best + best.T) / 2).cpu().numpy()
