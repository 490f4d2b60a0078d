"""Contains what stands still at the same pixels of photos that otherwise move: bars, text, logos, dust, a car's bonnet. It is no match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from recon.cameras.pairing import Pair
from recon.cameras.pose import Matches

if TYPE_CHECKING:
    from recon.scene import Images

CELL = 8  # pixels of the match grid
STILL_PX, MOVED_PX = 1.0, 4.0
SURE = 0.3  # confidence of the matches that tell whether a pair moves
MOVING = 30  # such matches of a pair that moves
LEAST_CELLS = 4  # of a still place
RING = 3  # cells round a still place that must move
SAME_LEVEL, STEP_LEVEL, STEP_SHARE = 4.0, 10.0, 0.3  # of a bar: its spread, and the step to the picture over this share of its length
MOST_BAR = 0.3  # of the picture, at each side


def still_cells(found: Mapping[Pair, list[Matches]], images: Images) -> np.ndarray:  # -> [rows, columns] bool
    """Cells in which the pairs of alike photos that move match the same pixels, among surroundings that move."""
    rows, columns = (-(-n // CELL) for n in images.rgb.shape[1:3])
    still, moved, pairs = np.zeros((rows, columns)), np.zeros((rows, columns)), 0
    ends: list[tuple[np.ndarray, np.ndarray]] = []
    for (i, j), kinds in found.items():
        m = [k for k in kinds if len(k)]
        if not m or not _alike(images, i, j):
            continue
        xa, xb, sure = (np.concatenate([getattr(k, name) for k in m]) for name in ("xa", "xb", "confidence"))
        distance = np.linalg.norm(xb - xa, axis=1)
        if ((distance > MOVED_PX) & (sure > SURE)).sum() < MOVING:
            continue
        pairs += 1
        at = _cells(xa, (rows, columns))
        np.add.at(still, tuple(at[distance <= STILL_PX].T), 1)
        np.add.at(moved, tuple(at[distance > MOVED_PX].T), 1)
        ends.append((at[distance > STILL_PX], distance[distance > STILL_PX]))
    if not pairs:
        return np.zeros((rows, columns), bool)
    seeds = (still >= max(2, 0.5 * pairs)) & (still >= 2 * moved)
    return _among_moving(seeds, ends)


def _alike(images: Images, i: int, j: int) -> bool:
    same = lambda x: bool(torch.equal(torch.as_tensor(x[i]), torch.as_tensor(x[j])))
    return all(same(x) for x in (images.photo_width, images.photo_height, images.grid_scale, images.grid_offset))


def _cells(xy: np.ndarray, shape: tuple[int, int]) -> np.ndarray:  # [n, 2] -> [n, 2] row and column
    return np.clip((xy[:, ::-1] // CELL).astype(int), 0, np.array(shape) - 1)


def _grown(cells: np.ndarray, by: int) -> np.ndarray:
    import cv2

    return cv2.dilate(cells.astype(np.uint8), np.ones((2 * by + 1, 2 * by + 1), np.uint8)) > 0


def _among_moving(seeds: np.ndarray, ends: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The still places, grown by a cell, whose surroundings move by much more: not a far or slowly moving part of the scene."""
    import cv2

    count, label = cv2.connectedComponents(_grown(seeds, 1).astype(np.uint8), connectivity=8)
    out = np.zeros_like(seeds)
    for k in range(1, count):
        place = label == k
        if (seeds & place).sum() < LEAST_CELLS:
            continue
        ring = _grown(place, RING) & (label == 0)
        near = np.concatenate([d[ring[tuple(at.T)]] for at, d in ends])
        if len(near) >= 4 and np.median(near) > MOVED_PX + STILL_PX:
            out |= place
    return out


def without(found: Mapping[Pair, list[Matches]], cells: np.ndarray) -> dict[Pair, list[Matches]]:
    """The matches that neither begin nor end in the cells."""
    outside = lambda xy: ~cells[tuple(_cells(xy, cells.shape).T)]  # type: ignore[arg-type]
    return {pair: [m.take(outside(m.xa) & outside(m.xb)) for m in kinds] for pair, kinds in found.items()}


def without_bars(images: Images) -> tuple[Images, float]:
    """The photos with uniform bars along their edges, the same in all of them, masked; and the share of the picture that these cover."""
    if len(images) < 2 or not all(_alike(images, 0, v) for v in range(1, len(images))):
        return images, 0.0
    rgb = images.rgb.cpu().numpy()
    mask = images.mask.cpu().numpy()
    inside = np.flatnonzero(mask.any((0, 2))), np.flatnonzero(mask.any((0, 1)))
    bar = np.zeros(mask.shape[1:], bool)
    for axis, lines in enumerate(inside):
        if not len(lines):
            continue
        for order in (lines, lines[::-1]):
            wide = _bar_width(np.moveaxis(rgb, axis + 1, 0), order)
            np.moveaxis(bar, axis, 0)[order[:wide]] = True
    share = float(bar.mean())
    return (replace(images, mask=images.mask & ~torch.from_numpy(bar).to(images.mask.device)), share) if share else (images, 0.0)


def _bar_width(pictures: np.ndarray, order: np.ndarray) -> int:  # [H or W, V, m, 3] 0..1, [n] lines from the edge inwards
    """How many lines from the edge are of one colour in all photos, where the picture begins with a step after them; else 0."""
    colour = np.median(pictures[order[0]], (0, 1))
    away = lambda line: np.abs(pictures[line] - colour).max(-1) * 255
    wide = next((k for k, line in enumerate(order) if (away(line) < SAME_LEVEL).mean() <= 0.98), 0)
    if not 2 <= wide <= MOST_BAR * len(order) or wide + 2 >= len(order):
        return 0
    return wide + 1 if (away(order[wide + 2]) > STEP_LEVEL).mean() > STEP_SHARE else 0


def still_warnings(cells: np.ndarray, bars: float) -> list[str]:
    """What a person should know of it."""
    lines = []
    if bars:
        lines.append(f"the photos have the same bars along their edges ({100 * bars:.0f} % of the picture): masked")
    if cells.any():
        lines.append(
            f"something stands still in photos that otherwise move ({100 * cells.mean():.1f} % of the picture; text, a logo, dust, a car's bonnet): "
            "it was left out of the matches"
        )
    return lines
