"""Compiled loops that fill an atlas. Imports numba."""

from __future__ import annotations

import numpy as np
from numba import njit

from recon.meshes.texture.raster import bilinear

AROUND = 1.5  # pixels beyond its outline that a patch goes on, so that bilinear sampling at the outline finds colours of its own


@njit(cache=True, nogil=True)
def assign(xy, faces, owner):
    """Fills owner [h, w] (start: -1) with the face of each pixel: the one it lies in, or beside, and the least outside."""
    height, width = owner.shape
    outside = np.full(owner.shape, -AROUND, np.float32)
    for f in range(len(faces)):
        a, b, c = xy[faces[f, 0]], xy[faces[f, 1]], xy[faces[f, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        sign = 1.0 if area >= 0 else -1.0
        opposite_a, opposite_b = max(np.hypot(c[0] - b[0], c[1] - b[1]), 1e-9), max(np.hypot(a[0] - c[0], a[1] - c[1]), 1e-9)
        opposite_c = max(np.hypot(b[0] - a[0], b[1] - a[1]), 1e-9)
        left, right = int(max(0, np.floor(min(a[0], b[0], c[0]) - AROUND))), int(min(width - 1, np.floor(max(a[0], b[0], c[0]) + AROUND)))
        top, bottom = int(max(0, np.floor(min(a[1], b[1], c[1]) - AROUND))), int(min(height - 1, np.floor(max(a[1], b[1], c[1]) + AROUND)))
        for j in range(top, bottom + 1):
            for i in range(left, right + 1):
                x, y = i + 0.5, j + 0.5
                u = sign * ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) / opposite_a
                v = sign * ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) / opposite_b
                w = sign * ((a[0] - x) * (b[1] - y) - (a[1] - y) * (b[0] - x)) / opposite_c
                inside = min(u, v, w)
                if inside > outside[j, i]:
                    outside[j, i], owner[j, i] = inside, f


@njit(cache=True, nogil=True)
def weights_at(a, b, c, x, y):
    """Barycentric weights of a pixel in the triangle a, b, c; of one beyond it, those of about the nearest place on it."""
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    if abs(area) < 1e-9:
        return 1 / 3, 1 / 3, 1 / 3
    u = max(((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) / area, 0.0)
    v = max(((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) / area, 0.0)
    w = max(((a[0] - x) * (b[1] - y) - (a[1] - y) * (b[0] - x)) / area, 0.0)
    total = u + v + w
    return u / total, v / total, w / total


@njit(cache=True, nogil=True)
def cut(rows, columns, owner, xy, faces, xyz, offsets, picture, out):
    """Writes into out [n, 3] the photo's colours at pixels of the atlas, which lie in faces that `owner` [n] numbers, corrected by `offsets`.

    xy [C, 2]: the corners' pixels in the atlas; xyz [C, 3]: their pixels and z in picture [h, w, 3]; offsets [C, 3] are added, mixed over the face.
    A pixel of the atlas is a point of the face, and that point's pixel in the photo is found with perspective.
    """
    for n in range(len(rows)):
        i, j, k = faces[owner[n], 0], faces[owner[n], 1], faces[owner[n], 2]
        u, v, w = weights_at(xy[i], xy[j], xy[k], columns[n] + 0.5, rows[n] + 0.5)
        z = u * xyz[i, 2] + v * xyz[j, 2] + w * xyz[k, 2]
        x = (u * xyz[i, 2] * xyz[i, 0] + v * xyz[j, 2] * xyz[j, 0] + w * xyz[k, 2] * xyz[k, 0]) / z
        y = (u * xyz[i, 2] * xyz[i, 1] + v * xyz[j, 2] * xyz[j, 1] + w * xyz[k, 2] * xyz[k, 1]) / z
        bilinear(picture, x, y, out[n])
        for m in range(3):
            out[n, m] += u * offsets[i, m] + v * offsets[j, m] + w * offsets[k, m]


@njit(cache=True, nogil=True)
def mix(rows, columns, owner, xy, faces, colors, out):
    """Writes into out [n, 3] the colours [C, 3] of corners mixed over their faces."""
    for n in range(len(rows)):
        i, j, k = faces[owner[n], 0], faces[owner[n], 1], faces[owner[n], 2]
        u, v, w = weights_at(xy[i], xy[j], xy[k], columns[n] + 0.5, rows[n] + 0.5)
        for m in range(3):
            out[n, m] = u * colors[i, m] + v * colors[j, m] + w * colors[k, m]


@njit(cache=True, nogil=True)
def near_seams(starts, ends, patches, reach, owner, patch_of_face, nearest, distance):
    """Fills nearest [h, w] (start: -1) and distance [h, w] (start: reach) with the next seam within `reach` pixels, in the seam's own patch.

    starts, ends [n, 2]: pixels of the seams' ends; patches [n].
    """
    height, width = owner.shape
    for s in range(len(starts)):
        ax, ay, bx, by = starts[s, 0], starts[s, 1], ends[s, 0], ends[s, 1]
        dx, dy = bx - ax, by - ay
        square = max(dx * dx + dy * dy, 1e-12)
        left, right = int(max(0, np.floor(min(ax, bx) - reach))), int(min(width - 1, np.floor(max(ax, bx) + reach)))
        top, bottom = int(max(0, np.floor(min(ay, by) - reach))), int(min(height - 1, np.floor(max(ay, by) + reach)))
        for j in range(top, bottom + 1):
            for i in range(left, right + 1):
                f = owner[j, i]
                if f < 0 or patch_of_face[f] != patches[s]:
                    continue
                x, y = i + 0.5 - ax, j + 0.5 - ay
                t = min(max((x * dx + y * dy) / square, 0.0), 1.0)
                d = np.hypot(x - t * dx, y - t * dy)
                if d < distance[j, i]:
                    distance[j, i], nearest[j, i] = d, s
