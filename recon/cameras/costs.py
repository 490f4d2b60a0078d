"""What poses of pairs leave unexplained, compiled: one pass over the matches of each, on one core (numba)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from recon.cameras.descent import fundamental, product


@njit(cache=True, nogil=True)
def sides(R, t, x, y, z, u, v, w):
    """Signs of the depths along the rays (x, y, z) of a and (u, v, w) of b at which they come closest: in front of both where both are below 0."""
    p, q, s = R[0, 0] * x + R[0, 1] * y + R[0, 2] * z, R[1, 0] * x + R[1, 1] * y + R[1, 2] * z, R[2, 0] * x + R[2, 1] * y + R[2, 2] * z
    n0, n1, n2 = q * w - s * v, s * u - p * w, p * v - q * u
    first = n0 * (t[1] * w - t[2] * v) + n1 * (t[2] * u - t[0] * w) + n2 * (t[0] * v - t[1] * u)
    second = n0 * (t[1] * s - t[2] * q) + n1 * (t[2] * p - t[0] * s) + n2 * (t[0] * q - t[1] * p)
    return first, second


@njit(cache=True, nogil=True)
def cost_rows(first, last, a, b, share, problem, threshold, clip, R, t, log_focal, out):
    """Mean cost of the matches, by share, of the poses first..last-1, into out [B]; pose k is of problem[k]. See `recon.cameras.epipolar.cost`.

    a, b [P, 3, N], share [P, N]; R [B, 3, 3], t [B, 3], log_focal [B, 2].
    """
    F, twist, flip, count = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3)), np.empty(4)
    each = np.empty(share.shape[1])
    for k in range(first, last):
        q = problem[k]
        fundamental(R[k], t[k], log_focal[k], F)
        fa, fb = math.exp(-log_focal[k, 0]), math.exp(-log_focal[k, 1])
        for i in range(3):
            for j in range(3):
                flip[i, j] = 2 * t[k, i] * t[k, j] - (i == j)
        product(flip, R[k], twist)
        for n in range(4):
            count[n] = 0
        for n in range(len(each)):
            each[n] = clip
            if share[q, n] > 0:
                x, y, u, v = a[q, 0, n], a[q, 1, n], b[q, 0, n], b[q, 1, n]
                l0, l1, l2 = F[0, 0] * x + F[0, 1] * y + F[0, 2], F[1, 0] * x + F[1, 1] * y + F[1, 2], F[2, 0] * x + F[2, 1] * y + F[2, 2]
                m0, m1 = F[0, 0] * u + F[1, 0] * v + F[2, 0], F[0, 1] * u + F[1, 1] * v + F[2, 1]
                r = (u * l0 + v * l1 + l2) ** 2 / max(l0 * l0 + l1 * l1 + m0 * m0 + m1 * m1, 1e-30)
                each[n] = min(math.log1p(r / threshold**2), clip)
                if each[n] < clip:
                    one, two = sides(R[k], t[k], x * fa, y * fa, 1.0, u * fb, v * fb, 1.0)
                    count[0] += one < 0 and two < 0
                    count[1] += one > 0 and two > 0
                    one, two = sides(twist, t[k], x * fa, y * fa, 1.0, u * fb, v * fb, 1.0)
                    count[2] += one < 0 and two < 0
                    count[3] += one > 0 and two > 0
        best = 0
        for n in range(1, 4):
            best = n if count[n] > count[best] else best
        turn, sign = (R[k] if best < 2 else twist), 1.0 - 2.0 * (best % 2)
        total, weight = 0.0, 0.0
        for n in range(len(each)):
            cost = each[n]
            if cost < clip:
                x, y, u, v = a[q, 0, n] * fa, a[q, 1, n] * fa, b[q, 0, n], b[q, 1, n]
                one, two = sides(turn, t[k], x, y, 1.0, u * fb, v * fb, 1.0)
                if not (sign * one < 0 and sign * two < 0):  # behind, unless its parallax drowns in the noise
                    z = max(turn[2, 0] * x + turn[2, 1] * y + turn[2, 2], 1e-6) * fb
                    far_x, far_y = (turn[0, 0] * x + turn[0, 1] * y + turn[0, 2]) / z, (turn[1, 0] * x + turn[1, 1] * y + turn[1, 2]) / z
                    if (far_x - u) ** 2 + (far_y - v) ** 2 > (3 * threshold) ** 2:
                        cost = clip
            total += share[q, n] * cost
            weight += share[q, n]
        out[k] = total / max(weight, 1e-12)
