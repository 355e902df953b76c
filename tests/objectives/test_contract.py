"""What every objective keeps to. Written against the protocol; no method is named."""

import pytest
import torch

from tests.objectives.table import TableModel
from trivium.architectures.llama import Llama
from trivium.core.method import find, names
from trivium.core.nouns import Batch
from trivium.core.seeds import generator
from trivium.data.pairs import Pairs

VOCAB = 11
OBJECTIVES = names("objectives")


def ragged(rows=8, time=12, seed=0):
    """Rows of unequal length, two documents in each, padding on the right."""
    draws = generator(seed, "ragged")
    ids = torch.randint(0, VOCAB, (rows, time), generator=draws)
    lengths = torch.randint(4, time + 1, (rows, 1), generator=draws)
    place = torch.arange(time)
    return Batch(ids, place < lengths, (place >= lengths // 2).long())


def suited(name, batch, vocab=VOCAB):
    """The batch as the objective learns from it: where that is pairs, each row beside one that ends otherwise."""
    if getattr(find("objectives", name), "learns_from", Batch) is Batch:
        return batch
    mask = torch.ones_like(batch.ids, dtype=torch.bool) if batch.mask is None else batch.mask
    answer = mask & (torch.arange(mask.shape[1]) >= (mask.sum(1, keepdim=True) // 2).clamp(min=1))
    other = torch.where(answer, (batch.ids + 1) % vocab, batch.ids)
    interleaved = lambda one, two: torch.stack([one, two], 1).flatten(0, 1)  # noqa: E731
    return Pairs(interleaved(batch.ids, other), interleaved(mask, mask), None, interleaved(answer, answer))


def llama():
    return Llama(width=16, depth=1, heads=2, hidden=24).build(VOCAB, seed=3).double()


def loss_of(name, model, batch, seed=0):
    return find("objectives", name)()(model, batch, generator=generator(seed, "loss"))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_micro_batches_add_up_exactly(name):
    """O2. Sums and counts, not means: the rows have unequal numbers of predictions."""
    batch, model = suited(name, ragged(16)), llama()
    whole = loss_of(name, model, batch)
    whole.value.backward()
    expected = {key: p.grad.clone() for key, p in model.named_parameters()}
    model.zero_grad()
    pieces = [loss_of(name, model, micro) for micro in batch.split(6)]
    assert len({int(piece.count) for piece in pieces}) > 1
    count = sum(piece.count for piece in pieces)
    assert count == whole.count
    sum(piece.total for piece in pieces).div(count).backward()
    for key, p in model.named_parameters():
        torch.testing.assert_close(p.grad, expected[key], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_row_counts_as_alone_and_padding_not_at_all(name):
    batch, model = ragged(rows=3), llama()
    whole = loss_of(name, model, suited(name, batch))
    alone = []
    for row in range(3):
        real = batch.mask[row]
        ids, segments = batch.ids[row, real][None], batch.segments[row, real][None]
        alone.append(loss_of(name, model, suited(name, Batch(ids, None, segments))))
    torch.testing.assert_close(whole.total, sum(loss.total for loss in alone))
    assert whole.count == sum(loss.count for loss in alone)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_are_those_of_the_value(name):
    """O3, in float64 on two predictions."""
    if getattr(find("objectives", name), "holds_constant", False):
        pytest.skip("a part of its loss is held constant: its own test freezes that part and compares")

    def value(table):
        model = TableModel(torch.zeros(3, 3, dtype=torch.float64))
        del model.table
        model.table = table
        return loss_of(name, model, suited(name, Batch(torch.tensor([[0, 2, 1]])), vocab=3)).value

    table = torch.randn(3, 3, dtype=torch.float64, generator=generator(0), requires_grad=True)
    assert torch.autograd.gradcheck(value, (table,))


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("gap", [-30.0, 40.0, -1e4, 1e4])
def test_finite_where_the_target_is_almost_impossible_or_certain(name, gap):
    """O4. exp(-30) is about 1e-13; the larger gaps leave probabilities of exactly 0 and 1 in float32."""
    table = torch.zeros(2, 2)
    table[0, 1] = gap
    model = TableModel(table)
    loss = loss_of(name, model, suited(name, Batch(torch.tensor([[0, 1]])), vocab=2))
    loss.value.backward()
    assert loss.value.isfinite()
    assert model.table.grad.isfinite().all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_same_seed_same_loss_and_nothing_is_changed_in_place(name):
    """O5."""
    batch, model = suited(name, ragged()), llama()
    given = [tensor for tensor in vars(batch).values() if tensor is not None]
    before = [tensor.clone() for tensor in (*given, *model.parameters())]
    first, second = loss_of(name, model, batch), loss_of(name, model, batch)
    assert first.total == second.total
    assert first.count == second.count
    after = (*given, *model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_is_float32_under_autocast(name):
    model = llama().float()
    exact = loss_of(name, model, suited(name, ragged()))
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(name, model, suited(name, ragged()))
    assert loss.total.dtype == torch.float32
    torch.testing.assert_close(loss.value, exact.value, rtol=2e-2, atol=0)  # bfloat16 keeps 8 bits
    loss.total.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
