"""Contains plants as meshes of a few hundred leaves: bushes, trees, branches, ferns, grass."""

from __future__ import annotations

import numpy as np

from recon.models.training.mesh_parts import Part, leaves, merge, normalized, straight, tube

BARK = 0  # material of stems; leaves take 1 to LEAF_PAINTS
LEAF_PAINTS = 3


def leaf_paint(rng: np.random.Generator, count: int) -> np.ndarray:  # [count]
    """Materials of leaves, most of them the first."""
    return rng.choice(np.arange(1, LEAF_PAINTS + 1), count, p=[0.6, 0.3, 0.1])


def directions(rng: np.random.Generator, count: int, upward: float = 0.0) -> np.ndarray:  # [count, 3]
    """Random unit vectors, drawn upwards by a constant."""
    return normalized(normalized(rng.normal(size=(count, 3))) + np.array([0.0, upward, 0.0]))


def scattered_leaves(rng: np.random.Generator, base: np.ndarray, out: np.ndarray, length: float, slender: float) -> Part:
    """Leaves at points that grow roughly outwards (out [n, 3]); slender: length by width."""
    n = len(base)
    along = normalized(out + 0.7 * directions(rng, n)) * length * rng.uniform(0.6, 1.3, (n, 1))
    across = normalized(np.cross(along, directions(rng, n, 1.0))) * np.linalg.norm(along, axis=1, keepdims=True) / slender / 2
    return leaves(base, along, across, fold=rng.uniform(0, 0.6), droop=rng.uniform(0, 0.15), paint=leaf_paint(rng, n))


def bush(rng: np.random.Generator) -> Part:
    """Stems from one root, each with a clump of leaves about its end; between the clumps one sees through."""
    stems = int(rng.integers(5, 16))
    out = directions(rng, stems, 0.7)
    out[:, 1] = np.abs(out[:, 1])
    ends = out * rng.uniform(0.5, 1.0, (stems, 1)) * np.array([1.0, rng.uniform(0.6, 1.4), 1.0])
    parts = [tube(np.stack([np.zeros(3), end * [0.4, 0.6, 0.4], end]), np.array([0.02, 0.014, 0.006]), sides=3, paint=BARK) for end in ends]
    each = int(rng.integers(340, 540)) // stems
    out = directions(rng, stems * each, 0.2)
    near = rng.uniform(0.1, 1.0, (stems * each, 1)) * rng.uniform(0.2, 0.4)
    base = np.maximum(np.repeat(ends, each, 0) + out * near, [-9.0, 0.01, -9.0])
    return merge([*parts, scattered_leaves(rng, base, out, rng.uniform(0.12, 0.26), rng.uniform(1.3, 3.5))])


def tree(rng: np.random.Generator) -> Part:
    """A trunk that forks twice, leaves about the twigs; a fifth are bare."""
    parts, tips = [], []
    trunk = np.array([[0, 0, 0], [rng.normal() * 0.04, 0.5, rng.normal() * 0.04], [rng.normal() * 0.08, 1.0, rng.normal() * 0.08]])
    parts.append(tube(trunk, np.array([0.045, 0.035, 0.025]), sides=5, paint=BARK))
    for limb in range(int(rng.integers(6, 11))):
        start = trunk[1] + (trunk[2] - trunk[1]) * rng.uniform(-0.2, 1)
        limb_end = start + directions(rng, 1, 0.6)[0] * rng.uniform(0.35, 0.7)
        middle = (start + limb_end) / 2 + [0, 0.04, 0]
        parts.append(tube(np.stack([start, middle, limb_end]), np.array([0.02, 0.014, 0.008]), sides=3, paint=BARK))
        for twig in range(4):
            fork = middle + (limb_end - middle) * (limb % 2 + twig) / 4
            tip = fork + directions(rng, 1, 0.3)[0] * rng.uniform(0.15, 0.35)
            parts.append(straight(fork, tip, 0.005, sides=3, paint=BARK))
            tips.append((fork + tip) / 2)
            tips.append(tip)
    if rng.random() < 0.8:
        each = int(rng.integers(4, 7))
        out = directions(rng, len(tips) * each, 0.1)
        base = np.repeat(np.array(tips), each, 0) + out * rng.uniform(0.02, 0.12, (len(out), 1))
        parts.append(scattered_leaves(rng, base, out, rng.uniform(0.1, 0.2), rng.uniform(1.4, 3.5)))
    return merge(parts)


