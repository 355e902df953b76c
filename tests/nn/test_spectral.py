import pytest
import scipy.fft
import torch

from trivium.core.meter import count_flops
from trivium.nn.spectral import (
    cosine_mix,
    cosine_mix_flops,
    cosine_mix_reference,
    fourier_mix,
    fourier_mix_flops,
    fourier_mix_reference,
)

SIZES = [(7, 8), (8, 7), (1, 4), (5, 1), (12, 16)]


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("time", "width"), SIZES)
@pytest.mark.parametrize(("fast", "slow"), [(fourier_mix, fourier_mix_reference), (cosine_mix, cosine_mix_reference)])
def test_outputs_and_gradients_equal_the_reference(fast, slow, time, width):
    x = rand(2, time, width).requires_grad_()
    a, b = fast(x), slow(x)
    torch.testing.assert_close(a, b, atol=1e-10, rtol=0)
    weight = rand(2, time, width, seed=1)
    (one,), (two,) = (torch.autograd.grad((y * weight).sum(), x) for y in (a, b))
    torch.testing.assert_close(one, two, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("time", "width"), SIZES)
def test_they_are_the_transforms_of_the_libraries(time, width):
    x = rand(2, time, width)
    torch.testing.assert_close(fourier_mix(x), torch.fft.fft2(x).real, atol=1e-10, rtol=0)
    expected = torch.from_numpy(scipy.fft.dctn(x.numpy(), type=2, axes=(1, 2))) / 4  # scipy doubles along each axis
    torch.testing.assert_close(cosine_mix(x), expected, atol=1e-10, rtol=0)


def test_parseval():
    """The real part is the transform of the even half of the input, so its squares sum to T D times those of that."""
    x = rand(1, 6, 9)
    even = (x + x.flip(1, 2).roll((1, 1), (1, 2))) / 2
    torch.testing.assert_close(fourier_mix(x).square().sum(), 6 * 9 * even.square().sum())
    y = cosine_mix(x) / (6 * 9 / 4) ** 0.5  # the DCT is orthogonal once the constant waves are divided by sqrt 2
    y[:, 0] /= 2**0.5
    y[:, :, 0] /= 2**0.5
    torch.testing.assert_close(y.square().sum(), x.square().sum())


def test_a_hand_worked_number():
    x = torch.tensor([[[1.0, 2.0], [3.0, 5.0]]])
    torch.testing.assert_close(fourier_mix(x), torch.tensor([[[11.0, -3.0], [-5.0, 1.0]]]))
    quarter = 0.5**0.5  # cos(pi / 4)
    expected = torch.tensor([[[11.0, -3 * quarter], [-5 * quarter, 0.5]]])
    torch.testing.assert_close(cosine_mix(x), expected)


@pytest.mark.parametrize("function", [fourier_mix, cosine_mix])
def test_half_precision_comes_back_as_it_came(function):
    x = rand(1, 5, 8).bfloat16()
    assert function(x).dtype == torch.bfloat16
    torch.testing.assert_close(function(x).double(), function(x.double()), atol=0.2, rtol=0.02)


@pytest.mark.parametrize(("function", "declared"), [(fourier_mix, fourier_mix_flops), (cosine_mix, cosine_mix_flops)])
@pytest.mark.parametrize(("time", "width"), [(32, 64), (150, 24)])
def test_declared_operations_are_measured(function, declared, time, width):
    x = rand(2, time, width)
    assert count_flops(lambda: function(x)) == pytest.approx(2 * declared(time, width), rel=1e-3)
