"""Edges of a mesh: which faces hang together, and the loops in which a surface ends."""

from __future__ import annotations

import numpy as np


def directed_edges(faces: np.ndarray) -> np.ndarray:  # [F, 3] -> [3 F, 2]
    """The edges of all faces as they run, those of face f at 3 f."""
    return faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)


def components(faces: np.ndarray, vertices: int) -> np.ndarray:  # [F, 3] -> [F]
    """The number of the piece that each face belongs to; pieces that touch in a vertex are one."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pairs = directed_edges(faces)
    graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (vertices, vertices))
    return connected_components(graph, directed=False)[1][faces[:, 0]]


def neighbours(faces: np.ndarray) -> np.ndarray:  # [F, 3] -> [n, 2]
    """The pairs of faces that share an edge, where it has two."""
    pairs = directed_edges(faces)
    edge = pairs.min(1) << 32 | pairs.max(1)
    order = np.argsort(edge, kind="stable")
    edge = edge[order]
    same = edge[1:] == edge[:-1]
    lone = same & ~np.concatenate([[False], same[:-1]]) & ~np.concatenate([same[1:], [False]])
    at = np.flatnonzero(lone)
    return np.stack([order[at], order[at + 1]], 1) // 3


def boundary_edges(faces: np.ndarray) -> np.ndarray:  # [F, 3] -> [E, 2]
    """The edges with a face on one side only, as that face runs them."""
    pairs = directed_edges(faces)
    low, high = pairs.min(1), pairs.max(1)
    _, where, counts = np.unique(low << 32 | high, return_inverse=True, return_counts=True)
    return pairs[counts[where] == 1]


def boundary_loops(faces: np.ndarray) -> list[np.ndarray]:
    """The closed loops [n] of vertices around holes, each in the direction in which faces that fill it run.

    Where loops touch in a vertex the walk takes any way on that closes; edges that close no loop are left out.
    """
    edges = boundary_edges(faces)[:, ::-1]
    onward: dict[int, list[int]] = {}
    for a, b in edges.tolist():
        onward.setdefault(a, []).append(b)
    loops = []
    for start in list(onward):
        while onward.get(start):
            path, places = [start], {start: 0}
            while onward.get(path[-1]):
                step = onward[path[-1]].pop()
                if step in places:  # a loop within the walk is a hole of its own
                    at = places[step]
                    loops.append(np.array(path[at:]))
                    for gone in path[at + 1 :]:
                        del places[gone]
                    del path[at + 1 :]
                else:
                    places[step] = len(path)
                    path.append(step)
            if len(path) == 1 and not onward.get(start):
                break
    return [loop for loop in loops if len(loop) >= 3]


def compact(faces: np.ndarray, vertices: int) -> tuple[np.ndarray, np.ndarray]:  # -> [F, 3], [P']
    """Faces with the vertices numbered anew, and which of the old ones are left: those that a face has."""
    used = np.zeros(vertices, bool)
    used[faces] = True
    return (np.cumsum(used) - 1)[faces], np.flatnonzero(used)
