import pytest
import torch

from trivium.data.exchanges import Exchanges


def made():
    return Exchanges.of([((1, 2, 3), (4, 5)), ((6,), (7, 8, 9))])


def test_answers_are_marked_and_rows_padded_on_the_right():
    batch = made()
    assert batch.ids.tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]]
    assert batch.mask.tolist() == [[True] * 5, [True] * 4 + [False]]
    assert batch.answer.tolist() == [[False] * 3 + [True] * 2, [False] + [True] * 3 + [False]]


def test_micro_batches_and_devices_keep_the_marks():
    batch = made()
    parts = batch.split(1)
    assert [len(part) for part in parts] == [1, 1]
    for row, part in enumerate(parts):
        assert isinstance(part, Exchanges)
        for name in ("ids", "mask", "answer"):
            assert torch.equal(getattr(part, name), getattr(batch, name)[row : row + 1])
    moved = batch.to("cpu")
    assert torch.equal(moved.answer, batch.answer)
    assert moved.segments is None


def test_what_cannot_be_learned_is_refused():
    ids, mask = torch.tensor([[1, 2, 3]]), torch.tensor([[True, True, False]])
    with pytest.raises(ValueError, match="answer must be bool of the shape of ids"):
        Exchanges(ids)
    with pytest.raises(ValueError, match="answer must be bool of the shape of ids"):
        Exchanges(ids, None, None, torch.tensor([[0, 1, 1]]))
    with pytest.raises(ValueError, match="nothing predicts an answer at the head"):
        Exchanges.of([((), (1, 2))])
    with pytest.raises(ValueError, match="cannot hold padding"):
        Exchanges(ids, mask, None, torch.tensor([[False, True, True]]))
    with pytest.raises(ValueError, match="at least one, with its answer"):
        Exchanges.of([])
