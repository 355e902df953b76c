"""Pairs of a preferred and another answer."""

import pytest
import torch

from trivium.data.pairs import Pair, PairBatches, Pairs
from trivium.training.parallel import World

PAIRS = [Pair((1,) * n, (n, 3), (4, n, 6)) for n in range(1, 6)]


def test_a_batch_by_hand():
    batch = Pairs.of([Pair((1, 2), (3,), (4, 5)), Pair((6,), (7,), (8,))])
    assert batch.ids.tolist() == [[1, 2, 3, 0], [1, 2, 4, 5], [6, 7, 0, 0], [6, 8, 0, 0]]
    assert batch.mask.int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]
    assert batch.answer.int().tolist() == [[0, 0, 1, 0], [0, 0, 1, 1], [0, 1, 0, 0], [0, 1, 0, 0]]


@pytest.mark.parametrize(("rows", "sizes"), [(1, [2] * 5), (2, [2] * 5), (3, [2] * 5), (4, [4, 4, 2]), (99, [10])])
def test_a_split_keeps_pairs_whole(rows, sizes):
    whole = Pairs.of(PAIRS)
    pieces = whole.split(rows)
    assert [len(piece) for piece in pieces] == sizes
    assert all(isinstance(piece, Pairs) for piece in pieces)
    for name in ("ids", "mask", "answer"):
        assert torch.equal(torch.cat([getattr(piece, name) for piece in pieces]), getattr(whole, name))


def test_moving_keeps_everything():
    moved = Pairs.of(PAIRS).to("cpu")
    assert isinstance(moved, Pairs)
    assert torch.equal(moved.answer, Pairs.of(PAIRS).answer)


def test_batches_are_a_function_of_the_step_and_each_pair_is_seen_once_an_epoch():
    batches = PairBatches(PAIRS, 2, seed=1)
    later = batches.batch(7)
    assert torch.equal(later.ids, PairBatches(PAIRS, 2, seed=1).batch(7).ids)
    assert not torch.equal(later.ids, PairBatches(PAIRS, 2, seed=2).batch(7).ids)
    lengths = [int((row & ~said).sum()) for step in range(5) for row, said in _winners(batches.batch(step))]
    assert sorted(lengths[:5]) == sorted(lengths[5:]) == [1, 2, 3, 4, 5]
    assert lengths[:5] != lengths[5:]


def _winners(batch):
    return zip(batch.mask[0::2], batch.answer[0::2], strict=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (((), (1,), (2,)), "context of a pair is empty"),
        (((1,), (), (2,)), "winner of a pair is empty"),
        (((1,), (2,), ()), "loser of a pair is empty"),
        (((1,), (2, 3), (2, 3)), "the same text"),
    ],
)
def test_pairs_that_are_none_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        Pair(*arguments)


def test_batches_that_are_none_are_refused():
    ids, answer = torch.tensor([[1, 2], [1, 3]]), torch.tensor([[False, True]] * 2)
    for bad, said in [
        ((ids, None, None, None), "answer must be bool"),
        ((ids, None, None, answer.long()), "answer must be bool"),
        ((ids[:1], None, None, answer[:1]), "even number"),
        ((ids, None, None, ~answer), "context of at least one"),
        ((ids, None, None, torch.zeros_like(answer)), "at least one token"),
        ((ids, ~answer, None, answer), "cannot hold padding"),
    ]:
        with pytest.raises(ValueError, match=said):
            Pairs(*bad)
    with pytest.raises(ValueError, match="no pair"):
        Pairs.of([])
    with pytest.raises(ValueError, match="no pair"):
        PairBatches([], 2)
    with pytest.raises(ValueError, match="batch_size"):
        PairBatches(PAIRS, 0)
    with pytest.raises(ValueError, match="counted from 0"):
        PairBatches(PAIRS, 2).batch(-1)


def test_pairs_are_not_torn_apart_by_several_processes():
    with pytest.raises(ValueError, match="Pairs are not dealt out over 2 processes"):
        World(0, 2).share(Pairs.of(PAIRS))
    assert isinstance(World().share(Pairs.of(PAIRS)), Pairs)
