import pytest
import torch

from trivium.nn.norms import layer_norm, layer_norm_reference, rms_norm, rms_norm_reference, simple_rms_norm


def rand(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize(
    ("fast", "slow", "count"), [(rms_norm, rms_norm_reference, 1), (layer_norm, layer_norm_reference, 2)]
)
def test_outputs_and_gradients_equal_the_reference(fast, slow, count):
    tensors = [rand(3, 5, 8).requires_grad_(), *(rand(8, seed=i + 1).requires_grad_() for i in range(count))]
    torch.testing.assert_close(fast(*tensors), slow(*tensors), atol=1e-12, rtol=0)
    weight = rand(3, 5, 8, seed=9)
    for a, b in zip(
        torch.autograd.grad((fast(*tensors) * weight).sum(), tensors),
        torch.autograd.grad((slow(*tensors) * weight).sum(), tensors),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_a_hand_worked_row():
    x = torch.tensor([[3.0, 4.0]], dtype=torch.float64)  # mean square 12.5
    expected = x / 12.5**0.5
    torch.testing.assert_close(rms_norm(x, eps=0.0), expected)
    torch.testing.assert_close(
        rms_norm(x, torch.tensor([2.0, 1.0], dtype=torch.float64), 0.0), expected * x.new([2, 1])
    )
    torch.testing.assert_close(layer_norm(x, eps=0.0), x.new([[-1.0, 1.0]]))


def test_scale_does_not_matter_and_the_simple_norm_has_length_sqrt_width():
    x = rand(4, 16)
    torch.testing.assert_close(rms_norm(7 * x, eps=1e-12), rms_norm(x, eps=1e-12))
    torch.testing.assert_close(simple_rms_norm(x, eps=0.0).norm(dim=-1), x.new_full((4,), 4.0))


@pytest.mark.parametrize("norm", [rms_norm, layer_norm])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32_and_returned_as_it_came(norm, dtype):
    x, gain = 300 * rand(2, 512, dtype=torch.float32), rand(512, seed=1, dtype=torch.float32)
    got = norm(x.to(dtype), gain.to(dtype))  # the sum of squares exceeds what float16 holds
    assert got.dtype == dtype
    expected = norm(x.to(dtype).float(), gain.to(dtype).float())
    torch.testing.assert_close(got, expected.to(dtype), atol=0, rtol=0)
