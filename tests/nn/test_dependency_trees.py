import numpy as np
import pytest
from scipy.sparse.csgraph import minimum_spanning_tree, shortest_path

from trivium.nn.dependency_trees import depths, shared_edges, spanning_tree, tree_distances

HEADS = np.array([1, -1, 3, 1, 3])
"""Word 1 is the root; 0 and 3 hang from it, 2 and 4 from 3."""


def random_heads(seed, n=12):
    draws = np.random.default_rng(seed)
    order = draws.permutation(n)
    heads = np.full(n, -1)
    for at in range(1, n):
        heads[order[at]] = order[draws.integers(at)]
    return heads


def test_by_hand():
    assert depths(HEADS).tolist() == [1, 0, 2, 1, 2]
    assert tree_distances(HEADS)[2].tolist() == [3, 2, 0, 1, 2]


@pytest.mark.parametrize("seed", range(10))
def test_distances_are_shortest_paths_and_span_the_tree(seed):
    heads = random_heads(seed)
    edges = np.zeros((12, 12))
    words = np.flatnonzero(heads >= 0)
    edges[words, heads[words]] = 1
    found = tree_distances(heads)
    np.testing.assert_array_equal(found, shortest_path(edges, directed=False))
    spanned = {tuple(sorted(edge)) for edge in spanning_tree(found)}
    assert spanned == {tuple(sorted((int(word), int(heads[word])))) for word in words}


@pytest.mark.parametrize("seed", range(10))
def test_the_spanning_tree_is_the_lightest(seed):
    points = np.random.default_rng(seed).normal(size=(9, 3))
    distances = ((points[:, None] - points[None]) ** 2).sum(-1)
    weight = sum(distances[edge] for edge in spanning_tree(distances))
    assert weight == pytest.approx(minimum_spanning_tree(distances).sum())


def test_edges_over_the_words_that_count():
    """Without word 3, words 2 and 4 are nearest to each other or to the root, at distance 2 all the same."""
    true = tree_distances(HEADS)
    everything, some = np.ones(5, dtype=bool), np.array([True, True, True, False, False])
    assert shared_edges(true, true, everything) == (4.0, 4.0)
    assert shared_edges(true, true, some) == (2.0, 2.0)
    chain = np.abs(np.arange(5)[:, None] - np.arange(5)).astype(float)
    assert shared_edges(true, chain, everything) == (3.0, 4.0)  # 0-1, 2-3 and 3-4, not 1-2
    assert shared_edges(true, chain, ~everything) == (0.0, 0.0)


def test_what_is_no_tree_is_refused():
    for heads in ([1, 0, -1], [0, -1], [-1, -1], [5, -1], [1, 0]):
        with pytest.raises(ValueError, match=r"one root|no root is reached"):
            tree_distances(np.array(heads))
