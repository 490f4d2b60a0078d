"""Contains what becomes of swept depth: confirmed where views agree, the pointmap, bent to it, where no second view sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recon.surfaces.consistency import confirmations
from recon.surfaces.depth_alignment import smooth_correction
from recon.surfaces.depth_maps import DepthMaps

SURE = 0.02  # expected relative error below which a pixel needs no second witness
LOST = 0.3  # expected relative error from which on the sweep knows less than the pointmap, which it has seen too
LEAST_SEEN = 200  # pixels of a view that must be seen before its pointmap can be bent to them
GUESS_ERROR = 0.35  # expected relative error of what one view alone tells there, at least: more than is shown (UNSURE in assembly.py)
OBSERVED = 4000  # seen pixels that the bending is drawn from
COARSER = 4  # it is worked out on every fourth row and column


def partners(sources: Tensor) -> list[list[int]]:  # [V, S] -> the views that each view is checked against
    """Its sources, and those that it is a source of."""
    links = {(v, int(q)) for v, row in enumerate(sources.tolist()) for q in row if q >= 0}
    links |= {(b, a) for a, b in links}
    return [sorted(b for a, b in links if a == v) for v in range(len(sources))]


def resolve(swept: DepthMaps, prior: DepthMaps, sources: Tensor, K: Tensor, cam_to_world: Tensor, seed: int) -> DepthMaps:
    """The swept maps where a second view confirms them or the network is sure; elsewhere the pointmap, aligned at the seam, as the guess it is.

    Both on the grid of K [V, 3, 3]; sources [V, S] as swept, -1 for none.
    """
    depth, error = swept.depth.clone(), swept.relative_error.clone()
    K, cam_to_world = K.to(depth), cam_to_world.to(depth)
    confirmed = confirmations(depth, K, cam_to_world, partners(sources)) > 0
    was_swept = (sources >= 0).any(1)
    seen = was_swept[:, None, None] & (confirmed | (error < SURE)) & (swept.valid > 0.5)
    for v in was_swept.nonzero()[:, 0].tolist():
        guess = bent(prior.depth[v], depth[v], confirmed[v] & (error[v] < SURE), seed)
        worse = ~seen[v] & (error[v] > LOST)
        depth[v] = torch.where(worse, guess, depth[v])
        error[v] = torch.where(worse, prior.relative_error[v].clamp(min=GUESS_ERROR), error[v])
    return replace(swept, depth=depth, relative_error=error, seen=seen)


def bent(guess: Tensor, depth: Tensor, seen: Tensor, seed: int) -> Tensor:  # [h, w] each
    """The guessed depth, moved smoothly onto the seen depth where that is near in place and depth."""
    if seen.sum() < LEAST_SEEN:
        return guess
    rows, columns = (x.numpy() for x in seen.nonzero(as_tuple=True))
    chosen = np.random.default_rng(seed).choice(len(rows), min(len(rows), OBSERVED), replace=False)
    rows, columns = rows[chosen], columns[chosen]
    logs = guess.log()
    at = logs[rows, columns].double().numpy()
    ratio = depth[rows, columns].log().double().numpy() - at
    level = float(np.median(ratio))
    small = logs[COARSER // 2 :: COARSER, COARSER // 2 :: COARSER]  # the correction is smooth: a sixteenth of the pixels tells it
    xy = (np.stack([columns, rows], 1) + 0.5) / COARSER
    correction = smooth_correction(small, xy, ratio - level, at, seed)
    full = F.interpolate(correction[None, None], size=logs.shape, mode="bilinear", align_corners=False)[0, 0]
    return (logs + level + full).exp()
