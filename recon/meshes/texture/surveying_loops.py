"""Compiled loops of the survey: what one photo shows of each face. Imports numba."""

from __future__ import annotations

import numpy as np
from numba import njit

from recon.meshes.texture.raster import bilinear, project_points

# seven places of a face, near its corners (a tenth of the way to the centre), halves of its sides, centre
CORNER, SIDE = 0.28 / 3, 0.03
PLACES = np.array([
    [1 - 2 * CORNER, CORNER, CORNER], [CORNER, 1 - 2 * CORNER, CORNER], [CORNER, CORNER, 1 - 2 * CORNER],
    [0.5 - SIDE / 2, 0.5 - SIDE / 2, SIDE], [SIDE, 0.5 - SIDE / 2, 0.5 - SIDE / 2], [0.5 - SIDE / 2, SIDE, 0.5 - SIDE / 2],
    [1 / 3, 1 / 3, 1 / 3],
])  # fmt: skip
STEEP = 0.12  # cosine below which a face is not looked at: 83 degrees
BEHIND = 0.002  # of z: what a point may lie behind the surface that its pixel shows
EDGE = 0.02  # of z: the step of depth in the neighbourhood that makes an edge
BESIDE_AN_EDGE, BURNT = 0.2, 0.2  # factors on the quality of faces just behind an edge or beside a mask's, and of overexposed ones
WHITE = 0.97  # linear; brighter is overexposed


@njit(cache=True, nogil=True)
def look(points, faces, K, world_to_cam, depth, shown, near, front, mask, linear, detail, quality, colors, details, seen):
    """Fills quality [F], linear colours [F, 3], details [F] and seen [F] (0..7 places) for one photo; quality is 0 where a face is not seen whole.

    depth, shown: `draw_faces`; near [H, W]: the least depth around each pixel; front [H, W]: z of which anything beyond is hidden by what the mesh
    lacks; mask [H, W]: 0 out, 1 beside, 2 inside; linear [H, W, 3]; detail [H, W, 1]. Quality is the projected area (in pixels) times the cosine.
    """
    height, width = depth.shape
    eye = np.array([-(world_to_cam[:3, i] * world_to_cam[:3, 3]).sum() for i in range(3)])
    place, color, fine = np.empty((1, 3)), np.empty(3, np.float32), np.empty(1, np.float32)
    for f in range(len(faces)):
        A, B, C = points[faces[f, 0]], points[faces[f, 1]], points[faces[f, 2]]
        normal = np.cross(B - A, C - A)
        centre = (A + B + C) / 3
        size, distance = np.sqrt((normal**2).sum()), np.sqrt(((eye - centre) ** 2).sum())
        if size == 0 or distance == 0:
            continue
        cosine = (normal * (eye - centre)).sum() / (size * distance)
        if not cosine > STEEP:
            continue
        count, beside, burnt, z = 0, False, 0, 0.0
        for s in range(7):
            place[0] = PLACES[s, 0] * A + PLACES[s, 1] * B + PLACES[s, 2] * C
            xyz = project_points(place, K, world_to_cam)[0]
            x, y, z = xyz[0], xyz[1], xyz[2]
            if z <= 0 or not (1 <= x < width - 1 and 1 <= y < height - 1):
                continue
            j, i = int(y), int(x)
            footprint = z / K[0, 0] / cosine  # how far the surface leads along the view within a pixel, about
            if mask[j, i] == 0 or z > front[j, i] or hidden(points, faces, f, shown[j, i], depth[j, i], x, y, z, K, world_to_cam, footprint):
                continue
            count += 1
            beside |= mask[j, i] < 2 or z > near[j, i] * (1 + EDGE) + 3 * footprint
            bilinear(linear, x, y, color)
            bilinear(detail, x, y, fine)
            burnt += color.max() > WHITE
            colors[f] += color
            details[f] += fine[0]
        seen[f] = count
        if count:
            colors[f] /= count
            details[f] /= count
        if count == 7:
            quality[f] = size / 2 * cosine * K[0, 0] * K[1, 1] / z**2 * cosine
            quality[f] *= (BESIDE_AN_EDGE if beside else 1.0) * (BURNT if burnt > 1 else 1.0)


@njit(cache=True, nogil=True)
def hidden(points, faces, f, g, at_pixel, x, y, z, K, world_to_cam, footprint):
    """Whether face g, which the pixel of a place (x, y, z) on face f shows, stands before the place."""
    if g < 0 or g == f:
        return False
    for k in range(3):
        for m in range(3):
            if faces[f, k] == faces[g, m]:
                return False
    tolerance = BEHIND * z + 1.5 * footprint
    if z <= at_pixel + tolerance:
        return False
    # the plane of g at the very place: a pixel of a steep surface spans more depth than the tolerance
    corners = project_points(points[faces[g]], K, world_to_cam)
    a, b, c = corners[0], corners[1], corners[2]
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    if abs(area) < 1e-12:
        return True
    u = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) / area
    v = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) / area
    inverse = u / a[2] + v / b[2] + (1 - u - v) / c[2]
    return inverse > 0 and z > 1 / inverse + tolerance
