import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trivium.core.tree import TokenTree

forests = st.integers(0, 11).flatmap(
    lambda n: st.tuples(*(st.integers(0, i) for i in range(n)))
)  # parent of node i+1 lies among 0..i


def make(parents):
    return TokenTree(torch.arange(len(parents) + 1), torch.tensor([-1, *parents]))


@given(forests)
def test_visibility_is_self_and_ancestors(parents):
    tree = make(parents)
    for node in range(len(tree)):
        line, at = [], node
        while at >= 0:
            line.append(at)
            at = int(tree.parents[at])
        assert tree.path(node) == sorted(line)
        assert int(tree.depths[node]) == len(line) - 1
        assert int(tree.positions(10)[node]) == 10 + len(line) - 1


@given(forests)
def test_paths_rebuild_the_tree(parents):
    tree = make(parents)
    again = TokenTree.from_paths(0, [[int(tree.tokens[i]) for i in path[1:]] for path in tree.paths()])
    drafts = lambda t: sorted(tuple(t.tokens[path].tolist()) for path in t.paths())  # noqa: E731
    assert drafts(tree) == drafts(again)


@given(forests, st.integers(1, 12), st.integers(0, 5))
def test_truncation_keeps_a_tree_of_the_first_nodes(parents, nodes, depth):
    tree = make(parents).truncate(nodes, depth)
    assert len(tree) <= nodes
    assert int(tree.depths.max()) <= depth
    assert int(tree.tokens[0]) == 0


def test_a_chain_is_a_tree_of_one_path():
    chain = TokenTree.chain(7, [1, 2, 3])
    assert chain.paths() == [[0, 1, 2, 3]]
    assert torch.equal(chain.visible, torch.ones(4, 4).tril().bool())
    assert chain.children == ((1,), (2,), (3,), ())
    assert len(TokenTree.chain(7)) == 1


def test_draft_rows_are_padded_for_the_leaf():
    chain = TokenTree.chain(7, [1, 2], draws="independent", probs=torch.full((2, 5), 0.2))
    assert chain.probs is not None
    assert chain.probs.shape == (3, 5)


def test_siblings_stand_in_drawing_order():
    tree = TokenTree.from_paths(9, [[5, 1], [3], [5, 2]])
    assert tree.tokens.tolist() == [9, 5, 1, 3, 2]
    assert tree.children == ((1, 3), (2, 4), (), (), ())


@pytest.mark.parametrize("parents", [[-1, 1], [-1, 0, 2], [-1, -1], [0, 0], [-1, 2, 0]])
def test_no_cycles_and_one_root(parents):
    with pytest.raises(ValueError, match="parent"):
        TokenTree(torch.arange(len(parents)), torch.tensor(parents))


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="at least its root"):
        TokenTree(torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long))
    with pytest.raises(ValueError, match="as many parents"):
        TokenTree(torch.arange(2), torch.tensor([-1]))
    with pytest.raises(ValueError, match="draft rows"):
        TokenTree(torch.arange(2), torch.tensor([-1, 0]), probs=torch.ones(1, 3))


def test_sizes_count_the_nodes_of_each_depth():
    assert TokenTree.chain(5, [1, 2, 3]).sizes == (1, 1, 1, 1)
    assert TokenTree.chain(5).sizes == (1,)
    assert TokenTree.from_paths(5, [[1, 2], [1, 3], [4]]).sizes == (1, 2, 2)