def sprig(rng: np.random.Generator, start: np.ndarray, heading: np.ndarray, length: float, pairs: int, leaf: float, slender: float) -> list[Part]:
    """A drooping twig with leaves in pairs, as of ash or of fern: they grow shorter towards its tip."""
    t = np.linspace(0, 1, pairs + 1)[1:]
    sag = rng.uniform(0.1, 0.6) * length
    point = lambda s: start + heading * length * s[:, None] - np.array([0.0, sag, 0.0]) * (s**2)[:, None]
    path = point(np.linspace(0, 1, 5))
    along = normalized(point(t + 0.01) - point(t))
    sideways = normalized(np.cross(along, [0.0, 1.0, 0.0]))
    size = leaf * (1 - 0.75 * t**2) * rng.uniform(0.85, 1.15, pairs)
    both = [normalized(side * sideways + 0.55 * along + rng.normal(size=(pairs, 3)) * 0.08) * size[:, None] for side in (-1, 1)]
    base, out = np.concatenate([point(t)] * 2), np.concatenate(both)
    up = np.cross(np.concatenate([sideways] * 2), np.concatenate([along] * 2)) + rng.normal(size=(2 * pairs, 3)) * 0.2
    across = normalized(np.cross(out, up)) * np.linalg.norm(out, axis=1, keepdims=True) / slender / 2
    blades = leaves(base, out, across, fold=rng.uniform(0, 0.4), droop=rng.uniform(0, 0.1), paint=leaf_paint(rng, 2 * pairs))
    return [tube(path, np.linspace(0.012, 0.004, 5) * length, sides=3, paint=BARK), blades]


def branch(rng: np.random.Generator) -> Part:
    """A bough along x that carries sprigs to both sides: what hangs into a picture."""
    sprigs = int(rng.integers(8, 16))
    t = np.linspace(-0.6, 1, sprigs)
    bough = lambda s: np.stack([s, 0.12 * np.sin(2 * s), 0.1 * np.cos(3 * s)], -1)
    parts = [tube(bough(np.linspace(-1, 1, 7)), np.linspace(0.03, 0.008, 7), sides=4, paint=BARK)]
    leaf, slender = rng.uniform(0.14, 0.3), rng.uniform(1.6, 4.5)
    for k, start in enumerate(bough(t)):
        heading = normalized(np.array([0.6, rng.normal() * 0.35, (-1) ** k * rng.uniform(0.5, 1)]))
        parts += sprig(rng, start, heading, rng.uniform(0.3, 0.7), int(rng.integers(6, 14)), leaf, slender)
    return merge(parts)


def fern(rng: np.random.Generator) -> Part:
    """A rosette of fronds that rise and bow."""
    fronds, parts = int(rng.integers(7, 13)), []
    leaf, slender, rise = rng.uniform(0.14, 0.3), rng.uniform(3, 6), rng.uniform(0.4, 1.5)
    for k in range(fronds):
        angle = 2 * np.pi * (k + rng.uniform(-0.3, 0.3)) / fronds
        heading = normalized(np.array([np.cos(angle), rise * rng.uniform(0.7, 1.3), np.sin(angle)]))
        parts += sprig(rng, np.zeros(3), heading, rng.uniform(0.7, 1.1), int(rng.integers(14, 24)), leaf, slender)
    return merge(parts)


def grass(rng: np.random.Generator) -> Part:
    """Bent blades of three triangles: a tuft, or a patch of ground."""
    n, spread = int(rng.integers(150, 400)), rng.uniform(0.1, 1.0)
    root = rng.uniform(-1, 1, (n, 3)) * [spread, 0, spread]
    lean = rng.normal(size=(n, 3)) * [1, 0, 1] * rng.uniform(0.1, 0.5) + root * 0.4
    height = rng.uniform(0.3, 1, (n, 1)) * [0.0, 1.0, 0.0]
    wide = normalized(np.cross(directions(rng, n), [0.0, 1.0, 0.0])) * rng.uniform(0.008, 0.035)
    middle, tip = root + 0.5 * height + 0.25 * lean, root + height * 0.95 + lean
    vertices = np.stack([root - wide, root + wide, middle + 0.8 * wide, middle - 0.8 * wide, tip], 1).reshape(-1, 3)
    faces = (np.arange(n)[:, None, None] * 5 + np.array([[0, 1, 2], [0, 2, 3], [3, 2, 4]])).reshape(-1, 3)
    uvs = np.tile([[0.3, 0.0], [0.7, 0.0], [0.7, 0.5], [0.3, 0.5], [0.5, 1.0]], (n, 1))
    return Part(vertices=vertices, uvs=uvs, faces=faces, paint=np.repeat(leaf_paint(rng, n), 3))
