"""Boxes on shelves: places for the patches of an atlas."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pack(widths: NDArray[np.int64], heights: NDArray[np.int64], width: int) -> tuple[NDArray[np.int64], int]:
    """Left top corners [n, 2] of boxes on shelves of a page of this width, and the page's height. No box is wider than the page.

    The highest boxes come first; a box stands on the first shelf that has room for it, so that low ones fill the ends of high shelves.
    """
    corners = np.zeros((len(widths), 2), np.int64)
    ends, tops = np.zeros(len(widths) + 1, np.int64), np.zeros(len(widths) + 1, np.int64)
    shelves, used = 0, 0
    for box in np.lexsort((-widths, -heights)):
        fits = np.flatnonzero(ends[:shelves] + widths[box] <= width)
        if len(fits):
            shelf = fits[0]
        else:
            shelf, shelves = shelves, shelves + 1
            tops[shelf], used = used, used + heights[box]
        corners[box] = ends[shelf], tops[shelf]
        ends[shelf] += widths[box]
    return corners, int(used)
