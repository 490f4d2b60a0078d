"""Contains the compiled loops of the plane sweep for `sweep_cpu`. Imports numba.

A row of one reference is one piece of work. The dot products with the four texels around a place do not depend on where between them it lies: they
are kept while the place stays in its square along the hypotheses.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from recon.models.layers.plane_sweep.arguments import LEAST_WEIGHT, NEAREST_Z, NONE_SEES

FAST = {"contract", "reassoc", "nsz", "arcp"}  # not "nnan" or "ninf"
HALF, ONE, ZERO = np.float32(0.5), np.float32(1), np.float32(0)
NEAR, LEAST, NONE, LOWEST = np.float32(NEAREST_Z), np.float32(LEAST_WEIGHT), np.float32(NONE_SEES), np.float32(-3e38)


@njit(fastmath=FAST)
def _dot(a: np.ndarray, b: np.ndarray) -> np.float32:
    total = ZERO
    for c in range(len(a)):  # from 0: an index whose sign numba cannot see makes no vector code
        total += a[c] * b[c]
    return total


@njit(fastmath=FAST)
def _dots(reference: np.ndarray, source: np.ndarray, x: int, y: int, groups: int, out: np.ndarray) -> None:
    """Dot products of each group with the four texels of the square at (x, y) into out [4, G]; 0 outside the picture."""
    height, width, channels = source.shape
    size = channels // groups
    for t in range(4):
        column, row = x + t % 2, y + t // 2
        inside = 0 <= column < width and 0 <= row < height
        for g in range(groups):
            part = slice(g * size, g * size + size)
            out[t, g] = _dot(reference[part], source[row, column, part]) if inside else ZERO


@njit(fastmath=FAST)
def _sweep_cell(reference: np.ndarray, source: np.ndarray, matrix: np.ndarray, offset: np.ndarray, u: np.float32, v: np.float32,
                first: np.float32, step: np.float32, groups: int, dots: np.ndarray, values: np.ndarray, seen: np.ndarray) -> None:  # fmt: skip
    """One reference cell against one source: similarities into values [G, D], where seen [D]."""
    height, width, _ = source.shape
    px = matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2]
    py = matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2]
    pz = matrix[2, 0] * u + matrix[2, 1] * v + matrix[2, 2]
    square_x, square_y = -2, -2
    for d in range(len(seen)):
        inverse_depth = max(first + np.float32(d) * step, ZERO)
        z = pz + inverse_depth * offset[2]
        scale = ONE / z if z > NEAR else ZERO
        x, y = (px + inverse_depth * offset[0]) * scale, (py + inverse_depth * offset[1]) * scale
        seen[d] = x > ZERO and x < ONE and y > ZERO and y < ONE
        if not seen[d]:
            for g in range(groups):
                values[g, d] = ZERO
            continue
        x, y = x * np.float32(width) - HALF, y * np.float32(height) - HALF
        left, top = math.floor(x), math.floor(y)
        if left != square_x or top != square_y:
            square_x, square_y = left, top
            _dots(reference, source, left, top, groups, dots)
        right, down = x - np.float32(left), y - np.float32(top)
        for g in range(groups):
            upper = dots[0, g] + right * (dots[1, g] - dots[0, g])
            lower = dots[2, g] + right * (dots[3, g] - dots[2, g])
            values[g, d] = upper + down * (lower - upper)


@njit(parallel=True, cache=True, fastmath=FAST)
def sweep_each(reference: np.ndarray, sources: np.ndarray, source_index: np.ndarray, matrix: np.ndarray, offset: np.ndarray, first: np.ndarray,
               step: np.ndarray, groups: int, similarity: np.ndarray, seen: np.ndarray) -> None:  # fmt: skip
    """Fills similarity [M, S, G, D, h, w] and seen [M, S, D, h, w]; features are channels last."""
    references, height, width, _ = reference.shape
    planes = seen.shape[2]
    for work in prange(references * height):
        m, i = work // height, work % height
        dots, values, sees = np.empty((4, groups), np.float32), np.empty((groups, planes), np.float32), np.empty(planes, np.bool_)
        v = (np.float32(i) + HALF) / np.float32(height)
        for s in range(source_index.shape[1]):
            source = sources[source_index[m, s]]
            for j in range(width):
                u = (np.float32(j) + HALF) / np.float32(width)
                _sweep_cell(reference[m, i, j], source, matrix[m, s], offset[m, s], u, v, first[m, i, j], step[m, i, j], groups, dots, values, sees)
                for d in range(planes):
                    seen[m, s, d, i, j] = sees[d]
                for g in range(groups):
                    for d in range(planes):
                        similarity[m, s, g, d, i, j] = values[g, d]


@njit(parallel=True, cache=True, fastmath=FAST)
def sweep_pooled(reference: np.ndarray, sources: np.ndarray, source_index: np.ndarray, matrix: np.ndarray, offset: np.ndarray, first: np.ndarray,
                 step: np.ndarray, groups: int, weights: np.ndarray, mean: np.ndarray, best: np.ndarray, seen: np.ndarray) -> None:  # fmt: skip
    """Fills mean and best [M, G, D, h, w] and seen [M, S, D, h, w]; features are channels last."""
    references, height, width, _ = reference.shape
    planes = seen.shape[2]
    for work in prange(references * height):
        m, i = work // height, work % height
        dots, values, sees = np.empty((4, groups), np.float32), np.empty((groups, planes), np.float32), np.empty(planes, np.bool_)
        sums, greatest, total = np.empty((groups, planes), np.float32), np.empty((groups, planes), np.float32), np.empty(planes, np.float32)
        v = (np.float32(i) + HALF) / np.float32(height)
        for j in range(width):
            u = (np.float32(j) + HALF) / np.float32(width)
            sums[:], total[:], greatest[:] = ZERO, ZERO, LOWEST
            for s in range(source_index.shape[1]):
                source, weight = sources[source_index[m, s]], weights[m, s, i, j]
                _sweep_cell(reference[m, i, j], source, matrix[m, s], offset[m, s], u, v, first[m, i, j], step[m, i, j], groups, dots, values, sees)
                for d in range(planes):
                    seen[m, s, d, i, j] = sees[d]
                    if not sees[d]:
                        continue
                    total[d] += weight
                    for g in range(groups):
                        sums[g, d] += weight * values[g, d]
                        greatest[g, d] = max(greatest[g, d], values[g, d])
            for g in range(groups):
                for d in range(planes):
                    mean[m, g, d, i, j] = sums[g, d] / max(total[d], LEAST)
                    best[m, g, d, i, j] = greatest[g, d] if greatest[g, d] > LOWEST else NONE
