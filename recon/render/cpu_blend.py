"""Compiled loops that blend the splats of each tile, front to back, a row's pixels at a time; for `render_cpu`. Imports numba.

A tile's state is one float array of planes of 256 pixels: light (transmittance; made negative when the pixel ends), sums, and this splat's weight.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from recon.render.cpu_project import FAST, LOG2_MIN_ALPHA, REACH_MARGIN, TILE, Real, Whole
from recon.render.options import MAX_ALPHA, MIN_TRANSMITTANCE, SURFEL_FILTER

U = np.uint64  # an index that numba need not look at for a sign
LIGHT, RED, GREEN, BLUE, DEPTH, WEIGHT, BEFORE, MEDIAN, NORMAL_X, NORMAL_Y, NORMAL_Z = (U(p * TILE * TILE) for p in range(11))
PLANES, PLANES_EXTRAS = 7, 11
CHECK_EVERY = 32  # splats between looks whether the whole tile has ended
# 2^y on [-1, 0] by least squares on Chebyshev nodes, relative error below 1e-7; 2^x = (2^(x/8))^8 for x in -8..0
POWER = tuple(float(c) for c in np.polynomial.Chebyshev.interpolate(lambda y: 2.0**y, 6, domain=[-1, 0]).convert(kind=np.polynomial.Polynomial).coef)
P0, P1, P2, P3, P4, P5, P6 = (np.float32(c) for c in POWER)
EIGHTH, MIN_POWER, CAP, LAST = np.float32(1 / 8), np.float32(LOG2_MIN_ALPHA), np.float32(MAX_ALPHA), np.float32(MIN_TRANSMITTANCE)
ONE, NONE, HALF, LOWEST = np.float32(1), np.float32(0), np.float32(0.5), np.float32(-8)


@njit(inline="always", fastmath=FAST)
def _taken(power: Real, light: Real) -> tuple[Real, Real]:
    """How much of a pixel's light a splat of 2^power takes, and the light behind it: made negative where the pixel ends."""
    y = max(power, LOWEST) * EIGHTH
    share = P0 + y * (P1 + y * (P2 + y * (P3 + y * (P4 + y * (P5 + y * P6)))))
    share *= share
    share *= share
    share *= share
    share = min(share, CAP) if power >= MIN_POWER else NONE
    after = light * (ONE - share)
    weight = share * light if after > LAST else NONE
    return weight, after if after > LAST else -abs(light)


@njit(fastmath=FAST)
def _cover(state: np.ndarray, at: Whole, pixels: Whole, red: Real, green: Real, blue: Real, z: Real) -> None:
    """`pixels` (8 or 16) pixels of a row take a splat of 2^(what WEIGHT holds).

    Written so that it becomes vector code: no branch, constant distances between planes, and a number of pixels that is known only when it runs
    (the compiler would unroll a constant one first, and then finds no loop).
    """
    for k in range(pixels):
        here = at + k
        power = state[WEIGHT + here]
        light = state[LIGHT + here]
        weight, after = _taken(power, light)
        state[BEFORE + here] = light
        state[WEIGHT + here] = weight
        state[LIGHT + here] = after
        state[RED + here] += weight * red
        state[GREEN + here] += weight * green
        state[BLUE + here] += weight * blue
        state[DEPTH + here] += weight * z


@njit(fastmath=FAST)
def _cover_rows(
    state: np.ndarray, top: int, bottom: int, pixels: Whole, form: tuple[Real, ...], dx: Real, dy: Real, red: Real, green: Real, blue: Real, z: Real
) -> None:
    """Rows [top, bottom] of a tile take a Gaussian of form (la, lb, lc, log2 opacity), whose centre is dx, dy before the first pixel's.

    `_row_powers` and `_cover` in one loop, for the time of all is spent here: what is the same for all pixels stays in registers.
    """
    la, lb, lc, lo = form
    for row in range(top, bottom + 1):
        v = lc * (dy + np.float32(np.int32(row)))
        begin, most = la * dx + lb * (dy + np.float32(np.int32(row))), lo - v * v
        at = U(row * TILE)
        for k in range(pixels):
            here = at + k
            u = begin + la * np.float32(np.int32(k))
            power = most - u * u
            light = state[LIGHT + here]
            weight, after = _taken(power, light)
            state[LIGHT + here] = after
            state[RED + here] += weight * red
            state[GREEN + here] += weight * green
            state[BLUE + here] += weight * blue
            state[DEPTH + here] += weight * z


