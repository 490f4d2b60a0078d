"""Contains what procedural meshes are built from: tubes, bars, leaves; y up, any size until they are fitted into the unit cube."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FRAME, FILLING = 0, 1  # materials of fences, furniture, poles


@dataclass(frozen=True, kw_only=True)
class Part:
    """A triangle mesh; triangles are seen from both sides."""

    vertices: np.ndarray  # [V, 3]
    uvs: np.ndarray  # [V, 2]
    faces: np.ndarray  # [F, 3] int
    paint: np.ndarray  # [F] int: number of the material within the mesh


def merge(parts: Sequence[Part]) -> Part:
    """All of them as one mesh."""
    first = np.cumsum([0, *(len(p.vertices) for p in parts)])
    return Part(
        vertices=np.concatenate([p.vertices for p in parts]), uvs=np.concatenate([p.uvs for p in parts]),
        faces=np.concatenate([p.faces + k for p, k in zip(parts, first, strict=False)]), paint=np.concatenate([p.paint for p in parts]),
    )  # fmt: skip


def fitted(part: Part) -> Part:
    """Centred, the longest side of its box 1."""
    low, high = part.vertices.min(0), part.vertices.max(0)
    return Part(vertices=(part.vertices - (low + high) / 2) / (high - low).max(), uvs=part.uvs, faces=part.faces, paint=part.paint)


def normalized(v: np.ndarray) -> np.ndarray:  # [..., 3] -> [..., 3]
    """Unit vectors; of a zero vector zero."""
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def tube(path: np.ndarray, radius: float | np.ndarray, *, sides: int = 4, paint: int = 0) -> Part:  # path [n, 3], radius [n] or one
    """A closed tube about a path. Its frame is carried along the path by projection, so that it does not twist."""
    count = len(path)
    along = normalized(np.gradient(path, axis=0))
    frame = np.empty((count, 3))
    frame[0] = np.cross(along[0], np.eye(3)[np.abs(along[0]).argmin()])
    for k in range(1, count):
        frame[k] = frame[k - 1] - along[k] * (frame[k - 1] @ along[k])
    frame = normalized(frame)
    angle = np.arange(sides) * 2 * np.pi / sides + np.pi / sides
    ring = np.cos(angle)[:, None] * frame[:, None] + np.sin(angle)[:, None] * np.cross(along, frame)[:, None]
    vertices = path[:, None] + ring * np.broadcast_to(radius, count)[:, None, None]
    a = (np.arange(count - 1)[:, None] * sides + np.arange(sides)).ravel()
    b = (np.arange(count - 1)[:, None] * sides + (np.arange(sides) + 1) % sides).ravel()
    cap = np.array([[0, k, k + 1] for k in range(1, sides - 1)])
    faces = np.concatenate([np.stack([a, b, b + sides], -1), np.stack([a, b + sides, a + sides], -1), cap, cap + (count - 1) * sides])
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    uvs = np.stack(np.broadcast_arrays(np.arange(sides) / sides, length[:, None]), -1).reshape(-1, 2)
    return Part(vertices=vertices.reshape(-1, 3), uvs=uvs, faces=faces, paint=np.full(len(faces), paint))


def straight(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, radius: float, *, sides: int = 4, pieces: int = 1, paint: int = 0
) -> Part:  # fmt: skip
    """A tube between two points. More pieces cost faces, but a raster's work on a slanted tube falls with their number: smaller boxes."""
    return tube(np.linspace(a, b, pieces + 1), radius, sides=sides, paint=paint)


def slab(low: Sequence[float], high: Sequence[float], *, paint: int = 0) -> Part:
    """An axis-aligned box between two corners, uvs in its units."""
    quads, uvs = [], []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        for end in (low, high):
            corners = np.tile(np.asarray(end, float), (4, 1))
            corners[:, u] = np.array([low[u], high[u], high[u], low[u]])
            corners[:, v] = np.array([low[v], low[v], high[v], high[v]])
            quads.append(corners)
            uvs.append(corners[:, [u, v]])
    faces = (np.arange(6)[:, None, None] * 4 + np.array([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3)
    return Part(vertices=np.concatenate(quads), uvs=np.concatenate(uvs), faces=faces, paint=np.full(len(faces), paint))


def leaves(base: np.ndarray, along: np.ndarray, across: np.ndarray, *, fold: float, droop: float, paint: np.ndarray) -> Part:
    """Leaves of two triangles each, folded about the midrib. base, along (to the tip), across (half a leaf's width) [n, 3]; paint [n].

    fold: how far the sides rise above the midrib, in half widths; droop: how far the middle rises above the line from base to tip, in lengths.
    """
    up = normalized(np.cross(across, along))
    up = np.where(up[:, 1:2] < 0, -up, up)
    middle = base + 0.45 * along + droop * np.linalg.norm(along, axis=1, keepdims=True) * up
    rise = fold * np.linalg.norm(across, axis=1, keepdims=True) * up
    vertices = np.stack([base, middle + across + rise, base + along, middle - across + rise], 1)
    faces = (np.arange(len(base))[:, None, None] * 4 + np.array([[0, 1, 2], [0, 2, 3]])).reshape(-1, 3)
    uvs = np.tile([[0.5, 0.0], [1.0, 0.45], [0.5, 1.0], [0.0, 0.45]], (len(base), 1))
    return Part(vertices=vertices.reshape(-1, 3), uvs=uvs, faces=faces, paint=np.repeat(paint, 2))
