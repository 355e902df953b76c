import pytest
import torch

from trivium.nn.linear_attention import document_numbers
from trivium.nn.sequences import columns_at, each_document, sequences, tokens_first

TIME = 13


def padding():
    real = torch.ones(3, TIME, dtype=torch.bool)
    real[0, :4] = real[1, 6] = real[1, -3:] = real[2] = False  # the last row has no token at all
    return real


def packed(real=None):
    segments = torch.tensor([[0] * 5 + [1] * 8, [4] * 8 + [1] + [4] * 4, [2] * 13])
    return document_numbers(segments, real)


def test_tokens_come_first_in_their_order_and_go_back():
    order, back = tokens_first(torch.tensor([[False, True, False, True], [True, True, False, True]]))
    assert order.tolist() == [[1, 3, 0, 2], [0, 1, 3, 2]]
    x = torch.arange(8).view(2, 4, 1)
    assert torch.equal(columns_at(columns_at(x, order), back), x)
    assert columns_at(x, torch.tensor([[3], [0]])).flatten().tolist() == [3, 4]
    assert torch.equal(columns_at(x.mT, order, axis=2), columns_at(x, order).mT)


@pytest.mark.parametrize(("real", "documents"), [(padding(), None), (None, packed()), (padding(), packed(padding()))])
def test_every_token_stands_in_one_sequence_with_those_of_its_document(real, documents):
    known = torch.ones(3, TIME, dtype=torch.bool) if real is None else real
    numbers = torch.zeros(3, TIME, dtype=torch.int64) if documents is None else documents
    groups = sequences(real, documents)
    met = torch.zeros(3, TIME, dtype=torch.int64)
    for group in groups:
        longest = int(group.lengths.max())
        assert group.columns.shape == (len(group.rows), longest)
        assert int(group.lengths.min()) > longest / 2
        for row, columns, length, begun, last in zip(
            group.rows, group.columns, group.lengths, group.begun, group.last, strict=True
        ):
            at = columns[:length]
            of = numbers[row, at[0]]
            assert torch.equal(at, ((numbers[row] == of) & known[row]).nonzero()[:, 0])
            assert bool(begun) == (int(of) == 0)
            assert bool(last) == (int(at[-1]) == int(known[row].nonzero().max()))
            met[row, at] += 1
    assert torch.equal(met, known.long())


def test_rows_that_are_sequences_already_are_not_taken_apart():
    with pytest.raises(ValueError, match="nothing to take apart"):
        sequences(None, None)
    assert sequences(torch.zeros(2, 3, dtype=torch.bool), None) == []


def running_sum(x, memory, lengths):
    """A recurrence that every padded or foreign token would disturb."""
    total = x.cumsum(1)
    if memory is None:
        return total, None
    total = total + memory[0][:, None]
    return total, (total[torch.arange(len(x)), lengths - 1],)


@pytest.mark.parametrize("remember", [False, True])
@pytest.mark.parametrize(("real", "documents"), [(padding(), None), (None, packed()), (padding(), packed(padding()))])
def test_each_document_is_run_alone(real, documents, remember):
    x = torch.randn(3, TIME, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    memory = (torch.randn(3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64),) if remember else None
    out, ends = each_document(running_sum, (x,), memory, sequences(real, documents))
    expected = torch.zeros(3, TIME, 2, dtype=torch.float64)
    for row in range(3):
        total, document = (memory[0][row] if remember else torch.zeros(2, dtype=torch.float64)), 0
        for t in range(TIME):
            if real is not None and not real[row, t]:
                continue
            if documents is not None and int(documents[row, t]) != document:
                total, document = torch.zeros(2, dtype=torch.float64), int(documents[row, t])
            total = total + x[row, t]
            expected[row, t] = total
        if remember:
            torch.testing.assert_close(ends[0][row], total, atol=1e-12, rtol=0)
    torch.testing.assert_close(out, expected, atol=1e-12, rtol=0)
    got, wanted = (torch.autograd.grad(y.square().sum(), x)[0] for y in (out, expected))
    torch.testing.assert_close(got, wanted, atol=1e-12, rtol=0)


def test_what_stands_in_padding_or_in_other_documents_is_never_read():
    x = torch.ones(3, TIME, 2)
    x[~padding()] = torch.nan
    x[0, 4] = torch.inf  # the one token of a document of its own
    segments = torch.tensor([[0] * 5 + [1] * 8, [4] * 8 + [1] + [4] * 4, [2] * 13])
    out, _ = each_document(running_sum, (x,), None, sequences(padding(), document_numbers(segments, padding())))
    kept = padding()
    kept[0, 4] = False
    assert out[kept].isfinite().all()
    assert (out[~padding()] == 0).all()
