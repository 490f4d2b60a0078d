"""Contains the choice of the pairs of views that are matched: all of a few photos, of many some six a view that hold together."""

from __future__ import annotations

from typing import Literal

import numpy as np

PairChoice = Literal["auto", "all", "sequence"]
Pair = tuple[int, int]
ALL_UP_TO = 8  # views of which all pairs are matched
SIMILAR = 4  # partners of each view by similarity
STEPS, SEQUENCE_STEPS = (1, 2), (1, 2, 3, 5, 8)  # partners in the order of names
LOOP_GAP = 12  # from so many photos apart a pair closes a loop
LOOP_STEP = 4  # and must be as similar as the median pair so many steps apart


def choose_pairs(similarity: np.ndarray, choice: PairChoice = "auto") -> list[Pair]:  # [V, V], symmetric
    """Pairs (i, j), i < j, in order; of more than ALL_UP_TO views a connected graph of about six a view, with pairs that close loops.

    "sequence": photos in the order of their names see the same things as their neighbours, as frames of a video do.
    """
    views = len(similarity)
    every = [(i, j) for i in range(views) for j in range(i + 1, views)]
    if choice == "all" or views <= ALL_UP_TO:
        return every
    chosen = {(i, i + step) for step in (SEQUENCE_STEPS if choice == "sequence" else STEPS) for i in range(views - step)}
    chosen |= closing_pairs(similarity)
    if choice == "auto":
        apart = np.abs(np.arange(views)[:, None] - np.arange(views))
        masked = np.where(apart <= 1, -np.inf, similarity)  # neighbours in order are taken anyway
        nearest = np.argsort(-masked, 1, kind="stable")[:, :SIMILAR]
        chosen |= {(min(i, int(j)), max(i, int(j))) for i in range(views) for j in nearest[i]}
        chosen |= spanning_tree(similarity)
    return sorted(chosen)


def closing_pairs(similarity: np.ndarray) -> set[Pair]:
    """For each view the most similar one far away in order, where it is as similar as photos a few steps apart usually are."""
    views = len(similarity)
    if views <= LOOP_GAP:
        return set()
    usual = float(np.median(np.diagonal(similarity, LOOP_STEP)))
    apart = np.abs(np.arange(views)[:, None] - np.arange(views)) >= LOOP_GAP
    far = np.where(apart, similarity, -np.inf)
    best = far.argmax(1)
    return {(min(i, int(j)), max(i, int(j))) for i, j in enumerate(best) if far[i, j] >= usual}


def spanning_tree(similarity: np.ndarray) -> set[Pair]:
    """The pairs of the maximum spanning tree, so that no group of photos stands alone."""
    from scipy.sparse.csgraph import minimum_spanning_tree

    cost = 1 + similarity.max() - similarity  # zeros would be no edges
    tree = minimum_spanning_tree(np.triu(cost, 1)).tocoo()
    return {(min(int(i), int(j)), max(int(i), int(j))) for i, j in zip(tree.row, tree.col, strict=True)}
