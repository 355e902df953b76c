import math

import pytest
import torch

from trivium.nn.feedforward import series_silu, series_silu_reference, swiglu, swiglu_reference


def test_outputs_and_gradients_equal_the_reference():
    generator = torch.Generator().manual_seed(0)
    gate, up, weight = (torch.randn(2, 3, 7, generator=generator, dtype=torch.float64) for _ in range(3))
    gate.requires_grad_()
    up.requires_grad_()
    fast, slow = swiglu(gate, up), swiglu_reference(gate, up)
    torch.testing.assert_close(fast, slow, atol=1e-12, rtol=0)
    for a, b in zip(*(torch.autograd.grad((y * weight).sum(), (gate, up)) for y in (fast, slow)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_a_hand_worked_number():
    value = swiglu(torch.tensor([0.0, 2.0]), torch.tensor([5.0, 3.0]))
    torch.testing.assert_close(value, torch.tensor([0.0, 2 / (1 + torch.tensor(-2.0).exp()) * 3]))


@pytest.mark.parametrize("terms", [1, 2, 4])
def test_a_series_equals_its_reference_with_its_gradients(terms):
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()  # noqa: E731
    given, weight = (draw(2, 3, 7), draw(terms, 7), draw(terms, 7)), torch.randn(2, 3, 7, generator=generator)
    fast, slow = series_silu(*given), series_silu_reference(*given)
    torch.testing.assert_close(fast, slow, atol=1e-12, rtol=0)
    for a, b in zip(*(torch.autograd.grad((y * weight).sum(), given) for y in (fast, slow)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
    assert torch.autograd.gradcheck(series_silu, given)


def test_a_series_worked_by_hand():
    silu = lambda u: u / (1 + math.exp(-u))  # noqa: E731
    scale, bias = torch.tensor([[1.0, 2.0], [-3.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.5, 4.0]])
    got = series_silu(torch.tensor([2.0, -1.0]), scale, bias)
    torch.testing.assert_close(got, torch.tensor([silu(2.0) + silu(-5.5), silu(-1.0) + silu(4.0)]))


def test_a_term_of_nothing_changes_no_bit_and_half_precision_comes_back_as_it_came():
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    none = torch.zeros(1, 3)
    got = series_silu(x, torch.cat((torch.ones(1, 3), none)), torch.cat((none, none)))
    assert torch.equal(got, torch.nn.functional.silu(x))
    half = series_silu(x.bfloat16(), torch.ones(1, 3), none)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, torch.nn.functional.silu(x.bfloat16().float()).bfloat16(), atol=0, rtol=0)
