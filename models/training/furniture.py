"""Contains furniture of thin legs and thin boards as meshes: tables, chairs, shelves."""

from __future__ import annotations

import numpy as np

from recon.models.training.mesh_parts import FILLING, FRAME, Part, merge, slab, straight


def legs(rng: np.random.Generator, x: float, z: float, height: float) -> list[Part]:
    """Four thin legs, splayed, with stretchers between some of them."""
    radius, splay, sides = rng.uniform(0.006, 0.022), rng.uniform(0, 0.12), int(rng.choice([4, 6]))
    feet = np.array([[sx * (x + splay), 0, sz * (z + splay)] for sx, sz in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
    tops = np.array([[sx * x, height, sz * z] for sx, sz in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
    parts = [straight(a, b, radius, sides=sides, pieces=2, paint=FRAME) for a, b in zip(feet, tops, strict=True)]
    if rng.random() < 0.5:
        level = feet + (tops - feet) * rng.uniform(0.15, 0.5)
        parts += [straight(level[k], level[(k + 1) % 4], radius * 0.7, sides=3, paint=FRAME) for k in range(4)]
    return parts


def table(rng: np.random.Generator) -> Part:
    """A thin top on thin legs; long, square or as a stool."""
    x, z, height, thick = rng.uniform(0.2, 0.7), rng.uniform(0.2, 0.45), rng.uniform(0.4, 0.8), rng.uniform(0.008, 0.04)
    edge = rng.uniform(1.02, 1.3)
    return merge([*legs(rng, x * 0.9, z * 0.9, height), slab([-x * edge, height, -z * edge], [x * edge, height + thick, z * edge], paint=FILLING)])


def chair(rng: np.random.Generator) -> Part:
    """A seat on thin legs; a back of spindles, of slats or of a board."""
    half, seat, back, thick = rng.uniform(0.2, 0.28), rng.uniform(0.4, 0.6), rng.uniform(0.35, 0.6), rng.uniform(0.012, 0.04)
    lean, radius, top = rng.uniform(0, 0.15), rng.uniform(0.006, 0.018), seat + back
    parts = [*legs(rng, half, half, seat), slab([-half * 1.1, seat, -half * 1.1], [half * 1.1, seat + thick, half * 1.1], paint=FILLING)]
    parts += [straight([x, seat, -half], [x, top, -half - lean], radius * 1.3, pieces=2, paint=FRAME) for x in (-half, half)]
    parts.append(straight([-half, top, -half - lean], [half, top, -half - lean], radius * 1.5, paint=FRAME))
    kind = rng.integers(3)
    if kind == 0:
        spindles = np.linspace(-half, half, int(rng.integers(4, 9)))[1:-1]
        parts += [straight([x, seat, -half], [x, top, -half - lean], radius * 0.6, pieces=2, paint=FILLING) for x in spindles]
    elif kind == 1:
        for share in np.linspace(0.3, 0.85, int(rng.integers(2, 5))):
            y, z = seat + back * share, -half - lean * share
            parts.append(slab([-half, y, z - 0.006], [half, y + back * 0.09, z + 0.006], paint=FILLING))
    else:
        parts.append(slab([-half, seat + back * 0.45, -half - lean - 0.008], [half, seat + back * 0.95, -half - lean * 0.6], paint=FILLING))
    return merge(parts)


def shelf(rng: np.random.Generator) -> Part:
    """Thin boards on uprights, open at the back: edge-on a board is a line."""
    x, z, height, thick = rng.uniform(0.25, 0.6), rng.uniform(0.1, 0.25), rng.uniform(0.5, 1.3), rng.uniform(0.006, 0.02)
    boards = [slab([-x, y, -z], [x, y + thick, z], paint=FILLING) for y in np.linspace(0.05, height, int(rng.integers(3, 7)))]
    if rng.random() < 0.5:
        return merge([*boards, *(slab([side * x - thick, 0, -z], [side * x + thick, height + thick, z], paint=FRAME) for side in (-1, 1))])
    posts = [straight([sx * x, 0, sz * z], [sx * x, height + 0.05, sz * z], 0.012, pieces=2, paint=FRAME) for sx in (-1, 1) for sz in (-1, 1)]
    return merge([*boards, *posts])
