"""Compiled loops that draw triangles: which face each pixel shows, and the colours of a textured mesh. Imports numba."""

from __future__ import annotations

import numpy as np
from numba import njit

NEAR = 1e-6


@njit(cache=True, nogil=True)
def project_points(points, K, world_to_cam):  # [P, 3], [3, 3], [4, 4] -> [P, 3]
    """Pixels and z of world points, x, y, z; the pixel of what is not in front means nothing."""
    out = np.empty((len(points), 3))
    for i in range(len(points)):
        X, Y, Z = points[i, 0], points[i, 1], points[i, 2]
        x = world_to_cam[0, 0] * X + world_to_cam[0, 1] * Y + world_to_cam[0, 2] * Z + world_to_cam[0, 3]
        y = world_to_cam[1, 0] * X + world_to_cam[1, 1] * Y + world_to_cam[1, 2] * Z + world_to_cam[1, 3]
        z = world_to_cam[2, 0] * X + world_to_cam[2, 1] * Y + world_to_cam[2, 2] * Z + world_to_cam[2, 3]
        safe = z if abs(z) > NEAR else NEAR
        out[i, 0] = (K[0, 0] * x + K[0, 1] * y) / safe + K[0, 2]
        out[i, 1] = K[1, 1] * y / safe + K[1, 2]
        out[i, 2] = z
    return out


@njit(cache=True, nogil=True)
def draw_faces(xyz, faces, depth, shown):
    """Fills depth [H, W] (z, start: infinite) and shown [H, W] (number of the nearest face, start: -1) with projected faces.

    xyz [P, 3]: pixels and z of the vertices. Faces of both windings are drawn; those that are not wholly in front of the camera are not.
    """
    height, width = depth.shape
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        za, zb, zc = xyz[a, 2], xyz[b, 2], xyz[c, 2]
        if min(za, zb, zc) <= NEAR:
            continue
        ax, ay, bx, by, cx, cy = xyz[a, 0], xyz[a, 1], xyz[b, 0], xyz[b, 1], xyz[c, 0], xyz[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if not abs(area) > 1e-12:
            continue
        left, right = max(0, int(np.ceil(min(ax, bx, cx) - 0.5))), min(width - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        top, bottom = max(0, int(np.ceil(min(ay, by, cy) - 0.5))), min(height - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        for j in range(top, bottom + 1):
            y = j + 0.5
            for i in range(left, right + 1):
                x = i + 0.5
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                w = 1.0 - u - v
                if u < -1e-9 or v < -1e-9 or w < -1e-9:
                    continue
                z = 1.0 / (u / za + v / zb + w / zc)
                if z < depth[j, i]:
                    depth[j, i], shown[j, i] = z, f


@njit(cache=True, nogil=True)
def bilinear(picture, x, y, out):
    """Writes into out [C] the value of picture [H, W, C] at pixel (x, y), whose centres are at halves; the border repeats."""
    height, width, channels = picture.shape
    x, y = min(max(x - 0.5, 0.0), width - 1.0), min(max(y - 0.5, 0.0), height - 1.0)
    i, j = min(int(x), max(width - 2, 0)), min(int(y), max(height - 2, 0))
    a, b = x - i, y - j
    right, down = min(i + 1, width - 1), min(j + 1, height - 1)
    for k in range(channels):
        above = picture[j, i, k] * (1 - a) + picture[j, right, k] * a
        below = picture[down, i, k] * (1 - a) + picture[down, right, k] * a
        out[k] = above * (1 - b) + below * b


@njit(cache=True, nogil=True)
def sample(picture, xy):  # [H, W, C], [n, 2] -> [n, C] float32
    """Bilinear values at pixels."""
    out = np.empty((len(xy), picture.shape[2]), np.float32)
    for n in range(len(xy)):
        bilinear(picture, xy[n, 0], xy[n, 1], out[n])
    return out


@njit(cache=True, nogil=True)
def shade(xyz, faces, shown, values, texture, picture):
    """Colours picture [H, W, 3] where shown says a face: `values` [P, 2] are places in the texture [h, w, 3], or [P, 3] colours of the vertices."""
    height, width = shown.shape
    rows, columns = texture.shape[:2]
    mixed = np.zeros(values.shape[1])
    for j in range(height):
        for i in range(width):
            f = shown[j, i]
            if f < 0:
                continue
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            x, y = i + 0.5, j + 0.5
            ax, ay, bx, by, cx, cy = xyz[a, 0], xyz[a, 1], xyz[b, 0], xyz[b, 1], xyz[c, 0], xyz[c, 1]
            u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / xyz[a, 2]
            v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / xyz[b, 2]
            w = ((ax - x) * (by - y) - (ay - y) * (bx - x)) / xyz[c, 2]
            total = u + v + w
            for k in range(len(mixed)):
                mixed[k] = (u * values[a, k] + v * values[b, k] + w * values[c, k]) / total
            if len(mixed) == 2:
                bilinear(texture, mixed[0] * columns, mixed[1] * rows, picture[j, i])
            else:
                picture[j, i] = mixed
