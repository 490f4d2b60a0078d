"""The points nearest to the rays that see them, and which observations hold, compiled (numba): one pass over the points, each on its own."""

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
def towards(x, y, R, ray):
    """The unit direction in the world of a point (x, y) of the plane z = 1 of a camera.

    Its own length is taken, not that of (x, y, 1): rotations of given cameras are often true to four digits only, and at small angles between rays
    a direction that is longer than 1 by 1e-4 moves the point along it by as much as the pixels say.
    """
    for i in range(3):
        ray[i] = R[0, i] * x + R[1, i] * y + R[2, i]
    size = math.sqrt(ray[0] ** 2 + ray[1] ** 2 + ray[2] ** 2)
    for i in range(3):
        ray[i] /= size


@njit(cache=True, nogil=True)
def intersected(rows, count, view, xy, focal, principal, R, t, rays, point):
    """The point nearest to the rays of the observations rows[:count], into point [3], and about the largest angle between two of them (see
    `recon.cameras.tracks.triangulate`). rays [.., 3]: room for theirs.
    """
    M, b, mean, centre = np.zeros(6), np.zeros(3), np.zeros(3), np.empty(3)
    for n in range(count):
        o = rows[n]
        v = view[o]
        towards((xy[o, 0] - principal[v, 0]) / focal[v, 0], (xy[o, 1] - principal[v, 1]) / focal[v, 1], R[v], rays[n])
        ray = rays[n]
        along = 0.0
        for i in range(3):
            mean[i] += ray[i]
            centre[i] = -(R[v, 0, i] * t[v, 0] + R[v, 1, i] * t[v, 1] + R[v, 2, i] * t[v, 2])
            along += ray[i] * centre[i]
        k = 0
        for i in range(3):
            b[i] += centre[i] - ray[i] * along
            for j in range(i, 3):
                M[k] += (i == j) - ray[i] * ray[j]
                k += 1
    if count < 2:
        M[:] = 0.0
    if not solve_symmetric(M, b, point):
        return 0.0
    size = max(math.sqrt(mean[0] ** 2 + mean[1] ** 2 + mean[2] ** 2), 1e-12)
    angle = 0.0
    for n in range(count):
        r = rays[n]
        a, c, d = r[1] * mean[2] - r[2] * mean[1], r[2] * mean[0] - r[0] * mean[2], r[0] * mean[1] - r[1] * mean[0]
        off = math.atan2(math.sqrt(a * a + c * c + d * d) / size, (r[0] * mean[0] + r[1] * mean[1] + r[2] * mean[2]) / size)
        angle = max(angle, 2 * off)
    return angle


@njit(cache=True, nogil=True)
def missed(o, view, xy, focal, principal, R, t, point):
    """How far an observation is from its point, in pixels; infinite behind the camera, and for a point that is not finite."""
    v = view[o]
    x = R[v, 0, 0] * point[0] + R[v, 0, 1] * point[1] + R[v, 0, 2] * point[2] + t[v, 0]
    y = R[v, 1, 0] * point[0] + R[v, 1, 1] * point[1] + R[v, 1, 2] * point[2] + t[v, 1]
    z = R[v, 2, 0] * point[0] + R[v, 2, 1] * point[1] + R[v, 2, 2] * point[2] + t[v, 2]
    if not z > 1e-9:
        return np.inf
    error = math.hypot(focal[v, 0] * x / z + principal[v, 0] - xy[o, 0], focal[v, 1] * y / z + principal[v, 1] - xy[o, 1])
    return error if math.isfinite(error) else np.inf


@njit(cache=True, nogil=True)
def intersected_rows(first, last, start, view, xy, focal, principal, R, t, points, angle):
    """Points [P, 3] and angles [P] of the points first..last-1, whose observations are start[p] .. start[p + 1] - 1."""
    longest = 1
    for p in range(first, last):
        longest = max(longest, start[p + 1] - start[p])
    rows, rays = np.empty(longest, np.int64), np.empty((longest, 3))
    for p in range(first, last):
        count = start[p + 1] - start[p]
        for n in range(count):
            rows[n] = start[p] + n
        angle[p] = intersected(rows, count, view, xy, focal, principal, R, t, rays, points[p])


@njit(cache=True, nogil=True)
def held_rows(first, last, start, view, xy, focal, principal, R, t, placed, limit, least_angle, rounds, points, holds):
    """Points [P, 3] of the points first..last-1 from the placed views, NaN where nothing holds them, and which observations hold, holds [O].

    Of a point that does not fit, seen by three views or more, the worst observation is dropped, at most `rounds` times; then those that are
    further off than `limit` pixels. Two must be left. Rays that meet at less than `least_angle` hold nothing.
    """
    longest = 1
    for p in range(first, last):
        longest = max(longest, start[p + 1] - start[p])
    rows, rays, error = np.empty(longest, np.int64), np.empty((longest, 3)), np.empty(longest)
    for p in range(first, last):
        count = 0
        for o in range(start[p], start[p + 1]):
            holds[o] = False
            if placed[view[o]]:
                rows[count] = o
                count += 1
        for k in range(rounds + 1):
            if not intersected(rows, count, view, xy, focal, principal, R, t, rays, points[p]) >= least_angle:
                points[p] = np.nan
            worst = 0.0
            for n in range(count):
                error[n] = missed(rows[n], view, xy, focal, principal, R, t, points[p])
                worst = max(worst, error[n])
            if k == rounds or count < 3 or not worst > limit:
                break
            left = 0
            for n in range(count):
                if error[n] < worst:
                    rows[left] = rows[n]
                    left += 1
            count = left
        left = 0
        for n in range(count):
            left += error[n] < limit
        if left < 2:
            points[p] = np.nan
        else:
            for n in range(count):
                holds[rows[n]] = error[n] < limit
