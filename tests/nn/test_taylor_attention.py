import itertools
import math

import pytest
import torch

from trivium.nn.linear_attention import document_numbers
from trivium.nn.taylor_attention import (
    TAYLOR,
    taylor_attention,
    taylor_attention_reference,
    taylor_attention_step,
    taylor_features,
    taylor_features_reference,
    taylor_width,
)

BATCH, HEADS, TIME, KEY, VALUE = 2, 3, 21, 4, 5
EXACT = {"atol": 1e-10, "rtol": 0}


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs(time=TIME):
    return (
        rand(BATCH, HEADS, time, KEY),
        rand(BATCH, HEADS, time, KEY, seed=1),
        rand(BATCH, HEADS, time, VALUE, seed=2),
    )


def padding():
    real = torch.ones(BATCH, TIME, dtype=torch.bool)
    real[0, :4] = real[0, 9] = real[1, 6:8] = real[1, -3:] = False
    return real


def documents(real=None):
    segments = torch.tensor([[0] * 5 + [1] * 9 + [2] * 7, [4] * 8 + [1] + [4] * 12])
    return document_numbers(segments, real)


CASES = {
    "plain": {},
    "padded": {"real": padding()},
    "packed": {"documents": documents()},
    "padded and packed": {"real": padding(), "documents": documents(padding())},
}


@pytest.mark.parametrize("width", [1, 2, 5, 16])
@pytest.mark.parametrize("features", [taylor_features, taylor_features_reference])
def test_features_give_the_polynomial(features, width):
    q, k = 3 * rand(7, width), 3 * rand(7, width, seed=1)
    z = q @ k.mT / width**0.5
    torch.testing.assert_close(features(q) @ features(k).mT, 1 + z + z**2 / 2, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(TAYLOR.scores(q, k), 1 + z + z**2 / 2, atol=1e-12, rtol=1e-12)


def test_as_many_features_as_the_paper_counts_and_as_there_are_different_ones():
    assert taylor_features_reference(rand(16)).shape == (273,)
    assert taylor_features(rand(16)).shape == (taylor_width(16),) == (153,)
    assert taylor_features(rand(5)).shape == (taylor_width(5),) == (21,)


def test_a_hand_worked_map_and_row():
    x = torch.tensor([2.0, 3.0], dtype=torch.float64)
    root = 2**0.25
    expected = x.new_tensor([1, 2 / root, 3 / root, 4 / 2, 9 / 2, 6 / math.sqrt(2)])
    torch.testing.assert_close(taylor_features(x), expected)
    q = x.new_tensor([1.0, 1.0]).view(1, 1, 2, 1)  # d' = 1, so z is the product
    k, v = x.new_tensor([2.0, -1.0]).view(1, 1, 2, 1), x.new_tensor([10.0, 1.0]).view(1, 1, 2, 1)
    out, state = taylor_attention(q, k, v)  # weights 1 + 2 + 2 = 5 and 1 - 1 + 1/2 = 1/2
    torch.testing.assert_close(out.flatten(), x.new_tensor([10.0, 50.5 / 5.5]))
    assert state.shape == (1, 1, 3, 2)
    torch.testing.assert_close(state[0, 0, :, 1], x.new_tensor([2.0, 1.0, 5 / math.sqrt(2)]))


@pytest.mark.parametrize("facts", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("chunk", [1, 3, 7, 16, 64])
def test_outputs_and_gradients_equal_the_loop(chunk, facts):
    tensors = [x.requires_grad_() for x in inputs()]
    fast, _ = taylor_attention(*tensors, chunk=chunk, **facts)
    slow = taylor_attention_reference(*tensors, **facts)
    upstream = rand(*slow.shape, seed=5)
    if "real" in facts:  # before its first token a row has nothing to say; after it, padding repeats
        upstream = upstream * facts["real"][:, None, :, None]
    torch.testing.assert_close(fast, slow, **EXACT)
    got, expected = (torch.autograd.grad((y * upstream).sum(), tensors) for y in (fast, slow))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.parametrize("facts", [{}, {"real": padding()}], ids=["plain", "padded"])
def test_steps_equal_the_loop_and_leave_the_given_state_alone(facts):
    q, k, v = inputs()
    whole, end = taylor_attention(q, k, v, chunk=5, **facts)
    state = torch.zeros(BATCH, HEADS, taylor_width(KEY), VALUE + 1, dtype=torch.float64)
    outs = []
    for t in range(TIME):
        before = state.clone()
        real = facts["real"][:, t] if facts else None
        out, new = taylor_attention_step(q[:, :, t], k[:, :, t], v[:, :, t], state, real=real)
        assert torch.equal(state, before)
        outs.append(out)
        state = new
    torch.testing.assert_close(torch.stack(outs, 2), whole, **EXACT)
    torch.testing.assert_close(state, end, **EXACT)


@pytest.mark.parametrize("split", [1, 9, TIME - 1])
@pytest.mark.parametrize("facts", [{}, {"real": padding()}], ids=["plain", "padded"])
def test_a_split_hands_the_state_over(split, facts):
    tensors = inputs()
    whole, end = taylor_attention(*tensors, chunk=4, **facts)
    outs, state = [], None
    for span in (slice(0, split), slice(split, TIME)):
        part = {name: x[:, span] for name, x in facts.items()}
        out, state = taylor_attention(*(x[:, :, span] for x in tensors), state=state, chunk=4, **part)
        outs.append(out)
    torch.testing.assert_close(torch.cat(outs, 2), whole, **EXACT)
    torch.testing.assert_close(state, end, **EXACT)


def test_after_packed_documents_the_state_is_that_of_the_last():
    tensors = inputs()
    _, end = taylor_attention(*tensors, documents=documents(), chunk=4)
    for row, spans in enumerate([(0, 5, 14, 21), (0, 8, 9, 21)]):
        start, stop = list(itertools.pairwise(spans))[-1]
        _, state = taylor_attention(*(x[row : row + 1, :, start:stop] for x in tensors), chunk=4)
        torch.testing.assert_close(end[row], state[0], **EXACT)


def test_weights_of_a_row_sum_to_one_and_the_denominator_is_at_least_half_the_keys():
    q, k, _ = (5 * x for x in inputs())
    one = torch.ones(BATCH, HEADS, TIME, 1, dtype=torch.float64)
    out, _ = taylor_attention(q, k, one)
    torch.testing.assert_close(out, one, **EXACT)
    sums = TAYLOR.scores(q, k).tril().sum(-1)
    assert (sums >= torch.arange(1, TIME + 1) / 2).all()


def test_a_query_without_a_key_gives_zeros_and_finite_gradients():
    tensors = [x.float().requires_grad_() for x in inputs()]
    out, _ = taylor_attention(*tensors, real=torch.zeros(BATCH, TIME, dtype=torch.bool))
    assert (out == 0).all()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(out.sum(), tensors))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_sums_in_float32(dtype):
    tensors = [x.to(dtype) for x in inputs()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, state = taylor_attention(*tensors)
        again, moved = taylor_attention_step(*(x[:, :, 0] for x in tensors), torch.zeros_like(state))
    assert (out.dtype, state.dtype, again.dtype, moved.dtype) == (dtype, torch.float32, dtype, torch.float32)
    expected, end = taylor_attention(*(x.float() for x in tensors))
    torch.testing.assert_close(out, expected.to(dtype), atol=0, rtol=0)
    torch.testing.assert_close(state, end, atol=0, rtol=0)
    torch.testing.assert_close(again, out[:, :, 0], atol=1e-2, rtol=1e-2)  # one rounding to half precision