@njit(fastmath=FAST)
def _row_powers(state: np.ndarray, at: Whole, pixels: Whole, begin: Real, step: Real, power: Real) -> None:
    """Writes the exponents of `pixels` pixels of a row: power - u^2, u = begin + step k."""
    for k in range(pixels):
        u = begin + step * np.float32(np.int32(k))
        state[WEIGHT + at + k] = power - u * u


@njit(fastmath=FAST)
def _add_extras(state: np.ndarray, at: Whole, pixels: Whole, values: np.ndarray, i: int) -> None:
    """The normals' sums of pixels, and the median depth of those whose light has just fallen to a half."""
    z, nx, ny, nz = values[i, 3], values[i, 4], values[i, 5], values[i, 6]
    for k in range(pixels):
        weight = state[WEIGHT + at + k]
        state[NORMAL_X + at + k] += weight * nx
        state[NORMAL_Y + at + k] += weight * ny
        state[NORMAL_Z + at + k] += weight * nz
        crossed = state[BEFORE + at + k] > HALF and state[LIGHT + at + k] <= HALF and weight > NONE
        state[MEDIAN + at + k] = z if crossed else state[MEDIAN + at + k]


@njit
def _begin(state: np.ndarray, x: int, y: int, width: int, height: int) -> None:
    state[:] = 0
    for r in range(TILE):
        for k in range(TILE):
            state[LIGHT + U(r * TILE + k)] = 1 if x + k < width and y + r < height else -1


@njit
def _ended(state: np.ndarray) -> bool:
    most = NONE
    for at in range(U(TILE * TILE)):
        most = max(most, state[LIGHT + at])
    return most == NONE


@njit
def _finish(state: np.ndarray, x: int, y: int, background: np.ndarray, picture: np.ndarray) -> None:
    height, width, channels = picture.shape
    for r in range(min(TILE, height - y)):
        for k in range(min(TILE, width - x)):
            at, pixel = U(r * TILE + k), picture[y + r, x + k]
            light = abs(state[LIGHT + at])
            pixel[0] = state[RED + at] + light * background[0]
            pixel[1] = state[GREEN + at] + light * background[1]
            pixel[2] = state[BLUE + at] + light * background[2]
            pixel[3] = ONE - light
            pixel[4] = state[DEPTH + at]
            if channels > 5:
                pixel[5], pixel[6], pixel[7] = state[NORMAL_X + at], state[NORMAL_Y + at], state[NORMAL_Z + at]
                pixel[8] = state[MEDIAN + at]


