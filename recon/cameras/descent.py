"""The refinement of many pairs' poses and focal lengths, compiled: each problem goes its own way through all its rounds on one core (numba).

Levenberg-Marquardt on the Sampson error; the formulas are those of recon.cameras.epipolar, where the same derivatives stand batched. In a round
the 9 derivatives by the entries of F are summed to a 10 x 10 matrix first, and only that is carried over to the 7 unknowns.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

FAST = {"reassoc", "contract", "arcp", "nsz"}  # sums over matches in any order; NaN and infinity stay what they are
UNKNOWNS = 7  # rotation (3, left), translation tangent (2), focal (2)
LEAST = 8  # matches that a pose is refined on
GIVE_UP = 5  # steps in a row that lower nothing


@njit(cache=True, nogil=True)
def skewed(t, S):
    """S = [t]x."""
    S[0, 0], S[0, 1], S[0, 2] = 0.0, -t[2], t[1]
    S[1, 0], S[1, 1], S[1, 2] = t[2], 0.0, -t[0]
    S[2, 0], S[2, 1], S[2, 2] = -t[1], t[0], 0.0


@njit(cache=True, nogil=True)
def product(A, B, C):
    """C = A B of 3 x 3 matrices."""
    for i in range(3):
        for j in range(3):
            C[i, j] = A[i, 0] * B[0, j] + A[i, 1] * B[1, j] + A[i, 2] * B[2, j]


@njit(cache=True, nogil=True)
def tangents(t, T):
    """T [2, 3]: two unit vectors at right angles to the unit vector t."""
    least = 0
    for k in range(1, 3):
        if abs(t[k]) < abs(t[least]):
            least = k
    k, m = (least + 1) % 3, (least + 2) % 3
    size = math.sqrt(t[k] * t[k] + t[m] * t[m])
    T[0, least], T[0, k], T[0, m] = 0.0, t[m] / size, -t[k] / size  # t x the axis that it is farthest from
    for i in range(3):
        k, m = (i + 1) % 3, (i + 2) % 3
        T[1, i] = t[k] * T[0, m] - t[m] * T[0, k]


@njit(cache=True, nogil=True)
def rotated(w, R, out):
    """out = exp([w]x) R (Rodrigues)."""
    angle = math.sqrt(w[0] * w[0] + w[1] * w[1] + w[2] * w[2])
    one = math.sin(angle) / angle if angle > 1e-12 else 1.0
    half = math.sin(angle / 2) / (angle / 2) if angle > 1e-12 else 1.0
    W, WW = np.empty((3, 3)), np.empty((3, 3))
    skewed(w, W)
    product(W, W, WW)
    for i in range(3):
        for j in range(3):
            W[i, j] = (i == j) + one * W[i, j] + 0.5 * half * half * WW[i, j]
    product(W, R, out)


@njit(cache=True, nogil=True)
def lenses(F, log_focal):
    """F of rays becomes F of pixels, in place."""
    left, right = math.exp(-log_focal[1]), math.exp(-log_focal[0])
    for i in range(3):
        for j in range(3):
            F[i, j] *= (left if i < 2 else 1.0) * (right if j < 2 else 1.0)


@njit(cache=True, nogil=True)
def fundamental(R, t, log_focal, F):
    """F between pixels relative to the principal points."""
    S = np.empty((3, 3))
    skewed(t, S)
    product(S, R, F)
    lenses(F, log_focal)


@njit(cache=True, nogil=True)
def derivatives(R, t, log_focal, columns, F, D):
    """D [7, 9] of the entries of F by the unknowns."""
    S, T, X, Y = np.empty((3, 3)), np.empty((2, 3)), np.empty((3, 3)), np.empty((3, 3))
    axis = np.zeros(3)
    skewed(t, S)
    tangents(t, T)
    for k in range(5):
        if k < 3:
            for i in range(3):
                axis[i] = i == k
            skewed(axis, X)
            product(S, X, Y)
        else:
            skewed(T[k - 3], Y)
        product(Y, R, X)
        lenses(X, log_focal)
        for i in range(9):
            D[k, i] = X[i // 3, i % 3]
    for c in range(2):
        for i in range(3):
            for j in range(3):
                D[5 + c, 3 * i + j] = -F[i, j] * (columns[0, c] * (j < 2) + columns[1, c] * (i < 2))


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def residuals(F, a, b, count, r):
    """Signed Sampson distances r [count] in pixels of points a, b [2 or 3, N]."""
    for n in range(count):
        x, y, u, v = a[0, n], a[1, n], b[0, n], b[1, n]
        l0, l1, l2 = F[0, 0] * x + F[0, 1] * y + F[0, 2], F[1, 0] * x + F[1, 1] * y + F[1, 2], F[2, 0] * x + F[2, 1] * y + F[2, 2]
        m0, m1 = F[0, 0] * u + F[1, 0] * v + F[2, 0], F[0, 1] * u + F[1, 1] * v + F[2, 1]
        r[n] = (u * l0 + v * l1 + l2) / math.sqrt(max(l0 * l0 + l1 * l1 + m0 * m0 + m1 * m1, 1e-30))


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def gradients(F, a, b, share, count, threshold, G):
    """G [10, N]: the weighted derivatives of the residuals by the 9 entries of F, and the weighted residuals, in thresholds."""
    for n in range(count):
        x, y, u, v = a[0, n], a[1, n], b[0, n], b[1, n]
        l0, l1, l2 = F[0, 0] * x + F[0, 1] * y + F[0, 2], F[1, 0] * x + F[1, 1] * y + F[1, 2], F[2, 0] * x + F[2, 1] * y + F[2, 2]
        m0, m1 = F[0, 0] * u + F[1, 0] * v + F[2, 0], F[0, 1] * u + F[1, 1] * v + F[2, 1]
        inverse = 1 / math.sqrt(max(l0 * l0 + l1 * l1 + m0 * m0 + m1 * m1, 1e-30))
        r = (u * l0 + v * l1 + l2) * inverse
        pull = r * inverse * inverse
        weight = math.sqrt(share[n] / (1 + (r / threshold) ** 2)) / threshold
        s0, s1, s2 = weight * (u * inverse - l0 * pull), weight * (v * inverse - l1 * pull), weight * inverse
        pull *= weight
        G[0, n], G[1, n], G[2, n] = s0 * x - u * m0 * pull, s0 * y - u * m1 * pull, s0
        G[3, n], G[4, n], G[5, n] = s1 * x - v * m0 * pull, s1 * y - v * m1 * pull, s1
        G[6, n], G[7, n], G[8, n] = s2 * x - m0 * pull, s2 * y - m1 * pull, s2
        G[9, n] = weight * r


@njit(cache=True, nogil=True, fastmath=FAST)
def squared(G, count, M):
    """M = G G', over the first `count` columns."""
    for i in range(len(G)):
        for j in range(i + 1):
            total = 0.0
            for n in range(count):
                total += G[i, n] * G[j, n]
            M[i, j] = M[j, i] = total


