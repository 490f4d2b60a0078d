"""Which photo each face is cut from: photos that show something else are left out, then quality against the length of seams."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from recon.meshes.texture.surveying import Survey

SEAM = 0.5  # cost of an edge between two photos; a face costs 1 - its quality over its best quality
SWEEPS = 12
LEAST_FACES, LEAST_PIXELS = 6, 200  # of a patch that stays among others
OTHER, TIMES = 0.1, 3.0  # sRGB: how far a colour may be from the middle one of all photos, and how many times the middle distance


def adjacency(faces: NDArray[np.int64]) -> NDArray[np.int64]:  # [F, 3] -> [E, 2]
    """Pairs of faces that share an edge; of an edge with more than two faces, each with the next."""
    from recon.meshes.texture.subdivision import edge_table

    of_face = edge_table(faces)[1].reshape(-1)
    order = np.argsort(of_face, kind="stable")
    same = np.flatnonzero(of_face[order[1:]] == of_face[order[:-1]])
    pairs = np.stack([order[same], order[same + 1]], 1) // 3
    return pairs[pairs[:, 0] != pairs[:, 1]]


def symmetric(pairs: NDArray[np.int64], count: int) -> csr_array:
    """The adjacency matrix of pairs of faces."""
    both = np.concatenate([pairs, pairs[:, ::-1]])
    return csr_array(coo_array((np.ones(len(both), np.int32), (both[:, 0], both[:, 1])), shape=(count, count)))


def without_strangers(survey: Survey, pairs: NDArray[np.int64]) -> NDArray[np.float32]:  # [F, V]
    """The survey's quality, 0 for photos whose colour of a face is far from the middle one of at least three: something moved there, or shone.

    A face alone among faces that agree is noise; around those that are left out, one ring of faces is left out too. A face that would lose all
    its photos keeps them. (The idea is section 3.2 of Waechter et al. 2014; here a median stands for their mean shift.)
    """
    quality, seen = survey.quality, survey.quality > 0
    several = np.flatnonzero(seen.sum(1) > 2)
    if not len(several):
        return quality
    middle = _median(survey.colors[several], seen[several])
    distance = np.abs(survey.colors[several] - middle[:, None]).max(2)
    bound = np.maximum(OTHER, TIMES * _median(distance[..., None], seen[several]))
    strange = np.zeros(seen.shape, bool)
    strange[several] = seen[several] & (distance > bound)
    neighbours = symmetric(pairs, len(seen))
    strange &= neighbours @ strange.astype(np.int32) > 0
    strange |= neighbours @ strange.astype(np.int32) > 0
    kept = np.where(strange, 0, quality)
    return np.where(kept.any(1, keepdims=True), kept, quality)


def _median(values: NDArray, seen: NDArray[np.bool_]) -> NDArray:  # [n, V, C], [n, V] -> [n, C]
    """Medians over the views that see; each face has one at least."""
    ordered = np.sort(np.where(seen[..., None], values, np.inf), axis=1)
    count = seen.sum(1)
    rows = np.arange(len(values))
    return (ordered[rows, (count - 1) // 2] + ordered[rows, count // 2]) / 2


def choose_views(quality: NDArray[np.float32], pairs: NDArray[np.int64]) -> NDArray[np.int64]:  # [F, V], [E, 2] -> [F]
    """The photo of each face, -1 where none shows it.

    Least sum of (1 - quality / best quality) over faces and SEAM over edges between different photos, by belief propagation with Potts messages
    (Felzenszwalb and Huttenlocher 2006, section 3.1), sweeping over the faces forwards and backwards. Then small patches take their neighbours'
    photo where that shows them.
    """
    from recon.meshes.texture.choice_loops import propagate

    best = quality.max(1, initial=0)
    seen = best > 0
    if not seen.any():
        return np.full(len(quality), -1)
    cost = np.where(quality > 0, 1 - quality / np.where(seen, best, 1)[:, None], np.float32(100)).astype(np.float32)
    links = pairs[seen[pairs].all(1)]
    ends = links.reshape(-1)
    order = np.argsort(ends, kind="stable")  # the half edges of each face, one after the other; half edge 2e leaves the first face of pair e
    starts = np.searchsorted(ends[order], np.arange(len(quality) + 1))
    labels = propagate(cost, order, starts, links, np.float32(SEAM), SWEEPS)
    labels = np.where(seen, labels, -1)
    for _ in range(3):
        labels = _without_crumbs(labels, quality, links)
    return labels


def patches_of(labels: NDArray[np.int64], pairs: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
    """How many patches of faces with one label hang together, and the number of each face's."""
    same = pairs[labels[pairs[:, 0]] == labels[pairs[:, 1]]]
    count, patch = connected_components(symmetric(same, len(labels)), directed=False)
    return count, patch.astype(np.int64)


def _without_crumbs(labels: NDArray[np.int64], quality: NDArray[np.float32], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Faces of small patches take the commonest photo around them of those that show them."""
    count, patch = patches_of(labels, pairs)
    here = quality[np.arange(len(labels)), labels] * (labels >= 0)
    small = (np.bincount(patch, minlength=count) < LEAST_FACES) | (np.bincount(patch, here, minlength=count) < LEAST_PIXELS)
    crumb = small[patch] & (labels >= 0)
    if not crumb.any():
        return labels
    votes = np.zeros((len(labels), quality.shape[1]), np.float32)
    for a, b in (pairs.T, pairs.T[::-1]):
        np.add.at(votes, (a, labels[b]), np.where(labels[b] >= 0, 1, 0) * (patch[a] != patch[b]))
    votes *= quality > 0
    better = crumb & (votes.max(1, initial=0) > 0)
    return np.where(better, votes.argmax(1), labels)
