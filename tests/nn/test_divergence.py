"""Divergence from remembered distributions against its definition: value, gradient, rows left out, half precision."""

import pytest
import torch

from trivium.core.seeds import generator
from trivium.nn._by_rows import ROWS
from trivium.nn.divergence import divergence_sum, divergence_sum_reference


def example(rows=23, vocab=17, k=5, dtype=torch.float64):
    logits = 4 * torch.randn(rows, vocab, dtype=dtype, generator=generator(0))
    said = (3 * torch.randn(rows, vocab, dtype=torch.float64, generator=generator(1))).log_softmax(-1).topk(k)
    counted = torch.rand(rows, generator=generator(2)) < 0.7
    return logits.requires_grad_(), said.indices, said.values, counted


@pytest.mark.parametrize("scale", [1.0, -0.3])
@pytest.mark.parametrize("rows", [1, 23, 2 * ROWS + 1])
def test_equals_the_definition(rows, scale):
    logits, *said = example(rows)
    total, expected = divergence_sum(logits, *said), divergence_sum_reference(logits, *said)
    torch.testing.assert_close(total, expected)
    (got,) = torch.autograd.grad(total, logits, torch.tensor(scale).double(), retain_graph=True)
    (again,) = torch.autograd.grad(total, logits, torch.tensor(scale).double())
    assert torch.equal(got, again)
    (gradient,) = torch.autograd.grad(expected, logits, torch.tensor(scale).double())
    torch.testing.assert_close(got, gradient)
    assert (got[~said[2]] == 0).all()


def test_gradient_by_finite_differences():
    logits, *said = example(5, 6, 3)
    assert torch.autograd.gradcheck(lambda x: divergence_sum(x, *said), (logits,))


def test_a_teacher_that_leaves_nothing_and_a_student_who_does():
    """Masses of 1 and more by rounding, tokens of probability 0, and a student whose other tokens all underflow."""
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0], [500.0, 499.0, 0.0, 0.0]], requires_grad=True)
    tokens, said = torch.tensor([[0, 1], [0, 1]]), torch.tensor([[1.0 + 1e-6, 0.0], [0.5, 0.5]]).log()
    total = divergence_sum(logits, tokens, said, torch.tensor([True, True]))
    total.backward()
    assert total.isfinite()
    assert logits.grad.isfinite().all()
    torch.testing.assert_close(logits.grad[0], logits.detach()[0].softmax(0) - torch.tensor([1.0, 0, 0, 0]))


def test_half_precision_is_summed_in_float32():
    logits, *said = example(3 * ROWS, 7, 2, torch.bfloat16)
    total = divergence_sum(logits, *said)
    total.backward()
    wide = logits.detach().double().requires_grad_()
    expected = divergence_sum_reference(wide, *said)
    expected.backward()
    assert total.dtype == torch.float32
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(logits.grad.double(), wide.grad, rtol=2**-8, atol=1e-6)


def test_needs_no_gradient_and_leaves_its_input():
    logits, *said = example()
    before = logits.detach().clone()
    with torch.no_grad():
        torch.testing.assert_close(divergence_sum(logits, *said), divergence_sum_reference(before, *said))
    divergence_sum(logits, *said).backward()
    assert torch.equal(logits, before)