@njit(cache=True, nogil=True)
def solved(H, g):
    """The solution of H x = g by Cholesky, in place of g; False where H is not positive."""
    size = len(g)
    for i in range(size):
        for j in range(i + 1):
            total = H[i, j]
            for k in range(j):
                total -= H[i, k] * H[j, k]
            if i > j:
                H[i, j] = total / H[j, j]
            elif total > 0:
                H[i, i] = math.sqrt(total)
            else:
                return False
        for k in range(i):
            g[i] -= H[i, k] * g[k]
        g[i] /= H[i, i]
    for i in range(size - 1, -1, -1):
        for k in range(i + 1, size):
            g[i] -= H[k, i] * g[k]
        g[i] /= H[i, i]
    return True


@njit(cache=True, nogil=True)
def from_prior(log_focal, log_prior, columns, off):
    """How far the focal unknowns are from their prior, into off [2]."""
    for c in range(2):
        total = max(columns[0, c] + columns[1, c], 1.0)
        off[c] = (columns[0, c] * (log_focal[0] - log_prior[0]) + columns[1, c] * (log_focal[1] - log_prior[1])) / total


@njit(cache=True, nogil=True, fastmath=FAST)
def spent(r, share, count, threshold, prior, off):
    """The cost: sum share log1p((r / threshold)^2), and the prior's."""
    total = prior * (off[0] ** 2 + off[1] ** 2)
    for n in range(count):
        total += share[n] * math.log1p((r[n] / threshold) ** 2)
    return total


@njit(cache=True, nogil=True)
def normal_equations(M, D, prior, off, H, g):
    """H [7, 7] and g [7] of the unknowns, from M of the entries of F and the focal prior."""
    for i in range(UNKNOWNS):
        g[i] = prior * off[i - 5] if i > 4 else 0.0
        for k in range(9):
            g[i] += D[i, k] * M[k, 9]
        for j in range(i + 1):
            total = prior if i == j and i > 4 else 0.0
            for k in range(9):
                for m in range(9):
                    total += D[i, k] * M[k, m] * D[j, m]
            H[i, j] = H[j, i] = total


