"""The joining of features to tracks, compiled (numba): union-find in which no track may have two places in one view."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def root_of(parent, k):
    """The root of a feature, with the way to it halved."""
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


@njit(cache=True, nogil=True)
def joined(matches, owner, views):
    """The root [F] of each feature after the matches [M, 2] of features were joined in their order; owner [F]: the view of each feature.

    A match that would give a track two features of one view is left out.
    """
    parent = np.arange(len(owner))
    words = (views + 63) // 64
    seen = np.zeros((len(owner), words), np.uint64)  # the views of each root, a bit each
    for k in range(len(owner)):
        seen[k, owner[k] // 64] = np.uint64(1) << np.uint64(owner[k] % 64)
    for m in range(len(matches)):
        a, b = root_of(parent, matches[m, 0]), root_of(parent, matches[m, 1])
        if a == b:
            continue
        apart = True
        for w in range(words):
            apart = apart and (seen[a, w] & seen[b, w]) == 0
        if apart:
            parent[b] = a
            for w in range(words):
                seen[a, w] |= seen[b, w]
    for k in range(len(owner)):
        parent[k] = root_of(parent, k)
    return parent
