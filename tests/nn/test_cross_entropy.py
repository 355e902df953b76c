"""Cross-entropy sums against their definition: value, gradient, ignored rows, half precision."""

import pytest
import torch

from trivium.core.seeds import generator
from trivium.nn._by_rows import ROWS
from trivium.nn.cross_entropy import IGNORED, cross_entropy_sum, cross_entropy_sum_reference


def example(rows=23, vocab=17, dtype=torch.float64):
    logits = 4 * torch.randn(rows, vocab, dtype=dtype, generator=generator(0))
    targets = torch.randint(0, vocab, (rows,), generator=generator(1))
    targets[::5] = IGNORED
    return logits.requires_grad_(), targets


@pytest.mark.parametrize("scale", [1.0, -0.3])
@pytest.mark.parametrize("rows", [1, 23, 2 * ROWS + 1])
def test_equals_the_definition(rows, scale):
    logits, targets = example(rows)
    total = cross_entropy_sum(logits, targets)
    expected = cross_entropy_sum_reference(logits, targets)
    torch.testing.assert_close(total, expected)
    (got,) = torch.autograd.grad(total, logits, torch.tensor(scale).double(), retain_graph=True)
    (again,) = torch.autograd.grad(total, logits, torch.tensor(scale).double())
    assert torch.equal(got, again)
    if expected.requires_grad:
        (gradient,) = torch.autograd.grad(expected, logits, torch.tensor(scale).double())
        torch.testing.assert_close(got, gradient)
    else:  # the one row is ignored
        assert (got == 0).all()


def test_gradient_by_finite_differences():
    logits, targets = example(5, 4)
    assert torch.autograd.gradcheck(lambda x: cross_entropy_sum(x, targets), (logits,))


def test_half_precision_is_summed_in_float32():
    logits, targets = example(3 * ROWS, 7, torch.bfloat16)
    total = cross_entropy_sum(logits, targets)
    total.backward()
    wide = logits.detach().double().requires_grad_()
    expected = cross_entropy_sum_reference(wide, targets)
    expected.backward()
    assert total.dtype == torch.float32
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=0)
    assert logits.grad.dtype == torch.bfloat16
    torch.testing.assert_close(logits.grad.double(), wide.grad, rtol=2**-8, atol=1e-30)  # one rounding


def test_needs_no_gradient_and_leaves_its_input():
    logits, targets = example()
    before = logits.detach().clone()
    with torch.no_grad():
        total = cross_entropy_sum(logits, targets)
    torch.testing.assert_close(total, cross_entropy_sum_reference(before, targets))
    cross_entropy_sum(logits, targets).backward()
    assert torch.equal(logits, before)
