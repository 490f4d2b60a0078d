"""The compiled loop of the choice of photos. Imports numba."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def propagate(cost, order, starts, pairs, seam, sweeps):
    """Labels [F] by min-sum belief propagation on costs [F, L] with `seam` between different neighbours.

    order[starts[f] : starts[f + 1]] are the half edges that leave face f; half edge h belongs to pair h // 2 and h ^ 1 is the way back.
    """
    count, labels = cost.shape
    messages = np.zeros((2 * len(pairs), labels), np.float32)  # what a face tells the other end of its half edge
    belief, told = np.empty(labels, np.float32), np.empty(labels, np.float32)
    out = np.empty(count, np.int64)
    for sweep in range(sweeps):
        for n in range(count):
            f = n if sweep % 2 == 0 else count - 1 - n
            belief[:] = cost[f]
            for h in order[starts[f] : starts[f + 1]]:
                belief += messages[h ^ 1]
            out[f] = belief.argmin()
            for h in order[starts[f] : starts[f + 1]]:
                told[:] = belief - messages[h ^ 1]
                least = told.min()
                for k in range(labels):
                    messages[h, k] = min(told[k] - least, seam)
    return out
