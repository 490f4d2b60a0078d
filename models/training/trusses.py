"""Contains what is built of thin struts as meshes: truss beams, scaffolds, and machines of blocks, struts and wheels."""

from __future__ import annotations

import numpy as np

from recon.models.training.mesh_parts import FILLING, FRAME, Part, merge, slab, straight, tube


def beam(rng: np.random.Generator, start: np.ndarray, along: np.ndarray, side: np.ndarray, other: np.ndarray) -> list[Part]:
    """Four chords about the way from `start` along `along`, half a section of `side` and `other` away, with posts and diagonals between them."""
    bays, radius = int(rng.integers(3, 9)), float(np.linalg.norm(side)) * rng.uniform(0.05, 0.15)
    corners = [start + a * side + b * other for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    parts = [straight(c, c + along, radius, pieces=bays, paint=FRAME) for c in corners]
    for k in range(bays + 1):
        for c, d in zip(corners, [*corners[1:], corners[0]], strict=True):
            here = along * (k / bays)
            parts.append(straight(c + here, d + here, radius * 0.7, sides=3, paint=FILLING))
            if k < bays:
                parts.append(straight(c + here, d + here + along / bays, radius * 0.7, sides=3, paint=FILLING))
    return parts


def truss(rng: np.random.Generator) -> Part:
    """A mast of struts, upright or leaning, with an arm in half of the cases: a crane."""
    x, y, z = np.eye(3)
    wide, lean = rng.uniform(0.04, 0.12), rng.uniform(-0.25, 0.25)
    parts = beam(rng, 0 * y, y + lean * x, wide * x, wide * z)
    if rng.random() < 0.5:
        parts += beam(rng, y + lean * x, rng.uniform(0.4, 0.9) * x + rng.uniform(-0.1, 0.4) * y, 0.6 * wide * z, 0.6 * wide * y)
    return merge(parts)


def machine(rng: np.random.Generator) -> Part:
    """Blocks on wheels with studs, struts and levers that stick out: like a toy built of bricks."""
    parts, top = [], 0.16
    for _ in range(int(rng.integers(2, 6))):
        half, at, tall = rng.uniform(0.08, 0.3, 2), rng.uniform(-0.2, 0.2, 2), rng.uniform(0.04, 0.18)
        paint = int(rng.choice([FRAME, FILLING]))
        parts.append(slab([at[0] - half[0], top, at[1] - half[1]], [at[0] + half[0], top + tall, at[1] + half[1]], paint=paint))
        top += tall
    for px in np.linspace(-0.25, 0.25, int(rng.integers(3, 7))):  # studs
        parts.append(straight([px, top, 0], [px, top + 0.03, 0], 0.02, sides=6, paint=FILLING))
    for sx, sz in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        angle = np.linspace(0, 2 * np.pi, 9)
        rim = np.stack([0.3 * sx + 0.1 * np.cos(angle), 0.12 + 0.1 * np.sin(angle), np.full(9, 0.3 * sz)], -1)
        parts.append(tube(rim, rng.uniform(0.015, 0.04), sides=4, paint=FRAME))
    for _ in range(int(rng.integers(3, 9))):
        a = rng.uniform([-0.35, 0.1, -0.35], [0.35, top, 0.35])
        b, paint = a + rng.normal(size=3) * [0.3, 0.25, 0.2], int(rng.choice([FRAME, FILLING]))
        parts.append(straight(a, b, rng.uniform(0.006, 0.02), pieces=2, paint=paint))
    return merge([*parts, *beam(rng, np.array([0.1, top * 0.6, 0.0]), np.array([rng.uniform(0.3, 0.7), rng.uniform(-0.2, 0.4), 0]),
                               np.array([0, 0, rng.uniform(0.05, 0.2)]), np.array([0, rng.uniform(0.02, 0.06), 0]))])  # fmt: skip
