import pytest
import torch

from trivium.nn.norms import rms_norm
from trivium.nn.polynomial import poly_norm, poly_norm_reference, poly_relu, poly_relu_reference

PAIRS = [(poly_relu, poly_relu_reference), (poly_norm, poly_norm_reference)]


def rand(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def inputs():
    return [rand(2, 5, 7).requires_grad_(), rand(3, seed=1).requires_grad_(), rand(1, seed=2).requires_grad_()]


@pytest.mark.parametrize(("fast", "slow"), PAIRS)
def test_outputs_and_gradients_equal_the_reference(fast, slow):
    tensors, upstream = inputs(), rand(2, 5, 7, seed=3)
    torch.testing.assert_close(fast(*tensors), slow(*tensors), atol=1e-12, rtol=0)
    got, expected = (torch.autograd.grad((f(*tensors) * upstream).sum(), tensors) for f in (fast, slow))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=0)


@pytest.mark.parametrize("activation", [poly_relu, poly_norm])
def test_first_and_second_derivatives_are_those_of_finite_differences(activation):
    assert torch.autograd.gradcheck(activation, inputs())
    with torch.random.fork_rng():  # it draws its own upstream gradients
        assert torch.autograd.gradgradcheck(activation, inputs())


def test_hand_worked_rows():
    a, bias = torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64), torch.tensor([7.0], dtype=torch.float64)
    x = torch.tensor([-4.0, 0.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(poly_relu(x, a, bias), x.new([7, 7, 7 + 2 * 2 + 3 * 4 + 5 * 8]))
    x = torch.tensor([3.0, 3.0, -3.0, -3.0], dtype=torch.float64)  # every power has one size, so each norm gives signs
    torch.testing.assert_close(poly_norm(x, a, bias, 0.0), x.new([17, 17, 7 - 2 + 3 - 5, 7 - 2 + 3 - 5]))


@pytest.mark.parametrize("activation", [poly_norm, poly_norm_reference])
def test_the_scale_of_a_row_does_not_matter_to_the_normed_form(activation):
    x, a, bias = (tensor.detach() for tensor in inputs())
    torch.testing.assert_close(activation(9 * x, a, bias, 1e-14), activation(x, a, bias, 1e-14), atol=1e-9, rtol=0)
    assert (activation(x, a, bias, 0.5) - activation(x, a, bias, 1e-14)).abs().max() > 1e-2  # eps is in it


def test_the_first_power_alone_is_the_plain_activation():
    x, one, none = rand(2, 5, 7), torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64), torch.zeros(1).double()
    assert torch.equal(poly_relu(x, one, none), x.relu())
    torch.testing.assert_close(poly_norm(x, one, none), rms_norm(x, eps=1e-6), atol=1e-12, rtol=0)


def test_a_row_of_zeros_gives_the_bias_and_finite_gradients():
    x = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    for activation in (poly_relu, poly_norm):
        y = activation(x, rand(3), torch.full((1,), 0.5, dtype=torch.float64))
        assert y.tolist() == [[0.5] * 4]
        assert torch.autograd.grad(y.sum(), x)[0].isfinite().all()


@pytest.mark.parametrize(("fast", "slow"), PAIRS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32_and_returned_as_it_came(fast, slow, dtype):
    x = (20 * rand(2, 64, dtype=torch.float32)).to(dtype).requires_grad_()  # the sixth power exceeds float16
    a, bias = torch.tensor([0.3, 0.2, 0.1], requires_grad=True), torch.zeros(1, requires_grad=True)
    y = fast(x, a, bias)
    assert y.dtype == dtype
    expected = slow(x.float(), a, bias).to(dtype)
    torch.testing.assert_close(y, expected, atol=0, rtol=torch.finfo(dtype).eps)  # one rounding, maybe the other way
    grads = torch.autograd.grad(y.float().sum(), (x, a, bias))
    assert [grad.dtype for grad in grads] == [dtype, torch.float32, torch.float32]
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize(("fast", "slow"), PAIRS)
def test_only_the_input_is_kept_for_the_backward_pass(fast, slow):
    def kept(activation):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            activation(*inputs())
        return sum(sizes)

    assert kept(fast) == 2 * 5 * 7 + 3 < kept(slow)
