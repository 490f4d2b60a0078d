"""Compiled loops that sort splats by depth and list those of each tile; for `render_cpu`. Imports numba."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from recon.render.cpu_project import CULLED, LOG2_MIN_ALPHA, REACH_MARGIN, TILE

FIRST, LAST, SIDE, NONE = np.float32(0.5), np.float32(15.5), np.float32(1 / TILE), np.float32(0)


@njit(parallel=True, cache=True, error_model="numpy")
def sort_by_depth(keys: np.ndarray, ranks: np.ndarray, parts: int) -> np.ndarray:  # [N] uint32, [N] or [0] uint32 -> [M] uint32
    """Numbers of the seen ones by increasing key: radix sort with three digits of 11 bits, in parallel parts.

    Equal keys stay in their order, or in that of `ranks`, which lists all numbers.
    """
    count = len(keys)
    order, other = np.empty(count, np.uint32), np.empty(count, np.uint32)
    seen = 0
    for j in range(count):
        i = ranks[j] if len(ranks) else np.uint32(j)
        if keys[i] != CULLED:
            order[seen] = i
            seen += 1
    place = np.zeros((parts, 2048), np.int64)
    for shift in (0, 11, 22):
        place[:] = 0
        for p in prange(parts):
            for j in range(seen * p // parts, seen * (p + 1) // parts):
                place[p, (keys[order[j]] >> np.uint32(shift)) & np.uint32(2047)] += 1
        total = 0
        for digit in range(2048):
            for p in range(parts):
                total, place[p, digit] = total + place[p, digit], total
        for p in prange(parts):
            for j in range(seen * p // parts, seen * (p + 1) // parts):
                digit = (keys[order[j]] >> np.uint32(shift)) & np.uint32(2047)
                other[place[p, digit]] = order[j]
                place[p, digit] += 1
        order, other = other, order
    return order[:seen]


@njit(inline="always", error_model="numpy")
def _columns(splats: np.ndarray, i: int, row: int, first: int, last: int) -> tuple[int, int]:
    """Which of the tiles [first, last) of a row of tiles the ellipse of splat i touches, by its outermost points between the row's pixels."""
    x, y, la, lb, lc = splats[i, 0], splats[i, 1], splats[i, 2], splats[i, 3], splats[i, 4]
    reach = splats[i, 5] - np.float32(LOG2_MIN_ALPHA - REACH_MARGIN)
    half, edge = math.sqrt(reach) / lc, np.float32(row * TILE) - y
    low, high = max(edge + FIRST, -half), min(edge + LAST, half)
    if low > high:
        return first, first
    tip = lb * half / math.sqrt(lb * lb + lc * lc)
    d = min(max(-tip, low), high)
    right = x + (math.sqrt(max(reach - lc * d * (lc * d), NONE)) - lb * d) / la
    d = min(max(tip, low), high)
    left = x - (math.sqrt(max(reach - lc * d * (lc * d), NONE)) + lb * d) / la
    begin = max(first, min(last, math.ceil((left - LAST) * SIDE)))
    return begin, max(begin, min(last, math.floor((right - FIRST) * SIDE) + 1))


@njit(parallel=True, cache=True, error_model="numpy")
def count_pairs(splats: np.ndarray, order: np.ndarray, boxes: np.ndarray, ellipses: bool, columns: int, counts: np.ndarray) -> None:
    """Adds to counts [parts, tiles] how many splats of each part of the order touch each tile.

    Boxes [N, 4] in tiles: columns [first, last), rows [first, last). Ellipses (Gaussians) touch not all tiles of theirs, surfels are taken to.
    """
    parts = len(counts)
    for p in prange(parts):
        for j in range(len(order) * p // parts, len(order) * (p + 1) // parts):
            i = order[j]
            left, right, top, bottom = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
            wide = ellipses and right - left > 1 and bottom - top > 1
            for row in range(top, bottom):
                first, last = _columns(splats, i, row, left, right) if wide else (left, right)
                for column in range(first, last):
                    counts[p, row * columns + column] += 1


@njit(parallel=True, cache=True, error_model="numpy")
def list_pairs(
    splats: np.ndarray, order: np.ndarray, boxes: np.ndarray, ellipses: bool, columns: int, places: np.ndarray, listed: np.ndarray
) -> None:
    """The same walk, writing each splat's number; `places` [parts, tiles] are used up. (One function for a step of both takes a tenth longer.)"""
    parts = len(places)
    for p in prange(parts):
        for j in range(len(order) * p // parts, len(order) * (p + 1) // parts):
            i = order[j]
            left, right, top, bottom = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3]
            wide = ellipses and right - left > 1 and bottom - top > 1
            for row in range(top, bottom):
                first, last = _columns(splats, i, row, left, right) if wide else (left, right)
                for column in range(first, last):
                    listed[places[p, row * columns + column]] = i
                    places[p, row * columns + column] += 1
