"""The loops of the fusion over pixels and voxels. Blocks are cubes of BLOCK voxels a side; voxel (i, j, k) lies at voxel_size * (i, j, k)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

BLOCK = 8
SAME_SURFACE = 1.04  # ratio of neighbouring depths up to which a value between them is interpolated
DEEPEST = 2.0  # truncations along z behind the surface
HALF = 2**20  # block numbers are -HALF to HALF - 1


@njit(cache=True)
def touched_blocks(depth, slope, K, T, block_size, truncation, out):  # type: ignore[no-untyped-def]
    """Writes the packed numbers of the blocks within `truncation` of one view's surface into out [n]; returns how many, repeats among them.

    depth, slope [H, W] as in DepthViews, T [4, 4] cam_to_world. Stops where out is full.
    """
    height, width = depth.shape
    steps = math.ceil(2 * truncation / (0.15 * 0.5 * block_size)) + 2
    last = np.full((steps, 3), HALF, np.int64)
    count = 0
    for y in range(height):
        for x in range(width):
            z = depth[y, x]
            if z <= 0:
                continue
            v = (y + 0.5 - K[1, 2]) / K[1, 1]
            u = (x + 0.5 - K[0, 2] - K[0, 1] * v) / K[0, 0]
            reach = truncation / slope[y, x]
            ray = math.sqrt(u * u + v * v + 1)
            samples = min(steps - 1, math.ceil(2 * reach * ray / (0.5 * block_size)) + 1)
            for s in range(samples + 1):
                d = z - reach + 2 * reach * s / samples
                bx = math.floor((T[0, 3] + d * (T[0, 0] * u + T[0, 1] * v + T[0, 2])) / block_size)
                by = math.floor((T[1, 3] + d * (T[1, 0] * u + T[1, 1] * v + T[1, 2])) / block_size)
                bz = math.floor((T[2, 3] + d * (T[2, 0] * u + T[2, 1] * v + T[2, 2])) / block_size)
                if bx == last[s, 0] and by == last[s, 1] and bz == last[s, 2]:
                    continue
                last[s, 0], last[s, 1], last[s, 2] = bx, by, bz
                if count == len(out):
                    return count
                out[count] = ((bx + HALF) << 42) | ((by + HALF) << 21) | (bz + HALF)
                count += 1
    return count


@njit(inline="always")
def look(depth, weight, slope, x, y):  # type: ignore[no-untyped-def]
    """Depth, weight and slope at pixel position (x, y), 0s where nothing is: 1 / z bilinear on one surface, else the nearest pixel."""
    height, width = depth.shape
    nx, ny = math.floor(x), math.floor(y)
    if nx < 0 or ny < 0 or nx >= width or ny >= height or depth[ny, nx] <= 0:
        return 0.0, 0.0, 0.0
    d, w, s = depth[ny, nx], weight[ny, nx], slope[ny, nx]
    x0, y0 = math.floor(x - 0.5), math.floor(y - 0.5)
    if x0 < 0 or y0 < 0 or x0 + 1 >= width or y0 + 1 >= height:
        return d, w, s
    a, b, c, e = depth[y0, x0], depth[y0, x0 + 1], depth[y0 + 1, x0], depth[y0 + 1, x0 + 1]
    low = min(min(a, b), min(c, e))
    if low <= 0 or max(max(a, b), max(c, e)) > low * SAME_SURFACE:
        return d, w, s
    fx, fy = x - 0.5 - x0, y - 0.5 - y0
    inverse = (1 - fy) * ((1 - fx) / a + fx / b) + fy * ((1 - fx) / c + fx / e)
    return 1 / inverse, w, s


@njit(parallel=True, cache=True)
def integrate(blocks, depth, weight, slope, K, world_to_cam, voxel_size, truncation, distance, total):  # type: ignore[no-untyped-def]
    """Adds one view to the blocks [B, 3]: distance [B, BLOCK, BLOCK, BLOCK] (z, y, x) is the weighted mean of -1..1 truncations, total its weight."""
    height, width = depth.shape
    radius = 0.5 * math.sqrt(3.0) * BLOCK * voxel_size
    T = world_to_cam
    for b in prange(len(blocks)):
        ox, oy, oz = blocks[b, 0] * BLOCK * voxel_size, blocks[b, 1] * BLOCK * voxel_size, blocks[b, 2] * BLOCK * voxel_size
        h = 0.5 * BLOCK * voxel_size
        cz = T[2, 0] * (ox + h) + T[2, 1] * (oy + h) + T[2, 2] * (oz + h) + T[2, 3]
        if cz + radius <= 0:
            continue
        if cz > 2 * radius:  # outside of the picture as a whole
            cx = T[0, 0] * (ox + h) + T[0, 1] * (oy + h) + T[0, 2] * (oz + h) + T[0, 3]
            cy = T[1, 0] * (ox + h) + T[1, 1] * (oy + h) + T[1, 2] * (oz + h) + T[1, 3]
            px, py = K[0, 0] * cx / cz + K[0, 1] * cy / cz + K[0, 2], K[1, 1] * cy / cz + K[1, 2]
            reach = 2 * radius * max(K[0, 0], K[1, 1]) / (cz - radius) * (1 + max(abs(cx), abs(cy)) / cz)
            if px < -reach or py < -reach or px > width + reach or py > height + reach:
                continue
        for k in range(BLOCK):
            for j in range(BLOCK):
                for i in range(BLOCK):
                    wx, wy, wz = ox + i * voxel_size, oy + j * voxel_size, oz + k * voxel_size
                    z = T[2, 0] * wx + T[2, 1] * wy + T[2, 2] * wz + T[2, 3]
                    if z <= 1e-9:
                        continue
                    u = (T[0, 0] * wx + T[0, 1] * wy + T[0, 2] * wz + T[0, 3]) / z
                    v = (T[1, 0] * wx + T[1, 1] * wy + T[1, 2] * wz + T[1, 3]) / z
                    d, w, s = look(depth, weight, slope, K[0, 0] * u + K[0, 1] * v + K[0, 2], K[1, 1] * v + K[1, 2])
                    if d <= 0:
                        continue
                    away = (d - z) * s / truncation
                    if away < -1 or z - d > DEEPEST * truncation:  # a flat look behind a surface goes far and tells of its other side
                        continue
                    before = total[b, k, j, i]
                    distance[b, k, j, i] += w / (before + w) * (min(away, 1.0) - distance[b, k, j, i])
                    total[b, k, j, i] = before + w
