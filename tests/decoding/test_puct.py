"""The tree search itself, on trees whose values are known."""

import itertools
import math

import pytest

from trivium.core.errors import NotFinite
from trivium.decoding._puct import Node, chosen, search

WIDTH, DEPTH = 3, 3
LEAVES = {way: (7 * (9 * way[0] + 3 * way[1] + way[2]) % 27) / 27 for way in itertools.product(range(WIDTH), repeat=3)}


def way(node):
    return tuple(each.step for each in node.path)


def known(node):
    """Leaves have their own values; inside the tree nothing is known."""
    if node.depth == DEPTH:
        return []
    return [(action, LEAVES.get((*way(node), action), 0.5), 1 / WIDTH) for action in range(WIDTH)]


def grown(expand=known, simulations=40, exploration=1.0, depth=DEPTH):
    root = Node(-1)
    search(root, expand, simulations=simulations, exploration=exploration, depth=depth)
    return root


@pytest.mark.parametrize("exploration", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("simulations", [1, 2, 7, 40])
def test_visits_add_up(simulations, exploration):
    """The root's are the simulations; an expanded node's are one more than its children's."""
    root = grown(simulations=simulations, exploration=exploration)
    assert root.visits == simulations == sum(child.visits for child in root.children)
    inner = [node for node in root.below() if node.children and node is not root]
    assert inner or simulations < 7
    assert all(node.visits == 1 + sum(child.visits for child in node.children) for node in inner)


def test_q_is_the_mean_of_what_was_backed_up():
    """Every visit ends at one node and backs up its value; a node at the greatest depth is visited again and again."""
    for node in grown(simulations=60).below():
        if node.parent is not None and node.visits:
            inside = [each for each in node.below() if each.visits]
            ends = [(each, each.visits - sum(c.visits for c in each.children or ())) for each in inside]
            assert sum(count for _, count in ends) == node.visits
            assert node.q == pytest.approx(sum(each.value * count for each, count in ends) / node.visits)
            assert 0 <= node.q <= 1


def test_the_best_leaf_is_found_as_simulations_grow():
    best = max(LEAVES.values())
    found = [LEAVES.get(way(grown(simulations=count).best()), 0.0) for count in (3, 30, 300, 3000)]
    assert found[-1] == best
    assert found[-1] > found[0]
    assert way(grown(simulations=3000).best("visits")) == way(grown(simulations=3000).best("value"))


def test_without_exploration_the_search_is_greedy():
    """One level of distinct values: the highest is taken again and again, the others never."""
    root = grown(lambda node: [(a, v, 1 / 3) for a, v in enumerate((0.2, 0.9, 0.4))], exploration=0.0, depth=1)
    assert [child.visits for child in root.children] == [0, 40, 0]
    root = grown(lambda node: [(a, v, 1 / 3) for a, v in enumerate((0.2, 0.9, 0.4))], exploration=3.0, depth=1)
    assert all(child.visits for child in root.children)


def test_greedy_turns_away_from_what_disappoints():
    """The likelier action leads to bad ones: its mean falls below the other's, which is then taken."""

    def expand(node):
        if node.depth == 0:
            return [(0, 0.8, 0.5), (1, 0.6, 0.5)]
        return [(0, 0.0 if way(node)[0] == 0 else 0.7, 1.0)]

    root = grown(expand, exploration=0.0, depth=2)
    assert way(root.best()) == (1, 0)
    assert root.children[0].visits == 2
    assert root.children[0].q == pytest.approx(0.4)


def test_selection_by_hand():
    children = [Node(0, 0.5, 0.2), Node(1, 0.4, 0.3), Node(2, 0.1, 0.2)]
    for child, visits in zip(children, (3, 1, 0), strict=True):
        child.visits, child.total = visits, visits * child.value
    scores = [0.5 + 2 * 0.2 / 4, 0.4 + 2 * 0.3 / 2, 0.1 + 2 * 0.2 / 1]  # sqrt(4 visits) = 2
    assert chosen(children, 1.0) is children[scores.index(max(scores))] is children[1]
    assert chosen(children, 0.0) is children[0]
    assert chosen(children, 10.0) is children[2]  # the one that was never taken


def test_priors_steer_where_values_are_alike():
    root = grown(lambda node: [(0, 0.5, 0.8), (1, 0.5, 0.1), (2, 0.5, 0.1)], simulations=20, depth=1)
    visits = [child.visits for child in root.children]
    assert visits[0] > 2 * max(visits[1:])


def test_terminal_nodes_are_visited_again_and_not_expanded():
    asked = []

    def expand(node):
        asked.append(way(node))
        return [] if node.depth else [(0, 0.9, 1.0)]

    root = grown(expand, simulations=5, depth=4)
    assert asked == [(), (0,)]
    assert root.children[0].visits == 5
    assert root.best() is root.children[0]


def test_a_root_without_actions_is_its_own_end():
    root = grown(lambda node: [], simulations=4)
    assert root.visits == 4
    assert root.best() is root
    assert root.path == []


def test_nothing_is_expanded_beyond_the_depth():
    root = grown(lambda node: [(0, 0.5, 0.5), (1, 0.6, 0.5)], simulations=50, depth=2)
    assert max(node.depth for node in root.below()) == 2


@pytest.mark.parametrize(("value", "error"), [(-0.1, ValueError), (1.01, ValueError), (math.nan, NotFinite)])
def test_values_that_are_none_are_refused(value, error):
    with pytest.raises(error, match="value model gave"):
        grown(lambda node: [(0, value, 1.0)])