@njit(parallel=True, cache=True, fastmath=FAST)
def blend_gaussians(
    shape: np.ndarray,
    values: np.ndarray,
    listed: np.ndarray,
    starts: np.ndarray,
    columns: int,
    pixels: Whole,
    background: np.ndarray,
    picture: np.ndarray,
) -> None:
    """Fills picture [H, W, 5 or 9] (colour, alpha, sum of weighted z, normal, median z) from the tiles' lists."""
    height, width, channels = picture.shape
    extras = channels > 5
    for tile in prange(len(starts) - 1):
        x0, y0 = tile % columns * TILE, tile // columns * TILE
        state = np.empty((PLANES_EXTRAS if extras else PLANES) * TILE * TILE, np.float32)
        _begin(state, x0, y0, width, height)
        for j in range(starts[tile], starts[tile + 1]):
            if (j - starts[tile]) % CHECK_EVERY == CHECK_EVERY - 1 and _ended(state):
                break
            i = listed[j]
            x, y, la, lb, lc, lo = shape[i, 0], shape[i, 1], shape[i, 2], shape[i, 3], shape[i, 4], shape[i, 5]
            red, green, blue, z = values[i, 0], values[i, 1], values[i, 2], values[i, 3]
            reach = lo - np.float32(LOG2_MIN_ALPHA - REACH_MARGIN)
            half = math.sqrt(reach) / lc
            top, bottom = max(math.ceil(y - half - HALF), y0), min(math.floor(y + half - HALF), y0 + TILE - 1)
            first, last = int(top) - y0, int(bottom) - y0
            dx, dy = np.float32(x0) + HALF - x, np.float32(y0) + HALF - y
            if not extras:
                _cover_rows(state, first, last, pixels, (la, lb, lc, lo), dx, dy, red, green, blue, z)
                continue
            for row in range(first, last + 1):
                at, v = U(row * TILE), lc * (dy + np.float32(row))
                _row_powers(state, at, pixels, la * dx + lb * (dy + np.float32(row)), la, lo - v * v)
                _cover(state, at, pixels, red, green, blue, z)
                _add_extras(state, at, pixels, values, i)
        _finish(state, x0, y0, background, picture)


@njit(parallel=True, cache=True, fastmath=FAST)
def blend_surfels(
    shape: np.ndarray,
    values: np.ndarray,
    listed: np.ndarray,
    starts: np.ndarray,
    columns: int,
    pixels: Whole,
    background: np.ndarray,
    picture: np.ndarray,
) -> None:
    """The same for surfels: shape [M, 12] is the plane-to-screen matrix by rows, the centre and the opacity."""
    height, width, channels = picture.shape
    extras = channels > 5
    scale, screen = np.float32(-0.5 / math.log(2)), np.float32(SURFEL_FILTER)
    for tile in prange(len(starts) - 1):
        x0, y0 = tile % columns * TILE, tile // columns * TILE
        state = np.empty((PLANES_EXTRAS if extras else PLANES) * TILE * TILE, np.float32)
        _begin(state, x0, y0, width, height)
        for j in range(starts[tile], starts[tile + 1]):
            if (j - starts[tile]) % CHECK_EVERY == CHECK_EVERY - 1 and _ended(state):
                break
            i = listed[j]
            m = shape[i]
            red, green, blue, z = values[i, 0], values[i, 1], values[i, 2], values[i, 3]
            lo = np.float32(math.log2(m[11]))
            for part in range(2 * TILE):
                row, left = y0 + part // 2, np.float32(x0 + 8 * (part % 2)) + HALF
                py = np.float32(row) + HALF
                # the lines of the plane that project to this row (b) and to a column (a); their crossing is where the pixel's ray meets the plane
                b0, b1, b2 = py * m[6] - m[3], py * m[7] - m[4], py * m[8] - m[5]
                at = U(part // 2 * TILE + 8 * (part % 2))
                dy = py - m[10]
                for k in range(U(8)):
                    px = left + np.float32(k)
                    a0, a1, a2 = px * m[6] - m[0], px * m[7] - m[1], px * m[8] - m[2]
                    w = a0 * b1 - a1 * b0
                    inverse = ONE / (w if abs(w) > np.float32(1e-20) else ONE)
                    u, v = (a1 * b2 - a2 * b1) * inverse, (a2 * b0 - a0 * b2) * inverse
                    seen = abs(w) > np.float32(1e-20) and m[6] * u + m[7] * v + m[8] > NONE
                    dx = px - m[9]
                    flat = screen * (dx * dx + dy * dy)
                    square = min(u * u + v * v, flat) if seen else flat
                    state[WEIGHT + at + k] = lo + scale * square
                _cover(state, at, pixels, red, green, blue, z)
                if extras:
                    _add_extras(state, at, pixels, values, i)
        _finish(state, x0, y0, background, picture)
