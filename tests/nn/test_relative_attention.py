import math

import pytest
import torch

from trivium.nn.attention import attention
from trivium.nn.relative_attention import FEW, disentangled_attention, disentangled_attention_reference, log_buckets


def rand(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def inputs(time=7, keys=9, offsets=5, dtype=torch.float64):
    q, k, v = rand(2, 3, time, 6, dtype=dtype), *(rand(2, 3, keys, n, seed=n, dtype=dtype) for n in (6, 4))
    return [q, k, v, *(rand(3, offsets, 6, seed=seed, dtype=dtype) for seed in (7, 8))]


def offsets(time=7, keys=9, rows=1, count=5):
    return torch.randint(count, (rows, time, keys), generator=torch.Generator().manual_seed(9))


def ragged(time=7, keys=9):
    mask = torch.ones(2, 1, time, keys, dtype=torch.bool)
    mask[0, :, :, :3] = False
    mask[1, :, time - 2] = False  # a query that sees nothing
    return mask


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("time", [1, 2, FEW, FEW + 1, 9])
def test_outputs_and_gradients_equal_the_reference(time, masked, rows):
    tensors = [tensor.requires_grad_() for tensor in inputs(time)]
    mask = ragged(time) if masked and time > 1 else None
    index, upstream = offsets(time, rows=rows), rand(2, 3, time, 4, seed=5)
    fast, slow = (
        function(*tensors, index, mask, scale=0.4)
        for function in (disentangled_attention, disentangled_attention_reference)
    )
    torch.testing.assert_close(fast, slow, atol=1e-12, rtol=1e-10)
    got, expected = (torch.autograd.grad((y * upstream).sum(), tensors) for y in (fast, slow))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-10)


def test_without_positions_it_is_softmax_attention():
    q, k, v, qp, kp = inputs()
    for mask in (None, ragged()):
        got = disentangled_attention(q, k, v, 0 * qp, 0 * kp, offsets(), mask, scale=6**-0.5)
        torch.testing.assert_close(got, attention(q, k, v, mask), atol=1e-12, rtol=0)


def test_a_hand_worked_row():
    """One query of 2 and keys 1 and 3; positions with keys 1, 5 and queries 0, 1: scores 2 + 2 + 0 and 6 + 10 + 3."""
    one = lambda *values: torch.tensor(values, dtype=torch.float64).view(1, 1, -1, 1)  # noqa: E731
    got = disentangled_attention(
        one(2), one(1, 3), one(0, 1), one(0, 1)[0], one(1, 5)[0], torch.tensor([[[0, 1]]]), scale=0.1
    )
    assert got.item() == pytest.approx(1 / (1 + math.exp(0.1 * (4 - 19))), rel=1e-12)


def test_a_query_that_sees_nothing_gives_zeros_and_finite_gradients():
    tensors = [tensor.requires_grad_() for tensor in inputs()]
    y = disentangled_attention(*tensors, offsets(), ragged(), scale=0.4)
    assert (y[1, :, 5] == 0).all()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(y.square().sum(), tensors))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_half_precision_is_widened_for_the_softmax(dtype):
    exact = [tensor.to(dtype) for tensor in inputs()]
    y = disentangled_attention(*exact, offsets(), scale=0.4)
    assert y.dtype == dtype
    expected = disentangled_attention(*(tensor.double() for tensor in exact), offsets(), scale=0.4)
    close = 1e-5 if dtype == torch.float32 else 3e-2  # bfloat16 keeps 8 bits, of products and of weights
    torch.testing.assert_close(y.double(), expected, atol=close, rtol=close)


# Buckets ----------------------------------------------------------------------------------------------------------


def test_small_distances_have_a_bucket_each_and_large_ones_share():
    """16 exact ones to either side, then 15 for a factor of 511 / 16: the first of them ends at 16 (511/16)^(1/15)."""
    distance = torch.arange(-600, 601)
    found = log_buckets(distance, 32, 512)
    assert torch.equal(found[584:617], torch.arange(-16, 17))
    assert torch.equal(found, -found.flip(0))
    assert (found.diff() >= 0).all()
    assert (found.diff() <= 1).all()
    assert found.unique().tolist() == list(range(-31, 32))
    edges = [math.floor(16 * (511 / 16) ** (n / 15)) for n in range(16)]
    for n in range(1, 15):
        assert found[600 + edges[n]] == 16 + n
        assert found[600 + edges[n] + 1] == 16 + n + 1
    assert (found[600 + 511 :] == 31).all()


@pytest.mark.parametrize(("buckets", "reach"), [(4, 8), (5, 64), (8, 100)])
def test_other_sizes_use_every_bucket(buckets, reach):
    found = log_buckets(torch.arange(-2 * reach, 2 * reach), buckets, reach)
    assert found.unique().tolist() == list(range(-found.max(), found.max() + 1))
    assert found.max() == min(buckets - 1, 2 * (buckets // 2) - 1)
