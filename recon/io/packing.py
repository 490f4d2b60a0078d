"""Small parts that the compressed splat formats share: Morton order, quaternions by their three smallest components, tables of values."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

COARSE_SHARE = 0.01  # of Gaussians finer than the steps of their positions that is no fault
log = logging.getLogger(__name__)
ROOT_HALF = 0.5**0.5  # no component but the largest of a unit quaternion exceeds it
OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])  # the components beside the largest


def finer_than(steps: np.ndarray | float, scales: np.ndarray) -> int:  # [N] or one, [N, 3]
    """How many Gaussians are finer than the steps that their positions are stored in."""
    return int((np.asarray(steps) > scales.max(1, initial=0)).sum())


def warn_of_steps(path: Path, steps: np.ndarray | float, scales: np.ndarray) -> None:
    """Says where storing positions in steps costs more than a Gaussian's size, as outliers make it."""
    finer = finer_than(steps, scales)
    if finer > COARSE_SHARE * len(scales):
        log.warning(
            "%s: %d of %d Gaussians are finer than the steps of their positions in this format (up to %.3g units): expect holes and stripes; "
            "drop_outliers=True leaves out what lies far from everything else", path, finer, len(scales), float(np.max(steps)),
        )  # fmt: skip


def morton_order(points: np.ndarray) -> np.ndarray:  # [N, 3] -> [N]
    """Rows ordered along a Z-curve of 1024 cells a side, so that neighbours in the file are neighbours in space."""
    if not len(points):
        return np.zeros(0, np.int64)
    low, high = points.min(0), points.max(0)
    cell = np.minimum((points - low) / np.maximum(high - low, 1e-30) * 1024, 1023).astype(np.uint32)
    code = np.zeros(len(points), np.uint32)
    for axis in range(3):
        x = cell[:, axis]
        for shift, mask in ((16, 0x30000FF), (8, 0x300F00F), (4, 0x30C30C3), (2, 0x9249249)):
            x = (x | (x << np.uint32(shift))) & np.uint32(mask)
        code |= x << np.uint32(axis)
    return np.argsort(code, kind="stable")


def smallest_three(quats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [N, 4] unit
    """The place of the largest component [N] and the other three [N, 3] in their order, signs such that the largest is positive."""
    largest = np.abs(quats).argmax(1)
    rows = np.arange(len(quats))
    sign = np.where(quats[rows, largest] < 0, -1, 1).astype(np.float32)
    return largest, quats[rows[:, None], OTHERS[largest]] * sign[:, None]


def from_smallest_three(largest: np.ndarray, others: np.ndarray) -> np.ndarray:  # [N], [N, 3] -> [N, 4]
    """Unit quaternions, in the order of components that `largest` counts in."""
    out = np.empty((len(largest), 4), np.float32)
    rows = np.arange(len(largest))
    out[rows[:, None], OTHERS[largest]] = others
    out[rows, largest] = np.sqrt(np.maximum(1 - np.einsum("nk,nk->n", others, others), 0))
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


def codebook(values: np.ndarray, size: int = 256, rounds: int = 12) -> tuple[np.ndarray, np.ndarray]:  # [N, C] -> [size], [N, C] uint8
    """Values that stand for all others with the least squares (Lloyd's algorithm in one dimension), sorted, and which one stands for each.

    Starts from quantiles mixed with even steps, so that neither the crowd nor the edges are lost; works on a histogram of 65,536 cells.
    """
    low, high = float(values.min(initial=np.inf)), float(values.max(initial=-np.inf))
    if not low < high:
        return np.full(size, low if low == high else 0, np.float32), np.zeros(values.shape, np.uint8)
    cells = 1 << 16
    step = (high - low) / (cells - 1)
    place = np.rint((values - low) / step).astype(np.int64).ravel()
    count = np.bincount(place, minlength=cells).astype(float)
    middle = low + step * np.arange(cells)
    spread = np.cumsum(np.cbrt(count))  # the best density of steps goes with the cube root (Panter and Dite 1951)
    table = np.interp((np.arange(size) + 0.5) / size * spread[-1], spread, middle)
    for _ in range(rounds):
        nearest = np.searchsorted((table[1:] + table[:-1]) / 2, middle)
        weight = np.bincount(nearest, count, size)
        table = np.where(weight > 0, np.bincount(nearest, count * middle, size) / np.maximum(weight, 1), table)
        table.sort()
    nearest = np.searchsorted((table[1:] + table[:-1]) / 2, middle).astype(np.uint8)
    return table.astype(np.float32), nearest[place].reshape(values.shape)
