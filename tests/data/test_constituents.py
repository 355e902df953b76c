"""Trees as numbers and back: by hand, on random trees, and on code."""

import pytest
import torch

from trivium.core.seeds import generator
from trivium.data.constituents import (
    EMPTY,
    Bracket,
    Tree,
    label_names,
    labels_of,
    numbers_of,
    recovered,
    tree_of,
)


def random_tree(seed, leaves=None):
    """Any shape: nodes with one child, many children, and labels that repeat."""
    draws = generator(seed, "tree")
    draw = lambda high: int(torch.randint(high, (), generator=draws))  # noqa: E731
    n = leaves or 1 + draw(24)
    found = []

    def node(start, stop, depth):
        for _ in range(1 + (draw(4) == 0) + (draw(8) == 0)):
            found.append(Bracket("abcd"[draw(4)], start, stop))
        if stop - start == 1:
            return
        count = 2 + draw(min(5, stop - start) - 1)
        cuts = sorted((torch.randperm(stop - start - 1, generator=draws)[: count - 1] + start + 1).tolist())
        for left, right in zip([start, *cuts], [*cuts, stop], strict=True):
            if right - left > 1 or draw(3) == 0:
                node(left, right, depth + 1)

    node(0, n, 0)
    return Tree(n, tuple(found))


def test_by_hand():
    """f(x, y): a call of a name and of arguments, of which there are five leaves. The arguments make a chain."""
    tree = Tree(6, (Bracket("call", 0, 6), Bracket("name", 0, 1), Bracket("arguments", 1, 6), Bracket("name", 2, 3)))
    d, c, u = numbers_of(tree)
    assert d == [5, 4, 3, 2, 1]
    assert c == ["call", "arguments", EMPTY, EMPTY, EMPTY]
    assert u == ["name", EMPTY, "name", EMPTY, EMPTY, EMPTY]
    assert tree_of(d, c, u) == tree


def test_nodes_over_the_same_leaves_are_fused():
    tree = Tree(2, (Bracket("module", 0, 2), Bracket("pair", 0, 2), Bracket("a", 1, 2), Bracket("b", 1, 2)))
    assert numbers_of(tree) == ([1], ["module<sep>pair"], [EMPTY, "a<sep>b"])
    assert tree_of(*numbers_of(tree)) == tree


def test_one_leaf():
    tree = Tree(1, (Bracket("module", 0, 1), Bracket("pass", 0, 1)))
    assert numbers_of(tree) == ([], [], ["module<sep>pass"])
    assert tree_of([], [], ["module<sep>pass"]) == tree
    assert tree_of([], [], [EMPTY]) == Tree(1, ())


@pytest.mark.parametrize("seed", range(200))
def test_to_numbers_and_back_is_the_identity_whatever_the_scale(seed):
    tree = random_tree(seed)
    d, c, u = numbers_of(tree)
    assert tree_of(d, c, u) == tree
    assert tree_of([value**3 - 7 for value in d], c, u) == tree  # any strictly increasing change of the heights
    assert recovered(tree, tree_of(d, c, u)).f1 == 1.0


def height_by_hand(tree, i):
    """Of the lowest node above leaves i and i + 1 in the binarised tree, by recursion over its definition."""

    def build(start, stop):
        spans = sorted({(b.start, b.stop) for b in tree.brackets if start <= b.start and b.stop <= stop
                        and (b.start, b.stop) != (start, stop) and b.stop - b.start > 1})  # fmt: skip
        top = [s for s in spans if not any(o != s and o[0] <= s[0] and s[1] <= o[1] for o in spans)]
        parts, at = [], start
        for s in [*top, (stop, stop)]:
            parts += list(range(at, s[0])) + ([build(*s)] if s[0] < s[1] else [])
            at = s[1]
        while len(parts) > 1:
            parts[-2:] = [(parts[-2], parts[-1])]
        return parts[0]

    def height(node):
        return 0 if isinstance(node, int) else 1 + max(map(height, node))

    def leaves(node):
        return [node] if isinstance(node, int) else leaves(node[0]) + leaves(node[1])

    node = build(0, tree.leaves)
    while not (i in leaves(node[0]) and i + 1 in leaves(node[1])):
        node = node[0] if i + 1 in leaves(node[0]) else node[1]
    return height(node)


@pytest.mark.parametrize("seed", range(30))
def test_heights_are_those_of_the_lowest_common_nodes(seed):
    tree = random_tree(seed, leaves=9)
    assert numbers_of(tree).d == [height_by_hand(tree, i) for i in range(8)]


