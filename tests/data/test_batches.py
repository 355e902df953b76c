import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trivium.data.batches import Batches, Growing

DOCUMENTS = [[number * 10 + place for place in range(3 + number % 7)] for number in range(40)]


def rows(batch) -> list[tuple[int, ...]]:
    return [tuple(row) for row in batch.ids.tolist()]


def test_every_row_once_an_epoch_and_each_epoch_in_another_order():
    batches = Batches(DOCUMENTS, length=5, batch_size=3)
    count = len(batches.packed)
    seen = [row for step in range(count) for row in rows(batches.batch(step))]  # three epochs
    epochs = [seen[at : at + count] for at in range(0, 3 * count, count)]
    assert (
        sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2]) == sorted(map(tuple, batches.packed.ids.tolist()))
    )
    assert epochs[0] != epochs[1] != epochs[2]
    assert batches.tokens == 5 * count


@given(steps=st.lists(st.integers(0, 200), min_size=1, max_size=12))
@settings(max_examples=30)
def test_a_batch_depends_on_its_step_and_not_on_the_calls_before(steps):
    used, fresh = Batches(DOCUMENTS, 5, 3, seed=1), None
    for step in steps:
        fresh = Batches(DOCUMENTS, 5, 3, seed=1)
        assert torch.equal(used.batch(step).ids, fresh.batch(step).ids)
        assert torch.equal(used.batch(step).segments, fresh.batch(step).segments)


def test_the_same_in_another_process():
    code = (
        "from trivium.data.batches import Batches\n"
        "documents = [[number * 10 + place for place in range(3 + number % 7)] for number in range(40)]\n"
        "print(Batches(documents, 5, 3, seed=2).batch(77).ids.tolist())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(Batches(DOCUMENTS, 5, 3, seed=2).batch(77).ids.tolist())


def test_the_seed_changes_the_order():
    first, second = (Batches(DOCUMENTS, 5, 3, seed=seed) for seed in (0, 1))
    assert rows(first.batch(0)) != rows(second.batch(0))


def test_documents_of_one_row_keep_their_segments():
    batch = Batches([[1, 1], [2, 2], [3, 3]], length=6, batch_size=1).batch(0)
    assert batch.segments.tolist() == [[0, 0, 1, 1, 2, 2]]


def test_ranks_take_rows_of_the_same_global_batch():
    """Whatever the number of processes, their shares make up the batch of one process."""
    batch = Batches(DOCUMENTS, 5, 4).batch(9)
    shares = [batch.ids[rank::2] for rank in range(2)]
    assert torch.equal(torch.stack(shares, 1).flatten(0, 1), batch.ids)


def test_misuse():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        Batches(DOCUMENTS, 5, 0)
    with pytest.raises(ValueError, match="counted from 0, got -1"):
        Batches(DOCUMENTS, 5, 2).batch(-1)
    with pytest.raises(ValueError, match="fill no row"):
        Batches([[1, 2]], 5, 2).batch(0)


def test_batches_grow_and_deal_every_row_in_its_turn():
    single = Batches(DOCUMENTS, length=5, batch_size=1)
    growing = Growing(single, (2, 4, 7), steps=8)
    sizes = [len(growing.batch(step)) for step in range(10)]
    assert sizes == [2, 2, 2, 4, 4, 4, 7, 7, 7, 7]
    dealt = [row for step in range(10) for row in rows(growing.batch(step))]
    assert dealt == [row for at in range(sum(sizes)) for row in rows(single.batch(at))]
    assert growing.batch(4).segments.shape == (4, 5)
    for wrong, told in (
        ((Batches(DOCUMENTS, 5, 2), (1,), 3), "one at a time"),
        ((single, (), 3), "at least one number"),
        ((single, (2, 0), 3), "at least 1"),
        ((single, (1, 2, 3), 2), "as many steps"),
    ):
        with pytest.raises(ValueError, match=told):
            Growing(*wrong)
