import math

import pytest
import torch

from trivium.nn.attention import attention
from trivium.nn.softplus_attention import softplus_attention, softplus_attention_reference


def rand(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def inputs(time=7, keys=9, groups=2, dtype=torch.float64):
    return rand(2, 4, time, 6, dtype=dtype), *(rand(2, groups, keys, 6, seed=i, dtype=dtype) for i in (1, 2))


def ragged(time=7, keys=9):
    mask = torch.ones(2, 1, time, keys, dtype=torch.bool).tril(keys - time)
    mask[0, :, :, :3] = False  # padding on the left
    mask[1, :, 2] = False  # a query that sees nothing
    return mask


SETTINGS = [
    {"power": None},
    {"power": 1.0},
    {"power": 3.0},
    {"power": 15.0},
    {"power": 2.5, "offset_rows": 5},
    {"power": 3.0, "kernel": "exp"},
    {"power": 3.0, "by_length": False},
]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("settings", SETTINGS)
def test_outputs_and_gradients_equal_the_reference(settings, masked):
    tensors = [tensor.requires_grad_() for tensor in inputs()]
    mask, upstream = ragged() if masked else None, rand(2, 4, 7, 6, seed=5)
    fast = softplus_attention(*tensors, mask, scale=0.4, **settings)
    slow = softplus_attention_reference(*tensors, mask, scale=0.4, **settings)
    torch.testing.assert_close(fast, slow, atol=1e-11, rtol=1e-9)
    got, expected = (torch.autograd.grad((y * upstream).sum(), tensors) for y in (fast, slow))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-8)


def weights_of(q, k, **settings):
    """(batch, heads, time, keys): the values are unit vectors."""
    one = torch.eye(k.shape[2], dtype=k.dtype).expand(*k.shape[:2], -1, -1)
    return softplus_attention(q, k, one, **settings)


@pytest.mark.parametrize("settings", SETTINGS)
def test_rows_sum_to_one_and_see_nothing_ahead(settings):
    q, k, _ = inputs(9, 9)
    weights = weights_of(q, k, scale=0.4, **settings)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 9, dtype=torch.float64), atol=1e-12, rtol=0)
    assert (weights.triu(1) == 0).all()
    assert (weights >= 0).all()
    assert (weights[:, :, 0, 0] == 1).all()  # ln 1 = 0: one key, all the weight


def test_after_the_first_rows_only_keys_above_average_are_kept():
    q, k, _ = inputs(9, 9)
    first, again = (weights_of(q, k, scale=0.4, power=power) for power in (None, 3.0))
    for t in range(9):
        kept = first[:, :, t, : t + 1] * (t + 1) > (0 if t < 3 else 1)
        assert torch.equal(again[:, :, t, : t + 1] > 0, kept)


def test_a_hand_worked_row():
    """Four keys with phi 1, 1, 1 and 3 give n A = 2/3, 2/3, 2/3, 2; without the offset the cubes are as 1 to 27."""
    phi = torch.tensor([1.0, 1.0, 1.0, 3.0], dtype=torch.float64)
    k = phi.expm1().log().view(1, 1, 4, 1)  # softplus of which is phi
    q = k.new_ones(1, 1, 1, 1)
    settings = {"scale": 1.0, "by_length": False}
    torch.testing.assert_close(weights_of(q, k, power=None, **settings)[0, 0, 0], phi / 6)
    torch.testing.assert_close(weights_of(q, k, power=3.0, **settings)[0, 0, 0], phi.new_tensor([0, 0, 0, 1]))
    kept = weights_of(q, k, power=3.0, offset_rows=4, **settings)[0, 0, 0]
    torch.testing.assert_close(kept, phi.new_tensor([1, 1, 1, 27]) / 30)
    by_length = weights_of(q, k, power=None, scale=1.0)[0, 0, 0]
    expected = (1 + (math.log(4) * k[0, 0, :, 0]).exp()).log()
    torch.testing.assert_close(by_length, expected / expected.sum())


@pytest.mark.parametrize("masked", [False, True])
def test_with_exp_and_a_power_of_one_without_offset_it_is_softmax(masked):
    q, k, v = inputs()
    mask = ragged() if masked else None
    expected = attention(q, k, v, mask)
    for power in (None, 1.0):
        got = softplus_attention(
            q, k, v, mask, scale=6**-0.5, by_length=False, kernel="exp", power=power, offset_rows=9
        )
        torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)


def test_high_powers_end_at_the_largest_weight():
    q, k, _ = inputs(9, 9)
    best = weights_of(q, k, scale=0.4, power=None).argmax(-1)
    weights = weights_of(q, k, scale=0.4, power=1e4)
    torch.testing.assert_close(weights.gather(-1, best[..., None]), torch.ones(2, 4, 9, 1).double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_of_equal_weights_keeps_them(dtype):
    k = rand(1, 2, 300, 4, dtype=dtype)
    for size in (0.0, torch.finfo(dtype).eps):  # the latter moves some weights by their last bit
        q = (size * rand(1, 2, 300, 4, seed=1, dtype=dtype)).requires_grad_()
        weights = weights_of(q, k, scale=1.0)
        for t in (0, 2, 3, 6, 48, 299):
            torch.testing.assert_close(weights[0, 0, t, : t + 1], torch.full((t + 1,), 1 / (t + 1), dtype=dtype))
        assert torch.autograd.grad(weights.square().sum(), q)[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_are_finite_at_a_power_of_fifteen_in_any_precision(dtype):
    tensors = [(20 * tensor).to(dtype).requires_grad_() for tensor in inputs(40, 40)]
    y = softplus_attention(*tensors, ragged(40, 40), scale=1.0, power=15.0)
    assert y.dtype == dtype
    assert y.isfinite().all()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(y.float().square().sum(), tensors))


def test_a_query_that_sees_nothing_gives_zeros_and_finite_gradients():
    for settings in SETTINGS:
        tensors = [tensor.requires_grad_() for tensor in inputs()]
        y = softplus_attention(*tensors, ragged(), scale=0.4, **settings)
        assert (y[1, :, 2] == 0).all()
        assert all(grad.isfinite().all() for grad in torch.autograd.grad(y.square().sum(), tensors))


def test_only_visible_keys_are_counted():
    q, k, v = inputs(9, 9)
    hidden = torch.ones(2, 1, 9, 9, dtype=torch.bool).tril()
    hidden[..., :4] = False
    got = softplus_attention(q, k, v, hidden, scale=0.4)[:, :, 4:]
    alone = softplus_attention(q[:, :, 4:], k[:, :, 4:], v[:, :, 4:], scale=0.4)
    torch.testing.assert_close(got, alone, atol=1e-12, rtol=0)
