"""Splits faces that are large in the photos: a face is cut from one photo, and a wall of two triangles is seen whole by none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROUNDS = 12
MOST_FACES = 2_000_000


def edge_table(faces: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The edges [E, 2], each once and with its smaller vertex first, and those of each face [F, 3]: edge k leads from corner k to the next."""
    corners = np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2)
    low, high = corners.min(1), corners.max(1)
    keys, of_face = np.unique(low * (high.max(initial=0) + 1) + high, return_inverse=True)
    return np.stack(np.divmod(keys, high.max(initial=0) + 1), 1), of_face.reshape(-1, 3)


def split_marked(faces: NDArray[np.int64], marked: NDArray[np.bool_], of_face: NDArray[np.int64], points: int) -> NDArray[np.int64]:
    """Faces with their marked edges halved: a marked edge e has the new vertex points + (its rank among the marked).

    marked [E], of_face [F, 3] as of `edge_table`. One marked edge makes two faces of one, two three, three four; windings stay and there are no
    T-junctions, since both faces of an edge see the same mark. The faces that stay whole come first.
    """
    middle = np.where(marked, points + np.cumsum(marked) - 1, -1)[of_face]
    count = (middle >= 0).sum(1)
    # turn each face so that its first edge is marked, and of two marked ones the unmarked is the last
    first = np.where(count == 2, (np.argmin(middle, 1) + 1) % 3, np.argmax(middle >= 0, 1))
    order = (first[:, None] + np.arange(3)) % 3
    a, b, c = np.take_along_axis(faces, order, 1).T
    m, n, o = np.take_along_axis(middle, order, 1).T
    one, two, three = count == 1, count == 2, count == 3
    new = [faces[count == 0]]
    new += [np.stack(t, 1)[one] for t in ((a, m, c), (m, b, c))]
    new += [np.stack(t, 1)[two] for t in ((m, b, n), (a, m, c), (m, n, c))]
    new += [np.stack(t, 1)[three] for t in ((a, m, o), (m, b, n), (o, n, c), (m, n, o))]
    return np.concatenate(new)


def split_large(
    points: NDArray[np.float64], faces: NDArray[np.int64], eyes: NDArray[np.float64], *, most: float
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Points [P', 3], faces [F', 3] and, for each new point, the two points that it is midway of [P' - P, 2].

    An edge is halved until it spans at most `most` radians seen from the nearest of the eyes [V, 3]; an eye nearer to the surface than a twentieth
    of the middle distance counts as that far.
    """
    from scipy.spatial import KDTree

    tree = KDTree(eyes)
    parents = [np.empty((0, 2), np.int64)]
    floor = 0.05 * float(np.median(tree.query(points)[0])) if len(points) else 0.0
    for _ in range(ROUNDS):
        edges, of_face = edge_table(faces)
        ends = points[edges]
        length = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
        marked = length > most * np.maximum(tree.query(ends.mean(1))[0], floor)
        if not marked.any() or len(faces) + 2 * marked.sum() > MOST_FACES:
            break
        faces = split_marked(faces, marked, of_face, len(points))
        points = np.concatenate([points, ends[marked].mean(1)])
        parents.append(edges[marked])
    return points, faces, np.concatenate(parents)


def halve(values: NDArray[np.float64], parents: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values [P, C] of the first points carried to all [P', C]: each new point has the mean of its parents, which come before it."""
    out = np.concatenate([values, np.empty((len(parents), values.shape[1]))])
    start, done = len(values), len(values)
    while start < len(out):  # all whose parents are known; each round of splitting is one step or more
        ready = np.cumprod(parents[start - done :].max(1) < start).astype(bool)
        block = parents[start - done :][ready]
        out[start : start + len(block)] = out[block].mean(1)
        start += len(block)
    return out