def parted(d, start, stop):
    """The definition: part where d is largest, at the first such place."""
    if stop - start < 2:
        return []
    at = max(range(start, stop - 1), key=lambda place: (d[place], -place))
    return [(start, stop, at), *parted(d, start, at + 1), *parted(d, at + 1, stop)]


@pytest.mark.parametrize("seed", range(50))
def test_any_numbers_part_as_the_definition_says_ties_included(seed):
    draws = generator(seed, "any")
    n = 2 + seed % 12
    d = torch.randint(0, 4, (n - 1,), generator=draws).tolist()
    c = [str(place) for place in range(n - 1)]
    expected = {Bracket(str(at), start, stop) for start, stop, at in parted(d, 0, n)}
    assert set(tree_of(d, c, [EMPTY] * n).brackets) == expected


def test_adding_to_heights_changes_no_label():
    d, c, u = numbers_of(random_tree(3, leaves=12))
    assert tree_of([value + 100 for value in d], c, u) == tree_of(d, c, u)


def test_a_root_without_a_label_is_a_node_all_the_same():
    got = tree_of([2, 1], [EMPTY, "a"], [EMPTY] * 3)
    assert got.brackets == (Bracket(EMPTY, 0, 3), Bracket("a", 1, 3))


def test_a_very_deep_and_a_very_wide_tree():
    deep = Tree(5000, tuple(Bracket("a", at, 5000) for at in range(4999)))
    wide = Tree(5000, (Bracket("a", 0, 5000),))
    for tree in (deep, wide):
        numbers = numbers_of(tree)
        assert numbers.d == list(range(4999, 0, -1))
        assert tree_of(*numbers) == tree


def test_recovered_by_hand():
    """True: a over all, b twice over 0 to 2. Predicted: a, b three times, and c. As multisets 3 of 5 are right, of 3
    all; the reference counts b three times."""
    true = Tree(3, (Bracket("a", 0, 3), Bracket("b", 0, 2), Bracket("b", 0, 2)))
    found = Tree(3, (Bracket("a", 0, 3), *[Bracket("b", 0, 2)] * 3, Bracket("c", 1, 2)))
    got = recovered(true, found)
    assert (got.precision, got.recall) == (3 / 5, 1.0)
    assert got.f1 == pytest.approx(0.75)
    got = recovered(true, found, reference=True)
    assert (got.precision, got.recall) == (4 / 5, 4 / 3)
    assert recovered(true, Tree(3, (Bracket("x", 0, 3),))) == (0.0, 0.0, 0.0)
    assert recovered(Tree(1, ()), Tree(1, ())).f1 == 1.0
    assert recovered(Tree(1, ()), Tree(1, (Bracket("a", 0, 1),))).f1 == 0.0


def test_labels_as_numbers():
    trees = [Tree(2, (Bracket("b", 0, 2), Bracket("a", 1, 2))), Tree(1, (Bracket("c", 0, 1),))]
    names = label_names(trees)
    assert names == (EMPTY, "a", "b", "c")
    labels, groups = labels_of(trees, names)
    assert labels.tolist() == [[1, 2, 0], [0, 0, 1], [0, 0, 3]]
    assert groups.tolist() == [0, 0, 1]
    assert labels_of(trees, names[:3])[0][2].tolist() == [0, 0, -1]


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ((0, ()), "at least one leaf"),
        ((2, (("a", 0, 3),)), "outside the 2 leaves"),
        ((3, (("a", 0, 3), ("b", 0, 2), ("c", 1, 3))), "crosses another"),
        ((3, (("a", 0, 2), ("b", 0, 3))), "out of order"),
    ],
)
def test_what_is_no_tree_is_refused(tree, told):
    with pytest.raises(ValueError, match=told):
        Tree(tree[0], tuple(Bracket(*one) for one in tree[1]))


def test_misuse_is_told():
    with pytest.raises(ValueError, match="no node is above all 3 leaves"):
        numbers_of(Tree(3, (Bracket("a", 0, 2),)))
    for label in ("", EMPTY, "a<sep>b"):
        with pytest.raises(ValueError, match="a label must be"):
            numbers_of(Tree(2, (Bracket(label, 0, 2),)))
    with pytest.raises(ValueError, match="3 leaves have 2 heights"):
        tree_of([1], ["a"], [EMPTY] * 3)
    with pytest.raises(ValueError, match="over 2 and 3 leaves"):
        recovered(Tree(2, ()), Tree(3, ()))
