import pytest
import torch

from trivium.nn.by_document import by_document, by_document_reference


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reversed_sum(x):
    """A function of the whole sequence that depends on its length and order."""
    return x.flip(1).cumsum(1) / x.shape[1]


REAL = torch.ones(3, 9, dtype=torch.bool)
REAL[0, :2] = REAL[0, 5] = REAL[1, 7:] = False
DOCUMENTS = torch.tensor([[0] * 4 + [1] * 5, [0] * 9, [0, 0, 1, 1, 1, 2, 2, 3, 3]])


@pytest.mark.parametrize(("real", "documents"), [(None, None), (REAL, None), (None, DOCUMENTS), (REAL, DOCUMENTS)])
def test_outputs_and_gradients_equal_the_reference(real, documents):
    x = rand(3, 9, 4).requires_grad_()
    fast, slow = (function(x, reversed_sum, real, documents) for function in (by_document, by_document_reference))
    torch.testing.assert_close(fast, slow, atol=1e-12, rtol=0)
    weight = rand(3, 9, 4, seed=1)
    (a,), (b,) = (torch.autograd.grad((y * weight).sum(), x, retain_graph=True) for y in (fast, slow))
    torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_padding_gives_zeros_and_documents_of_one_length_go_together():
    x, shapes = rand(3, 9, 4), []

    def watched(piece):
        shapes.append(tuple(piece.shape[:2]))
        return reversed_sum(piece)

    out = by_document(x, watched, REAL, DOCUMENTS)
    assert (out[~REAL] == 0).all()
    assert len({length for _, length in shapes}) == len(shapes)  # each length once
    assert sum(count * length for count, length in shapes) == int(REAL.sum())


def test_rows_of_padding_alone_give_zeros():
    x = rand(2, 5, 4)
    assert (by_document(x, reversed_sum, torch.zeros(2, 5, dtype=torch.bool)) == 0).all()
