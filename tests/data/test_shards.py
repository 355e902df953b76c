"""Shards hold what was written; batches from them are what batches are."""

import json

import numpy as np
import pytest
import torch

from trivium.core.errors import BrokenModel
from trivium.data.shards import ShardBatches, Shards, write
from trivium.data.shuffle import shuffled

DOCUMENTS = [[number * 10 + place for place in range(3 + number % 7)] for number in range(40)]
FLAT = [id for document in DOCUMENTS for id in document]


def shards(folder, **given):
    return write(folder, DOCUMENTS, **{"vocab_size": 410, "size": 50} | given)


def test_what_was_written_is_there(tmp_path):
    made = shards(tmp_path, facts={"corpus": "numbers"})
    assert made == Shards.open(tmp_path)
    assert (made.tokens, made.documents) == (len(FLAT), 40)
    assert made.facts == {"corpus": "numbers", "empty": 0}
    assert len(made.shards) > 3
    read = [np.fromfile(tmp_path / f"{shard['name']}.tokens", "<u2").tolist() for shard in made.shards]
    assert [id for each in read for id in each] == FLAT
    assert all(50 <= shard["tokens"] < 60 for shard in made.shards[:-1])
    made.check()


@pytest.mark.parametrize(("vocab_size", "dtype"), [(410, "<u2"), (1 << 16, "<u2"), ((1 << 16) + 1, "<u4")])
def test_ids_take_as_few_bytes_as_they_need(tmp_path, vocab_size, dtype):
    made = write(tmp_path, [[vocab_size - 1, 0], [1, 2]], vocab_size=vocab_size)
    assert made.dtype == dtype
    assert made.rows(np.array([0]), 4)[0].tolist() == [[vocab_size - 1, 0, 1, 2]]


def test_rows_know_their_documents(tmp_path):
    """Against a loop: a row is a stretch of one shard, and a segment ends where a document does."""
    made, length = shards(tmp_path), 7
    expected = []
    owner = [number for number, document in enumerate(DOCUMENTS) for _ in document]
    begin = 0
    for shard in made.shards:
        for at in range(begin, begin + shard["tokens"] - length + 1, length):
            own = owner[at : at + length]
            expected.append((FLAT[at : at + length], [sorted(set(own)).index(one) for one in own]))
        begin += shard["tokens"]
    ids, segments = made.rows(np.arange(len(expected)), length)
    assert [(row, own) for row, own in zip(ids.tolist(), segments.tolist(), strict=True)] == expected
    assert ShardBatches(made, length, 3).count == len(expected)
    assert ShardBatches(made, length, 3).tokens == 7 * len(expected)


def test_every_row_once_an_epoch_in_an_order_of_its_own(tmp_path):
    batches = ShardBatches(shards(tmp_path), 5, 3, seed=1)
    seen = torch.cat([batches.batch(step).ids for step in range(batches.count)])  # three epochs
    epochs = [[tuple(row) for row in part.tolist()] for part in seen.split(batches.count)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
    assert len(set(epochs[0])) == batches.count
    assert epochs[0] != epochs[1] != epochs[2]
    expected, _ = batches.shards.rows(shuffled(np.arange(3), batches.count, 1, "epoch", 0), 5)
    assert batches.batch(0).ids.tolist() == expected.tolist()


def test_the_seed_changes_the_order(tmp_path):
    made = shards(tmp_path)
    assert (
        ShardBatches(made, 5, 4, seed=0).batch(0).ids.tolist() != ShardBatches(made, 5, 4, seed=1).batch(0).ids.tolist()
    )


def test_a_killed_writer_leaves_no_shards(tmp_path):
    def killed():
        yield from DOCUMENTS[:30]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, killed(), vocab_size=410, size=50)
    assert not Shards.there(tmp_path)
    with pytest.raises(BrokenModel, match="holds no whole shards"):
        Shards.open(tmp_path)
    assert shards(tmp_path).tokens == len(FLAT)  # and it can be done again there


@pytest.mark.parametrize("harm", ["shorter", "missing", "format"])
def test_damage_is_seen_when_they_are_opened(tmp_path, harm):
    shards(tmp_path)
    path = tmp_path / "00001.tokens"
    if harm == "shorter":
        path.write_bytes(path.read_bytes()[:-2])
    elif harm == "missing":
        path.unlink()
    else:
        index = json.loads((tmp_path / "index.json").read_text())
        (tmp_path / "index.json").write_text(json.dumps({**index, "format": 9}))
    with pytest.raises(BrokenModel, match=r"write them again|this version reads 1"):
        Shards.open(tmp_path)


def test_a_changed_byte_is_seen_by_check(tmp_path):
    made = shards(tmp_path)
    data = bytearray((tmp_path / "00000.tokens").read_bytes())
    data[0] ^= 1
    (tmp_path / "00000.tokens").write_bytes(data)
    with pytest.raises(BrokenModel, match=r"00000\.tokens is gone or was changed"):
        made.check()


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(ValueError, match="document 1 has id 7, outside the vocabulary of 5"):
        write(tmp_path / "a", [[1], [7]], vocab_size=5)
    with pytest.raises(ValueError, match="document 0 has id -1"):
        write(tmp_path / "a", [[-1]], vocab_size=5)
    with pytest.raises(ValueError, match="no token to write"):
        write(tmp_path / "b", [[]], vocab_size=5)
    with pytest.raises(ValueError, match="at least 1 token, got size 0"):
        write(tmp_path / "b", [[1]], vocab_size=5, size=0)
    made = write(tmp_path / "c", [[], [1, 2, 3]], vocab_size=5)
    assert made.facts["empty"] == 1
    with pytest.raises(ValueError, match="holds shards already"):
        write(tmp_path / "c", [[1]], vocab_size=5)
    with pytest.raises(ValueError, match=r"no shard of .* fills a row of 4 tokens"):
        ShardBatches(made, 4, 1)
    with pytest.raises(ValueError, match="at least 2 tokens"):
        ShardBatches(made, 1, 1)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        ShardBatches(made, 2, 0)
    with pytest.raises(ValueError, match="counted from 0"):
        ShardBatches(made, 2, 1).batch(-1)
