import math

import pytest
import torch

from trivium.nn.graphs import Graph, dissimilarities, scaled, stress, subtrees


def chain(*labels):
    return Graph(labels, tuple((at, at + 1) for at in range(len(labels) - 1)))


def test_labels_count_from_rough_to_fine_and_then_with_what_is_around():
    counts = subtrees(chain("input", "head/sdp/16", "output"), rounds=0)
    assert counts == {"input": 3, "head": 1, "head/sdp": 1, "head/sdp/16": 1, "output": 3}
    assert sum(subtrees(chain("input", "head/sdp/16", "output"), rounds=2).values()) == 3 * 3 * 3


def test_equal_graphs_are_at_0_however_their_blocks_are_numbered():
    graph = Graph(("input", "a", "a", "b", "output"), ((0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4)))
    order = [3, 0, 4, 1, 2]  # new number of each block
    labels = [""] * 5
    for old, new in enumerate(order):
        labels[new] = graph.labels[old]
    other = Graph(tuple(labels), tuple((order[a], order[b]) for a, b in graph.edges))
    assert float(dissimilarities([graph, other])[0, 1]) == 0.0
    assert float(dissimilarities([graph, chain("input", "a", "output")])[0, 1]) > 0.1


def test_the_direction_and_the_order_of_blocks_count():
    one, two = chain("input", "a", "b", "output"), chain("input", "b", "a", "output")
    assert float(dissimilarities([one, two], rounds=0)[0, 1]) == 0.0
    assert float(dissimilarities([one, two], rounds=1)[0, 1]) > 0.1
    back = Graph(one.labels, tuple((b, a) for a, b in one.edges))
    assert float(dissimilarities([one, back])[0, 1]) > 0.1


def test_a_hand_worked_distance():
    """Counts (1, 2) and (1, 0, 1) of labels a, b, c have a cosine of 1 / sqrt 10."""
    one, two = Graph(("a", "b", "b")), Graph(("a", "c"))
    got = float(dissimilarities([one, two], rounds=0)[0, 1])
    assert got == pytest.approx(math.sqrt(2 - 2 / math.sqrt(10)))
    assert float(dissimilarities([Graph(("a",)), Graph(("b",))])[0, 1]) == pytest.approx(math.sqrt(2))


def test_near_labels_are_nearer():
    graphs = [chain("in", label, "out") for label in ("head/sdp/16", "head/sdp/32", "head/wma/16", "span/conv/16")]
    distances = dissimilarities(graphs)[0]
    assert 0 < distances[1] < distances[2] < distances[3]


def test_points_keep_distances_that_fit_and_the_stress_says_how_well_others():
    points = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    distances = torch.cdist(points, points)
    found = scaled(distances, 3)
    torch.testing.assert_close(torch.cdist(found, found), distances, atol=1e-6, rtol=0)
    assert stress(found, distances) < 1e-6
    by_stress = [stress(scaled(distances, axes), distances) for axes in (1, 2, 3)]
    assert by_stress[0] > by_stress[1] > by_stress[2]
    classical = scaled(distances, 2, steps=0)
    assert stress(classical, distances) > by_stress[1]
    doubled = float(stress(2 * points, distances))
    assert doubled == pytest.approx(1.0)  # every distance is off by itself


def test_more_axes_than_points_are_zeros_and_the_result_has_one_sign():
    distances = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    found = scaled(distances, 4)
    assert found.shape == (2, 4)
    assert (found[:, 1:].abs() < 1e-9).all()
    torch.testing.assert_close(torch.cdist(found, found), distances)
    with pytest.raises(ValueError, match="at least 1 axis"):
        scaled(distances, 0)


def test_arrows_lie_between_blocks():
    with pytest.raises(ValueError, match="0 -> 3 is not between two of the 2 blocks"):
        Graph(("a", "b"), ((0, 3),))


def test_a_block_is_known_by_what_it_feeds_too():
    """Fed by nothing, the first blocks differ in what comes after them alone."""
    one, two = (set(subtrees(chain("a", after), rounds=1)) for after in ("b", "c"))
    assert one & two == {"a"}


def test_one_level_knows_the_first_parts_alone():
    one, two = chain("in", "head/sdp/16", "out"), chain("in", "head/wma/32", "out")
    assert subtrees(one, levels=1) == subtrees(two, levels=1)
    assert subtrees(one, levels=2) != subtrees(two, levels=2)
