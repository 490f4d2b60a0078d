"""The normal equations of bundle adjustment with the points eliminated, compiled (numba): passes over points, and over the views' own rows.

Observations are in the order of their points: those of point k are start[k] .. start[k + 1] - 1. `rows` lists them by view: those of view v are
rows[begin[v]] .. rows[begin[v + 1] - 1]. Every sum has one owner and one order, so that any number of cores gives the same result.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

CAMERA = 7  # parameters of a view: rotation (left), translation, log focal


@njit(cache=True, nogil=True)
def seen(R, t, X, x):
    """x = R X + t."""
    for i in range(3):
        x[i] = R[i, 0] * X[0] + R[i, 1] * X[1] + R[i, 2] * X[2] + t[i]


@njit(cache=True, nogil=True)
def cost_rows(first, last, start, view, xy, R, t, focal, principal, points, threshold, out):
    """Sum of log1p((error / threshold)^2) of each point first..last-1, into out [P]."""
    x = np.empty(3)
    for p in range(first, last):
        out[p] = 0.0
        for o in range(start[p], start[p + 1]):
            v = view[o]
            seen(R[v], t[v], points[p], x)
            z = max(x[2], 1e-9)
            e0, e1 = focal[v, 0] * x[0] / z + principal[v, 0] - xy[o, 0], focal[v, 1] * x[1] / z + principal[v, 1] - xy[o, 1]
            out[p] += math.log1p((e0 * e0 + e1 * e1) / threshold**2)


@njit(cache=True, nogil=True)
def linear_rows(first, last, start, view, xy, R, t, focal, principal, points, threshold, Jc, r, W, Vp, h):
    """Weighted Jacobians by camera Jc [O, 2, 7] and residuals r [O, 2], and of points the blocks W [O, 7, 3], Vp [P, 3, 3] and h [P, 3]."""
    x, D, Jp, e = np.empty(3), np.zeros((2, 3)), np.empty((2, 3)), np.empty(2)
    for p in range(first, last):
        for i in range(3):
            h[p, i] = 0.0
            for j in range(3):
                Vp[p, i, j] = 0.0
        for o in range(start[p], start[p + 1]):
            v = view[o]
            seen(R[v], t[v], points[p], x)
            z = max(x[2], 1e-9)
            for k in range(2):
                e[k] = (focal[v, k] * x[k] / z + principal[v, k] - xy[o, k]) / threshold
            weight = 1 / math.sqrt(1 + e[0] * e[0] + e[1] * e[1])
            for k in range(2):
                scale = weight * focal[v, k] / (z * threshold)
                D[k, k], D[k, 2] = scale, -scale * x[k] / z
                r[o, k] = weight * e[k]
                Jc[o, k, 6] = scale * x[k]
            q0, q1, q2 = x[0] - t[v, 0], x[1] - t[v, 1], x[2] - t[v, 2]
            for k in range(2):
                Jc[o, k, 0] = D[k, 2] * q1 - D[k, 1] * q2  # -D [q]x
                Jc[o, k, 1] = D[k, 0] * q2 - D[k, 2] * q0
                Jc[o, k, 2] = D[k, 1] * q0 - D[k, 0] * q1
                for i in range(3):
                    Jc[o, k, 3 + i] = D[k, i]
                    Jp[k, i] = D[k, 0] * R[v, 0, i] + D[k, 1] * R[v, 1, i] + D[k, 2] * R[v, 2, i]
            for i in range(3):
                h[p, i] += Jp[0, i] * r[o, 0] + Jp[1, i] * r[o, 1]
                for j in range(3):
                    Vp[p, i, j] += Jp[0, i] * Jp[0, j] + Jp[1, i] * Jp[1, j]
                for c in range(CAMERA):
                    W[o, c, i] = Jc[o, 0, c] * Jp[0, i] + Jc[o, 1, c] * Jp[1, i]


@njit(cache=True, nogil=True)
def view_rows(first, last, begin, rows, Jc, r, U, g):
    """The blocks U [V, 7, 7] and g [V, 7] of the views first..last-1."""
    for v in range(first, last):
        for c in range(CAMERA):
            g[v, c] = 0.0
            for d in range(CAMERA):
                U[v, c, d] = 0.0
        for k in range(begin[v], begin[v + 1]):
            o = rows[k]
            for c in range(CAMERA):
                g[v, c] += Jc[o, 0, c] * r[o, 0] + Jc[o, 1, c] * r[o, 1]
                for d in range(CAMERA):
                    U[v, c, d] += Jc[o, 0, c] * Jc[o, 0, d] + Jc[o, 1, c] * Jc[o, 1, d]


@njit(cache=True, nogil=True)
def inverted(A, B):
    """B, the inverse of a symmetric 3 x 3 matrix."""
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        for m in range(3):
            n, q = (m + 1) % 3, (m + 2) % 3
            B[m, i] = A[j, n] * A[k, q] - A[j, q] * A[k, n]
    determinant = A[0, 0] * B[0, 0] + A[0, 1] * B[1, 0] + A[0, 2] * B[2, 0]
    for i in range(3):
        for j in range(3):
            B[i, j] /= determinant


@njit(cache=True, nogil=True)
def eliminated_rows(first, last, start, W, Vp, damping, inverse, T):
    """The inverses [P, 3, 3] of the damped blocks of points, and T [O, 7, 3] = W inverse."""
    A = np.empty((3, 3))
    for p in range(first, last):
        largest = max(Vp[p, 0, 0], Vp[p, 1, 1], Vp[p, 2, 2])
        for i in range(3):
            for j in range(3):
                A[i, j] = Vp[p, i, j]
            A[i, i] += damping * A[i, i] + 1e-9 * largest + 1e-15
        inverted(A, inverse[p])
        for o in range(start[p], start[p + 1]):
            for c in range(CAMERA):
                for i in range(3):
                    T[o, c, i] = W[o, c, 0] * inverse[p, 0, i] + W[o, c, 1] * inverse[p, 1, i] + W[o, c, 2] * inverse[p, 2, i]


@njit(cache=True, nogil=True)
def reduced_rows(first, last, begin, rows, start, point, view, T, W, h, U, g, H, rhs):
    """Rows first..last-1 of the reduced system: H [V, 7, V, 7], of which the blocks from the diagonal on are filled, and rhs [V, 7]."""
    for v in range(first, last):
        for c in range(CAMERA):
            rhs[v, c] = -g[v, c]
            for w in range(v, len(U)):
                for d in range(CAMERA):
                    H[v, c, w, d] = U[v, c, d] if v == w else 0.0
        for k in range(begin[v], begin[v + 1]):
            o = rows[k]
            p = point[o]
            for c in range(CAMERA):
                rhs[v, c] += T[o, c, 0] * h[p, 0] + T[o, c, 1] * h[p, 1] + T[o, c, 2] * h[p, 2]
            for other in range(start[p], start[p + 1]):
                w = view[other]
                if w >= v:
                    for c in range(CAMERA):
                        for d in range(CAMERA):
                            H[v, c, w, d] -= T[o, c, 0] * W[other, d, 0] + T[o, c, 1] * W[other, d, 1] + T[o, c, 2] * W[other, d, 2]


@njit(cache=True, nogil=True)
def mirrored_rows(first, last, H):
    """The blocks before the diagonal, from those after it."""
    for v in range(first, last):
        for w in range(v):
            for c in range(CAMERA):
                for d in range(CAMERA):
                    H[v, c, w, d] = H[w, d, v, c]


@njit(cache=True, nogil=True)
def moved_rows(first, last, start, view, W, inverse, h, dc, dp):
    """Steps dp [P, 3] of the points, from those of the cameras dc [V, 7]."""
    b = np.empty(3)
    for p in range(first, last):
        for i in range(3):
            b[i] = h[p, i]
        for o in range(start[p], start[p + 1]):
            for c in range(CAMERA):
                for i in range(3):
                    b[i] += W[o, c, i] * dc[view[o], c]
        for i in range(3):
            dp[p, i] = -(inverse[p, i, 0] * b[0] + inverse[p, i, 1] * b[1] + inverse[p, i, 2] * b[2])
