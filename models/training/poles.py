"""Contains what is long and thin as meshes: poles, street lamps, tripods, ladders, cables."""

from __future__ import annotations

import numpy as np

from recon.models.training.mesh_parts import FILLING, FRAME, Part, merge, slab, straight, tube


def ladder(rng: np.random.Generator) -> Part:
    """Two leaning stiles with rungs."""
    width, lean, radius = rng.uniform(0.1, 0.2), rng.uniform(0, 0.35), rng.uniform(0.008, 0.018)
    stiles = [straight([x, 0, 0], [x, 1, lean], radius, pieces=3, paint=FRAME) for x in (-width, width)]
    steps = np.linspace(0.06, 0.94, int(rng.integers(6, 14)))
    rungs = [straight([-width, y, lean * y], [width, y, lean * y], radius * 0.7, paint=FILLING) for y in steps]
    return merge([*stiles, *rungs])


def pole(rng: np.random.Generator) -> Part:
    """A post: bare, with a sign, with a street lamp's arm, or a tripod."""
    radius, kind = rng.uniform(0.008, 0.025), rng.integers(4)
    foot = slab([-0.05, 0, -0.05], [0.05, 0.02, 0.05], paint=FRAME)
    if kind == 3:
        feet = [[np.cos(a) * 0.25, 0, np.sin(a) * 0.25] for a in np.arange(3) * 2 * np.pi / 3]
        head = slab([-0.06, 0.95, -0.04], [0.06, 1.05, 0.04], paint=FILLING)
        column = straight([0, 0.5, 0], [0, 1, 0], radius, paint=FRAME)
        return merge([*(straight(f, [0, 0.7, 0], radius * 0.7, pieces=3, paint=FRAME) for f in feet), column, head])
    post = straight([0, 0, 0], [0, 1, 0], radius, sides=6, pieces=4, paint=FRAME)
    if kind == 0:
        return merge([foot, post])
    if kind == 1:
        wide, tall = rng.uniform(0.06, 0.2, 2)
        return merge([foot, post, slab([-wide, 0.98 - 2 * tall, radius], [wide, 0.98, radius + 0.008], paint=FILLING)])
    bow = np.linspace(0, 1, 6)[:, None]
    reach = rng.uniform(0.12, 0.4)
    arm = tube(np.array([0, 1, 0]) + bow * [reach, 0, 0] + np.sin(bow * np.pi / 2) * [0, 0.08, 0], radius * 0.6, paint=FRAME)
    return merge([foot, post, arm, slab([reach - 0.02, 1.04, -0.03], [reach + 0.1, 1.08, 0.03], paint=FILLING)])


def cables(rng: np.random.Generator) -> Part:
    """Sagging cables side by side along x: y = a cosh(x / a), the curve of a hanging chain; spread in height and depth."""
    parts, radius, spread = [], rng.uniform(0.0025, 0.009), rng.uniform(0.02, 0.3)
    x = np.linspace(-1, 1, 17)
    for _ in range(int(rng.integers(1, 6))):
        a = rng.uniform(1.0, 8.0)
        rise, height, depth = rng.normal(size=3) * [0.1, spread, spread]
        path = np.stack([x, a * np.cosh(x / a) - a * np.cosh(1 / a) + height + rise * x, depth + 0.1 * spread * x], -1)
        parts.append(tube(path, radius * rng.uniform(0.7, 1.4), sides=4, paint=int(rng.choice([FRAME, FILLING]))))
    return merge(parts)
