import pytest
import torch

from trivium.nn.natural_parameters import gaussian_loss, moments_linear, moments_linear_reference, moments_sigmoid

NEAR = 0.03
"""How far sigma(c (x + h)) is from sigma(x)^2, which it stands for, at most."""


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uncertain(seed=0):
    shapes = [(3, 4), (3, 4), (4, 2), (4, 2), (2,), (2,)]
    tensors = [rand(*shape, seed=seed + at) for at, shape in enumerate(shapes)]
    return [tensor if at % 2 == 0 else tensor.square() for at, tensor in enumerate(tensors)]


def test_outputs_and_gradients_equal_the_reference():
    given = [tensor.requires_grad_() for tensor in uncertain()]
    fast, slow = moments_linear(*given), moments_linear_reference(*given)
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
    for a, b in zip(*(torch.autograd.grad((m * m).sum() + s.sum(), given) for m, s in (fast, slow)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


def test_the_moments_of_a_linear_layer_are_those_of_draws():
    mean, variance, weight, weight_variance, bias, bias_variance = uncertain()
    draws = 200_000
    noise = [rand(draws, *tensor.shape, seed=9 + at) for at, tensor in enumerate((mean[0], weight, bias))]
    a = mean[0] + variance[0].sqrt() * noise[0]
    w = weight + weight_variance.sqrt() * noise[1]
    b = bias + bias_variance.sqrt() * noise[2]
    out = (a[:, None] @ w)[:, 0] + b
    m, s = moments_linear(mean, variance, weight, weight_variance, bias, bias_variance)
    error = (s[0] / draws).sqrt()  # of the mean of so many draws
    assert ((out.mean(0) - m[0]).abs() < 5 * error).all()
    torch.testing.assert_close(out.var(0), s[0], rtol=0.03, atol=0)


def test_without_variance_it_is_a_linear_layer():
    mean, _, weight, _, bias, _ = uncertain()
    zero = torch.zeros_like
    m, s = moments_linear(mean, zero(mean), weight, zero(weight), bias, zero(bias))
    torch.testing.assert_close(m, mean @ weight + bias)
    assert (s == 0).all()
    m, s = moments_sigmoid(mean, zero(mean))
    torch.testing.assert_close(m, torch.sigmoid(mean))
    assert s.max() < NEAR


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (1.5, 0.5), (-2.0, 4.0), (0.5, 0.1)])
def test_the_moments_of_a_sigmoid_are_near_those_of_the_integral(mean, variance):
    x = torch.linspace(-12, 12, 20_001, dtype=torch.float64) * variance**0.5 + mean
    density = (-0.5 * (x - mean).square() / variance).exp()
    density = density / density.sum()
    first, second = (float((density * torch.sigmoid(x) ** power).sum()) for power in (1, 2))
    m, s = moments_sigmoid(torch.tensor([mean], dtype=torch.float64), torch.tensor([variance], dtype=torch.float64))
    assert float(m) == pytest.approx(first, abs=0.01)  # the scaled sigmoid is within 0.01 of the integral
    assert float(s) == pytest.approx(second - first**2, abs=NEAR)


def test_the_loss_is_least_at_the_truth():
    target = rand(400)
    losses = {
        (shift, spread): float(gaussian_loss(torch.full_like(target, shift), torch.full_like(target, spread), target))
        for shift in (float(target.mean()), 0.5)
        for spread in (float(target.var(correction=0)), 0.3, 4.0)
    }
    assert min(losses, key=losses.get) == (float(target.mean()), float(target.var(correction=0)))


def test_what_stands_for_the_square_is_as_near_as_that():
    x = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    certain = torch.zeros_like(x)
    _, s = moments_sigmoid(x, certain)
    assert 0.02 < s.max() < NEAR  # of a number that is certain the true variance is 0
    assert (s >= 0).all()
