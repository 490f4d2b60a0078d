"""Which pairs are matched: few, connected, and those that close a loop."""

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from recon.cameras.pairing import choose_pairs


def similarity(places: np.ndarray) -> np.ndarray:  # [V, 2] -> [V, V]
    return np.exp(-np.linalg.norm(places[:, None] - places[None], axis=-1))


def parts(pairs, views: int) -> int:
    graph = np.zeros((views, views))
    graph[tuple(np.array(pairs).T)] = 1
    return connected_components(graph, directed=False)[0]


def loop(views: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, views, endpoint=False)
    return 5 * np.stack([np.cos(angle), np.sin(angle)], 1)


def test_of_a_few_views_all_pairs_are_taken_and_of_many_when_asked():
    assert len(choose_pairs(np.zeros((8, 8)))) == 28
    assert len(choose_pairs(np.zeros((30, 30)), "all")) == 435


@pytest.mark.parametrize("choice", ["auto", "sequence"])
@pytest.mark.parametrize("views", [9, 40, 300])
def test_pairs_grow_with_the_views_and_hold_together(choice, views):
    pairs = choose_pairs(similarity(np.random.default_rng(0).permutation(loop(views)) if choice == "auto" else loop(views)), choice)
    assert len(pairs) == len(set(pairs)) and all(0 <= i < j < views for i, j in pairs)
    assert len(pairs) <= 6.5 * views and parts(pairs, views) == 1


def test_two_groups_of_photos_are_joined_by_their_most_similar_pair():
    places = np.concatenate([np.random.default_rng(0).normal(size=(15, 2)), np.random.default_rng(1).normal(size=(15, 2)) + 40])
    order = np.random.default_rng(2).permutation(30)
    pairs = choose_pairs(similarity(places[order]))
    assert parts(pairs, 30) == 1


def test_the_end_of_a_walk_round_is_matched_with_its_beginning():
    pairs = choose_pairs(similarity(loop(60)), "sequence")
    assert any(i < 4 and j > 55 for i, j in pairs)
    line = similarity(np.stack([np.arange(60.0), np.zeros(60)], 1))
    assert all(j - i <= 8 for i, j in choose_pairs(line, "sequence"))  # nothing far apart looks alike: no loop
