"""How matches fit a pure rotation, compiled: passes over the matches of each pose, on one core (numba)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def correlation_rows(first, last, a, b, kept, log_focal, M):
    """M [B, 3, 3]: sums of unit rays of b times those of a over the kept matches [B, N], of the pairs first..last-1.

    a, b [B, 3, N]: pixels from the principal points; log_focal [B, 2].
    """
    for k in range(first, last):
        fa, fb = math.exp(-log_focal[k, 0]), math.exp(-log_focal[k, 1])
        one, two = np.ones(3), np.ones(3)
        M[k] = 0.0
        for n in range(kept.shape[1]):
            if kept[k, n]:
                one[0], one[1], two[0], two[1] = a[k, 0, n] * fa, a[k, 1, n] * fa, b[k, 0, n] * fb, b[k, 1, n] * fb
                weight = 1 / math.sqrt((one[0] ** 2 + one[1] ** 2 + 1) * (two[0] ** 2 + two[1] ** 2 + 1))
                for i in range(3):
                    for j in range(3):
                        M[k, i, j] += two[i] * one[j] * weight


@njit(cache=True, nogil=True)
def distance_rows(first, last, a, b, R, log_focal, out):
    """How far, in pixels, a match is from where the rotation R [B, 3, 3] brings it: out [B, N], of the pairs first..last-1; 1e4 behind."""
    for k in range(first, last):
        fa, fb = math.exp(-log_focal[k, 0]), math.exp(log_focal[k, 1])
        for n in range(out.shape[1]):
            x, y = a[k, 0, n] * fa, a[k, 1, n] * fa
            z = R[k, 2, 0] * x + R[k, 2, 1] * y + R[k, 2, 2]
            out[k, n] = 1e4
            if z > 1e-6:
                off_x = fb * (R[k, 0, 0] * x + R[k, 0, 1] * y + R[k, 0, 2]) / z - b[k, 0, n]
                off_y = fb * (R[k, 1, 0] * x + R[k, 1, 1] * y + R[k, 1, 2]) / z - b[k, 1, n]
                out[k, n] = math.sqrt(off_x * off_x + off_y * off_y)
