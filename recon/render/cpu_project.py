"""Compiled loops that project Gaussians; the twin of recon/render/projection.py for `render_cpu`. Imports numba."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numba import njit, prange

from recon.render.options import DILATION, FIELD_MARGIN, MIN_ALPHA

CULLED = np.uint32(0xFFFFFFFF)
BLOCK = 256  # Gaussians that a thread projects one after the other
LOG2_E = 1 / math.log(2)
LOG2_MIN_ALPHA = math.log2(MIN_ALPHA)
REACH_MARGIN = 2e-3  # what lists and blending allow for rounding, in powers of two
TILE = 16
Real: TypeAlias = float | np.floating[Any]  # numba tells the widths apart
Whole: TypeAlias = int | np.integer[Any]
FAST = {"contract", "reassoc", "nsz", "arcp"}  # not "nnan" or "ninf"


@njit(inline="always")
def harmonics(x: Real, y: Real, z: Real, count: int, out: np.ndarray) -> None:
    """The first `count` basis functions of recon/spherical_harmonics.py into `out`."""
    out[0] = 0.28209479177387814
    if count > 1:
        out[1], out[2], out[3] = -0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x
    if count > 4:
        zz, c2, s2, a = z * z, x * x - y * y, 2 * x * y, -1.0925484305920792 * z
        out[4], out[5], out[6], out[7] = 0.5462742152960396 * s2, a * y, 0.9461746957575601 * zz - 0.31539156525252005, a * x
        out[8] = 0.5462742152960396 * c2
        if count > 9:
            c3, s3, b = x * c2 - y * s2, x * s2 + y * c2, 1.445305721320277 * z
            a = -2.2852289973223288 * zz + 0.4570457994644658
            out[9], out[10], out[11] = -0.5900435899266435 * s3, b * s2, a * y
            out[12], out[13], out[14] = z * (1.8658816629505769 * zz - 1.1195289977703462), a * x, b * c2
            out[15] = -0.5900435899266435 * c3
            if count > 16:
                c4, s4, c = x * c3 - y * s3, x * s3 + y * c3, -1.7701307697799304 * z
                a, b = z * (-4.683325804901025 * zz + 2.007139630671868), 3.3116114351514603 * zz - 0.47308734787878004
                out[16], out[17], out[18], out[19] = 0.6258357354491761 * s4, c * s3, b * s2, a * y
                out[20], out[21] = 1.9843134832984433 * z * out[12] - 1.0062305898749053 * out[6], a * x
                out[22], out[23], out[24] = b * c2, c * c3, 0.6258357354491761 * c4


@njit(fastmath=FAST)
def rotation(q: np.ndarray) -> tuple[float, ...]:
    """The nine entries of the rotation of a quaternion, row by row."""
    n = 1 / math.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
    w, x, y, z = q[0] * n, q[1] * n, q[2] * n, q[3] * n
    return (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip


@njit(inline="always", error_model="numpy")
def tiles_between(low: Real, high: Real, side: int) -> tuple[int, int]:
    """The tiles [first, last) of a row or column of `side` pixels that have a pixel's centre between two places."""
    most = (side + TILE - 1) // TILE
    first = int(min(max(math.ceil((low - (TILE - 0.5)) / TILE), 0.0), most))
    return first, max(first, int(min(max(math.floor((high - 0.5) / TILE) + 1.0, 0.0), most)))


@njit(fastmath=FAST)
def project_shape(
    x: Real, y: Real, z: Real, R: tuple[float, ...], size: np.ndarray, opacity: Real, K: np.ndarray, T: np.ndarray, width: int, height: int,
    antialiased: bool, radius_clip: Real, out: np.ndarray, box: np.ndarray,
) -> bool:  # fmt: skip
    """Writes the shape of one Gaussian at x, y, z in camera axes, and the tiles about it; False where nothing of it is on the screen."""
    fx, fy, skew, cx, cy = K[0, 0], K[1, 1], K[0, 1], K[0, 2], K[1, 2]
    margin_x, margin_y = FIELD_MARGIN * width / fx, FIELD_MARGIN * height / fy
    a = min(max(x / z, -cx / fx - margin_x), (width - cx) / fx + margin_x)
    b = min(max(y / z, -cy / fy - margin_y), (height - cy) / fy + margin_y)
    jx, jy = (fx / z, skew / z, -(fx * a + skew * b) / z), (fy / z, -fy * b / z)  # the rows of the projection's slope, without their zero
    jx0, jy0 = jx[0] * T[0, 0] + jx[1] * T[0, 1] + jx[2] * T[0, 2], jy[0] * T[0, 1] + jy[1] * T[0, 2]
    jx1, jy1 = jx[0] * T[1, 0] + jx[1] * T[1, 1] + jx[2] * T[1, 2], jy[0] * T[1, 1] + jy[1] * T[1, 2]
    jx2, jy2 = jx[0] * T[2, 0] + jx[1] * T[2, 1] + jx[2] * T[2, 2], jy[0] * T[2, 1] + jy[1] * T[2, 2]
    px0 = size[0] * (jx0 * R[0] + jx1 * R[3] + jx2 * R[6])
    py0 = size[0] * (jy0 * R[0] + jy1 * R[3] + jy2 * R[6])
    px1 = size[1] * (jx0 * R[1] + jx1 * R[4] + jx2 * R[7])
    py1 = size[1] * (jy0 * R[1] + jy1 * R[4] + jy2 * R[7])
    px2 = size[2] * (jx0 * R[2] + jx1 * R[5] + jx2 * R[8])
    py2 = size[2] * (jy0 * R[2] + jy1 * R[5] + jy2 * R[8])
    # the determinant from the cross product: xx * yy - xy^2 cancels for needles
    det = (px1 * py2 - px2 * py1) ** 2 + (px2 * py0 - px0 * py2) ** 2 + (px0 * py1 - px1 * py0) ** 2
    xx, xy, yy = px0 * px0 + px1 * px1 + px2 * px2, px0 * py0 + px1 * py1 + px2 * py2, py0 * py0 + py1 * py1 + py2 * py2
    wide = det + DILATION * (xx + yy) + DILATION * DILATION
    xx, yy = xx + DILATION, yy + DILATION
    covering = opacity * math.sqrt(det / wide) if antialiased else opacity
    if covering < MIN_ALPHA:
        return False
    lo, unit = min(math.log(covering) * LOG2_E, 0.0), math.sqrt(0.5 * LOG2_E)
    extent = math.sqrt(max(lo - LOG2_MIN_ALPHA, 0.0)) / unit
    rx, ry = math.ceil(extent * math.sqrt(xx)), math.ceil(extent * math.sqrt(yy))
    u, v = (fx * x + skew * y) / z + cx, fy * y / z + cy
    if (rx <= radius_clip and ry <= radius_clip) or u + rx <= 0 or u - rx >= width or v + ry <= 0 or v - ry >= height:
        return False
    root, spread = math.sqrt(yy), math.sqrt(wide)
    out[0], out[1], out[2], out[3] = u, v, unit * root / spread, -unit * xy / (spread * root)
    out[4], out[5] = unit / root, lo
    reach = math.sqrt(lo - LOG2_MIN_ALPHA + REACH_MARGIN) / unit
    box[0], box[1] = tiles_between(u - reach * math.sqrt(xx), u + reach * math.sqrt(xx), width)
    box[2], box[3] = tiles_between(v - reach * root, v + reach * root, height)
    return True