@njit(cache=True, nogil=True)
def step(H, g, damping, A, x):
    """The damped step into x [7]; A is room to work in; False where there is none."""
    for i in range(UNKNOWNS):
        x[i] = -g[i]
        for j in range(UNKNOWNS):
            A[i, j] = H[i, j]
        A[i, i] = A[i, i] * (1 + damping) + damping * 1e-9 + 1e-12
    return solved(A, x)


@njit(cache=True, nogil=True)
def stepped(R, t, log_focal, columns, x, new_R, new_t, new_log):
    """The pose after a step x [7]."""
    T = np.empty((2, 3))
    tangents(t, T)
    rotated(x, R, new_R)
    size = 0.0
    for i in range(3):
        new_t[i] = t[i] + x[3] * T[0, i] + x[4] * T[1, i]
        size += new_t[i] * new_t[i]
    for i in range(3):
        new_t[i] /= math.sqrt(size)
    for v in range(2):
        new_log[v] = log_focal[v] + columns[v, 0] * x[5] + columns[v, 1] * x[6]


@njit(cache=True, nogil=True)
def assign(R, t, log_focal, new_R, new_t, new_log):
    """The new pose in place of the old."""
    for i in range(3):
        t[i] = new_t[i]
        for j in range(3):
            R[i, j] = new_R[i, j]
    log_focal[0], log_focal[1] = new_log[0], new_log[1]


@njit(cache=True, nogil=True)
def descend(a, b, share, count, log_prior, columns, prior, threshold, rounds, converged, R, t, log_focal, G):
    """At most so many rounds on the first `count` matches; R, t and log_focal are changed in place."""
    F, D, M, H, A = np.empty((3, 3)), np.empty((UNKNOWNS, 9)), np.empty((10, 10)), np.empty((UNKNOWNS, UNKNOWNS)), np.empty((UNKNOWNS, UNKNOWNS))
    g, x, off, new_R, new_t, new_log = np.empty(UNKNOWNS), np.empty(UNKNOWNS), np.empty(2), np.empty((3, 3)), np.empty(3), np.empty(2)
    r = G[0]  # its room: the residuals are needed no more when derivatives are
    fundamental(R, t, log_focal, F)
    residuals(F, a, b, count, r)
    from_prior(log_focal, log_prior, columns, off)
    old = spent(r, share, count, threshold, prior, off)
    damping, failed = 1e-4, 0
    for _ in range(rounds):
        if failed == 0:
            derivatives(R, t, log_focal, columns, F, D)
            gradients(F, a, b, share, count, threshold, G)
            squared(G, count, M)
            normal_equations(M, D, prior, off, H, g)
        new = np.inf
        if step(H, g, damping, A, x):
            stepped(R, t, log_focal, columns, x, new_R, new_t, new_log)
            fundamental(new_R, new_t, new_log, F)
            residuals(F, a, b, count, r)
            from_prior(new_log, log_prior, columns, off)
            new = spent(r, share, count, threshold, prior, off)
        if new < old:
            assign(R, t, log_focal, new_R, new_t, new_log)
            gain, old = (old - new) / max(old, 1e-30), new
            damping, failed = max(damping / 10, 1e-9), 0
            if gain < converged:
                return
        else:
            damping, failed = damping * 10, failed + 1
            if failed == GIVE_UP:
                return


@njit(cache=True, nogil=True)
def refine_rows(first, last, a, b, share, problem, log_prior, columns, prior, threshold, schedule, converged, R, t, log_focal):
    """The poses first..last-1, R [B, 3, 3], t [B, 3], log_focal [B, 2], refined in place; pose k is of problem[k].

    The problems: a, b [P, 3, N], share [P, N], log_prior [P, 2], columns [P, 2, 2], prior [P] its weight. schedule: (inliers within so many
    thresholds, rounds) one after the other.
    """
    size = share.shape[1]
    near_a, near_b, near, G = np.empty((2, size)), np.empty((2, size)), np.empty(size), np.empty((10, size))
    r, F = np.empty(size), np.empty((3, 3))
    for k in range(first, last):
        q = problem[k]
        for width, rounds in schedule:
            fundamental(R[k], t[k], log_focal[k], F)
            residuals(F, a[q], b[q], size, r)
            count = 0
            for n in range(size):
                if share[q, n] > 0 and abs(r[n]) < width * threshold:
                    near_a[0, count], near_a[1, count], near_b[0, count], near_b[1, count] = a[q, 0, n], a[q, 1, n], b[q, 0, n], b[q, 1, n]
                    near[count] = share[q, n]
                    count += 1
            if count >= LEAST:
                mine = log_prior[q], columns[q], prior[q]
                descend(near_a, near_b, near, count, *mine, threshold, int(rounds), converged, R[k], t[k], log_focal[k], G)
