import pytest
import torch

from trivium.nn.span_convolution import span_convolution, span_convolution_reference


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kernel", [1, 3, 9, 13])
def test_outputs_and_gradients_equal_the_reference(kernel):
    weights, values = rand(2, 7, 3, kernel).requires_grad_(), rand(2, 7, 3, 4, seed=1).requires_grad_()
    fast, slow = span_convolution(weights, values), span_convolution_reference(weights, values)
    torch.testing.assert_close(fast, slow, atol=1e-12, rtol=0)
    upstream = rand(2, 7, 3, 4, seed=2)
    for a, b in zip(*(torch.autograd.grad((y * upstream).sum(), (weights, values)) for y in (fast, slow)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_one_weight_in_the_middle_leaves_the_values_and_one_beside_it_shifts_them():
    values = rand(1, 6, 2, 4)
    weights = torch.zeros(1, 6, 2, 5, dtype=torch.float64)
    weights[..., 2] = 1.0
    torch.testing.assert_close(span_convolution(weights, values), values)
    shifted = span_convolution(weights.roll(1, -1), values)  # the place behind
    torch.testing.assert_close(shifted[:, :-1], values[:, 1:])
    assert (shifted[:, -1] == 0).all()


def test_a_span_is_odd():
    with pytest.raises(ValueError, match="an odd number of places, got 4"):
        span_convolution(rand(1, 5, 2, 4), rand(1, 5, 2, 3))