@njit(fastmath=FAST)
def color_of(sh: np.ndarray, x: Real, y: Real, z: Real, weight: np.ndarray, out: np.ndarray) -> None:
    """Writes the colour of coefficients [K, 3] seen along x, y, z (of any length); `weight` [25] is room to work in."""
    n, bases = 1 / math.sqrt(x * x + y * y + z * z), len(sh)
    harmonics(x * n, y * n, z * n, bases, weight)
    red, green, blue = np.float32(0.5), np.float32(0.5), np.float32(0.5)
    for k in range(bases):
        red, green, blue = red + weight[k] * sh[k, 0], green + weight[k] * sh[k, 1], blue + weight[k] * sh[k, 2]
    out[0], out[1], out[2] = max(red, np.float32(0)), max(green, np.float32(0)), max(blue, np.float32(0))


@njit(parallel=True, cache=True, fastmath=FAST)
def project(
    means: np.ndarray, quats: np.ndarray, scales: np.ndarray, opacities: np.ndarray, sh: np.ndarray, K: np.ndarray, T: np.ndarray,
    width: int, height: int, antialiased: bool, near: Real, far: Real, radius_clip: Real, extras: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Shapes [N, 6] (x, y, la, lb, lc, log2 opacity), values [N, 4 or 7] (colour, z, normal), the tiles about each (as in `count_pairs`) [N, 4]
    and depth keys [N] uint32 (CULLED where unseen).

    A splat covers the pixel at (x + dx, y + dy) by 2^(log2 opacity - (la dx + lb dy)^2 - (lc dy)^2).
    """
    count = means.shape[0]
    shape, keys, boxes = np.empty((count, 6), np.float32), np.empty(count, np.uint32), np.empty((count, 4), np.uint16)
    values = np.empty((count, 7 if extras else 4), np.float32)
    blocks = (count + BLOCK - 1) // BLOCK
    for block in prange(blocks):
        weight = np.empty(25, np.float32)
        for i in range(block * BLOCK, min(count, block * BLOCK + BLOCK)):
            keys[i] = CULLED
            ox, oy, oz = means[i, 0] - T[0, 3], means[i, 1] - T[1, 3], means[i, 2] - T[2, 3]
            z = np.float32(T[0, 2] * ox + T[1, 2] * oy + T[2, 2] * oz)
            if not (near <= z <= far) or opacities[i] < MIN_ALPHA:
                continue
            x, y = T[0, 0] * ox + T[1, 0] * oy + T[2, 0] * oz, T[0, 1] * ox + T[1, 1] * oy + T[2, 1] * oz
            R = rotation(quats[i])
            if not project_shape(x, y, z, R, scales[i], opacities[i], K, T, width, height, antialiased, radius_clip, shape[i], boxes[i]):
                continue
            keys[i] = z.view(np.uint32)  # z > 0, so its bits order as it does
            color_of(sh[i], ox, oy, oz, weight, values[i])
            values[i, 3] = z
            if extras:
                axis = 0 if scales[i, 0] <= scales[i, 1] and scales[i, 0] <= scales[i, 2] else (1 if scales[i, 1] <= scales[i, 2] else 2)
                nx, ny, nz = R[axis], R[3 + axis], R[6 + axis]
                sign = -1.0 if nx * ox + ny * oy + nz * oz > 0 else 1.0
                values[i, 4], values[i, 5], values[i, 6] = sign * nx, sign * ny, sign * nz
    return shape, values, boxes, keys
