"""Approximate neighbours: scores are of the quantised keys, rescored they are exact, and what is missing is told."""

import sys

import pytest
import torch

from trivium.core.errors import MissingExtra
from trivium.core.seeds import generator
from trivium.nn import inverted_file
from trivium.nn.inverted_file import InvertedFile, pieces, recall, rescored
from trivium.nn.nearest import search, similarities

pytest.importorskip("faiss")


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed, "rand"))


KEYS, QUERIES = rand(600, 12), rand(20, 12, seed=1)


@pytest.fixture(scope="module", params=["l2", "dot"])
def built(request):
    return InvertedFile.build(KEYS, lists=8, code=4, similarity=request.param)


def test_scores_are_those_of_the_quantised_keys(built):
    built.index.make_direct_map()
    quantised = torch.from_numpy(built.index.reconstruct_n(0, 600))
    scores, index = built.search(QUERIES, 10, probes=8)
    every = similarities(QUERIES, quantised, built.similarity)
    torch.testing.assert_close(scores, every.sort(dim=1, descending=True).values[:, :10], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores, every.gather(1, index), atol=1e-4, rtol=1e-4)
    true = similarities(QUERIES, KEYS, built.similarity).gather(1, index)
    assert (scores - true).abs().max() > 0.1  # four bytes for twelve numbers lose something


def test_rescored_over_everything_is_the_exact_search(built):
    scores, index = rescored(QUERIES, KEYS, *built.search(QUERIES, 600, probes=8), built.similarity)
    exact, best = search(QUERIES, KEYS, 600, similarity=built.similarity)
    torch.testing.assert_close(scores, exact, atol=1e-4, rtol=1e-4)
    assert recall(*(each[:, :10] for each in (scores, index, best))) == 1.0


def test_rescored_neighbours_are_the_same_ones_in_the_order_of_their_keys(built):
    scores, index = built.search(QUERIES, 10)
    again, order = rescored(QUERIES, KEYS.half(), scores, index, built.similarity)
    assert torch.equal(order.sort(dim=1).values, index.sort(dim=1).values)
    narrow = similarities(QUERIES, KEYS.half().float(), built.similarity)
    torch.testing.assert_close(again, narrow.gather(1, order), atol=1e-4, rtol=1e-4)
    assert (again.diff(dim=1) <= 0).all()


def test_more_probes_find_more_and_few_leave_some_out(built):
    exact = search(QUERIES, KEYS, 10, similarity=built.similarity)[1]
    found = [recall(*built.search(QUERIES, 10, probes=probes), exact) for probes in (1, 2, 8)]
    assert found[0] < found[1] < found[2] <= 1
    scores, index = built.search(QUERIES, 300, probes=1)
    missing = scores == float("-inf")
    assert missing.any(1).all()  # no list holds half of the keys
    assert (index[missing] == 0).all()
    again, _ = rescored(QUERIES, KEYS, scores, index, built.similarity)
    assert torch.equal((again == float("-inf")).sum(1), missing.sum(1))


def test_recall_by_hand():
    scores = torch.tensor([[0.0, -1.0], [0.0, float("-inf")]])
    assert recall(scores, torch.tensor([[3, 5], [4, 0]]), torch.tensor([[5, 1], [0, 4]])) == 0.5


def test_keys_are_learned_from_and_added_in_stretches(monkeypatch):
    whole = InvertedFile.build(KEYS, lists=4)
    monkeypatch.setattr(inverted_file, "BLOCK", 7)
    pieced = InvertedFile.build(KEYS.half().float(), lists=4)
    same = InvertedFile.build(KEYS.half(), lists=4)
    assert torch.equal(pieced.search(QUERIES, 5)[1], same.search(QUERIES, 5)[1])
    assert len(whole) == len(same) == 600
    first, again, other = (InvertedFile.build(KEYS, lists=4, seed=seed).search(QUERIES, 5)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    monkeypatch.setattr(inverted_file, "LEARNED_FROM", 300)
    assert not torch.equal(whole.search(QUERIES, 5)[0], InvertedFile.build(KEYS, lists=4).search(QUERIES, 5)[0])
    assert (InvertedFile.build(KEYS).lists, pieces(12, 64), pieces(12, 5), pieces(7, 6)) == (24, 12, 4, 1)


def test_misuse_is_told(monkeypatch):
    built = InvertedFile.build(KEYS, lists=4)
    for k in (0, 601):
        with pytest.raises(ValueError, match=f"k must be 1 to the 600 entries there are to find, got {k}"):
            built.search(QUERIES, k)
    with pytest.raises(ValueError, match="probes must be at least 1, got 0"):
        built.search(QUERIES, 5, probes=0)
    with pytest.raises(ValueError, match="keys are 12 wide and queries 11"):
        built.search(QUERIES[:, :11], 5)
    with pytest.raises(ValueError, match="queries must be finite numbers, row 3"):
        built.search(QUERIES.index_fill(0, torch.tensor([3]), float("nan")), 5)
    with pytest.raises(ValueError, match="keys must be finite numbers, row 599"):
        InvertedFile.build(KEYS.index_fill(0, torch.tensor([599]), float("inf")))
    with pytest.raises(ValueError, match="256 centres of each piece cannot be learned from 255 keys; search these exa"):
        InvertedFile.build(KEYS[:255])
    with pytest.raises(ValueError, match="lists must be 1 to the 600 keys that are dealt to them, got 601"):
        InvertedFile.build(KEYS, lists=601)
    with pytest.raises(ValueError, match="code must be at least one byte, got 0"):
        InvertedFile.build(KEYS, code=0)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"pip install 'trivium\[neighbours\]'"):
        InvertedFile.build(KEYS)
