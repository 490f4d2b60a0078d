"""The points nearest to the rays that see them, compiled (numba): one pass over the observations for sums, one over the points, one for angles."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

LEAST_DETERMINANT = 1e-12  # of the summed projectors: below it the rays are parallel


@njit(cache=True, nogil=True)
def solve_symmetric(m, b, x):
    """x of M x = b, m the upper triangle of M row by row; False, and x NaN, where M is singular."""
    c0, c1, c2 = m[3] * m[5] - m[4] * m[4], m[2] * m[4] - m[1] * m[5], m[1] * m[4] - m[2] * m[3]
    determinant = m[0] * c0 + m[1] * c1 + m[2] * c2
    if not determinant > LEAST_DETERMINANT:
        x[0] = x[1] = x[2] = np.nan
        return False
    x[0] = (c0 * b[0] + c1 * b[1] + c2 * b[2]) / determinant
    x[1] = (c1 * b[0] + (m[0] * m[5] - m[2] * m[2]) * b[1] + (m[1] * m[2] - m[0] * m[4]) * b[2]) / determinant
    x[2] = (c2 * b[0] + (m[1] * m[2] - m[0] * m[4]) * b[1] + (m[0] * m[3] - m[1] * m[1]) * b[2]) / determinant
    return True


@njit(cache=True, nogil=True)
def intersected(view, point, xy, count, focal, principal, R, t):
    """Points [count, 3] and angles [count]; see `recon.cameras.tracks.triangulate`."""
    rays, mean = np.empty((len(view), 3)), np.zeros((count, 3))
    M, b, seen = np.zeros((count, 6)), np.zeros((count, 3)), np.zeros(count, np.int64)
    points, angle = np.empty((count, 3)), np.zeros(count)
    centre = np.empty((len(R), 3))
    for v in range(len(R)):
        for i in range(3):
            centre[v, i] = -(R[v, 0, i] * t[v, 0] + R[v, 1, i] * t[v, 1] + R[v, 2, i] * t[v, 2])
    for o in range(len(view)):
        v, p = view[o], point[o]
        x, y = (xy[o, 0] - principal[v, 0]) / focal[v, 0], (xy[o, 1] - principal[v, 1]) / focal[v, 1]
        size = math.sqrt(x * x + y * y + 1)
        for i in range(3):
            rays[o, i] = (R[v, 0, i] * x + R[v, 1, i] * y + R[v, 2, i]) / size
            mean[p, i] += rays[o, i]
        along = rays[o, 0] * centre[v, 0] + rays[o, 1] * centre[v, 1] + rays[o, 2] * centre[v, 2]
        k = 0
        for i in range(3):
            b[p, i] += centre[v, i] - rays[o, i] * along
            for j in range(i, 3):
                M[p, k] += (i == j) - rays[o, i] * rays[o, j]
                k += 1
        seen[p] += 1
    for p in range(count):
        if seen[p] < 2:
            M[p, :] = 0.0
        if not solve_symmetric(M[p], b[p], points[p]):
            seen[p] = 0
        size = max(math.sqrt(mean[p, 0] ** 2 + mean[p, 1] ** 2 + mean[p, 2] ** 2), 1e-12)
        for i in range(3):
            mean[p, i] /= size
    for o in range(len(view)):
        p = point[o]
        if seen[p]:
            r, m = rays[o], mean[p]
            a, c, d = r[1] * m[2] - r[2] * m[1], r[2] * m[0] - r[0] * m[2], r[0] * m[1] - r[1] * m[0]
            off = math.atan2(math.sqrt(a * a + c * c + d * d), r[0] * m[0] + r[1] * m[1] + r[2] * m[2])
            angle[p] = max(angle[p], 2 * off)
    return points, angle
