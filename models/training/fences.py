"""Contains fences, grids, lattices and railings as meshes that stand in the plane of x and y."""

from __future__ import annotations

import numpy as np

from recon.models.training.mesh_parts import FILLING, FRAME, Part, merge, slab, straight, tube


def upright(at: np.ndarray, low: float, high: float | np.ndarray, radius: float, *, sides: int = 4, pieces: int = 2, paint: int) -> list[Part]:
    """Bars along y at some x [n]."""
    ends = zip(at, np.broadcast_to(high, len(at)), strict=True)
    return [straight([x, low, 0], [x, y, 0], radius, sides=sides, pieces=pieces, paint=paint) for x, y in ends]


def fence(rng: np.random.Generator) -> Part:
    """Posts, rails and upright bars or boards."""
    height, bars, radius = rng.uniform(0.35, 1), int(rng.integers(8, 36)), rng.uniform(0.004, 0.014)
    rails = [tube(np.array([[-1, y, 0], [0, y, 0], [1, y, 0]]), radius * rng.uniform(1, 2), paint=FRAME)
             for y in np.linspace(0.12, 0.92, int(rng.integers(2, 4))) * height]  # fmt: skip
    posts = upright(np.linspace(-1, 1, int(rng.integers(2, 5))), 0, height * 1.05, radius * 2.5, paint=FRAME)
    top = height * (1 + rng.uniform(0, 0.12) * rng.random(bars))
    at = np.linspace(-0.97, 0.97, bars)
    if rng.random() < 0.3:  # boards
        wide = rng.uniform(0.2, 0.38) * 2 / bars
        return merge([*rails, *posts, *(slab([x - wide, 0.04, -radius], [x + wide, y, radius], paint=FILLING) for x, y in zip(at, top, strict=True))])
    return merge([*rails, *posts, *upright(at, 0.04, top, radius, sides=int(rng.choice([4, 6])), paint=FILLING)])


def grid(rng: np.random.Generator) -> Part:
    """Wire mesh or muntins: wires both ways in a frame."""
    width, height, radius = 1.0, rng.uniform(0.4, 1), rng.uniform(0.003, 0.012)
    columns, rows = (int(k) for k in rng.integers(3, 18, 2))
    columns_at, rows_at = np.linspace(-width, width, columns + 1)[1:-1], np.linspace(-height, height, rows + 1)[1:-1]
    wires = upright(columns_at, -height, height, radius, sides=3, pieces=3, paint=FILLING)
    wires += [straight([-width, y, radius], [width, y, radius], radius, sides=3, pieces=3, paint=FILLING) for y in rows_at]
    return merge([*wires, *framed(width, height, radius * rng.uniform(1.5, 4))])


def framed(width: float, height: float, radius: float) -> list[Part]:
    """The four bars about a rectangle of these half sizes."""
    corners = [[-width, -height, 0], [width, -height, 0], [width, height, 0], [-width, height, 0]]
    return [straight(corners[k], corners[(k + 1) % 4], radius, pieces=2, paint=FRAME) for k in range(4)]


def lattice(rng: np.random.Generator) -> Part:
    """Slanted wires or slats that cross: chain link, garden trellis."""
    width, height, radius = 1.0, rng.uniform(0.4, 1), rng.uniform(0.004, 0.016)
    step, slope = rng.uniform(0.2, 0.4), rng.uniform(0.7, 1.4)
    parts = framed(width, height, radius * 2)
    for side in (-1, 1):
        for offset in np.arange(-width - height / slope + step, width + height / slope, step):
            # x = side * (offset + y / slope), cut by the frame
            low, high = np.clip([(-width - offset) * slope, (width - offset) * slope], -height, height)
            if high - low > 0.02:
                a, b = ([side * (offset + y / slope), y, side * radius * 0.5] for y in (low, high))
                parts.append(straight(a, b, radius, sides=3, pieces=max(1, round((high - low) / 0.5)), paint=FILLING))
    return merge(parts)


def railing(rng: np.random.Generator) -> Part:
    """A handrail on few posts with level ropes or rods below."""
    height, radius = rng.uniform(0.3, 0.7), rng.uniform(0.004, 0.012)
    posts = upright(np.linspace(-1, 1, int(rng.integers(3, 9))), 0, height, radius * 1.6, sides=6, paint=FRAME)
    levels = np.linspace(height, 0.1 * height, int(rng.integers(2, 8)))
    rods = [straight([-1, y, 0], [1, y, 0], radius * (2 if k == 0 else 0.8), pieces=4, paint=FILLING) for k, y in enumerate(levels)]
    return merge([*posts, *rods])
