import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trivium.nn.linear_attention import (
    decayed_attention,
    decayed_attention_reference,
    decayed_attention_step,
    document_numbers,
)

BATCH, HEADS, TIME, KEY, VALUE = 2, 3, 21, 4, 5
EXACT = {"atol": 1e-10, "rtol": 0}


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs(time=TIME):
    q, k, v = (
        rand(BATCH, HEADS, time, KEY),
        rand(BATCH, HEADS, time, KEY, seed=1),
        rand(BATCH, HEADS, time, VALUE, seed=2),
    )
    return q, k, v, torch.tensor([0.0, 0.3, 2.0], dtype=torch.float64), rand(BATCH, HEADS, KEY, VALUE, seed=3)


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


@pytest.mark.parametrize("facts", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("chunk", [1, 3, 7, 16, TIME, 64])
def test_outputs_states_and_gradients_equal_the_loop(chunk, facts):
    tensors = [x.requires_grad_() for x in inputs()]
    *qkvr, state = tensors
    fast = decayed_attention(*qkvr, state=state, chunk=chunk, **facts)
    slow = decayed_attention_reference(*qkvr, state=state, **facts)
    weights = [rand(*x.shape, seed=5 + i) for i, x in enumerate(slow)]
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, **EXACT)
    grads = [
        torch.autograd.grad(sum((x * w).sum() for x, w in zip(pair, weights, strict=True)), tensors)
        for pair in (fast, slow)
    ]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.parametrize("facts", [{}, {"real": padding()}], ids=["plain", "padded"])
def test_steps_equal_the_loop_and_leave_the_given_state_alone(facts):
    q, k, v, rate, state = inputs()
    expected, end = decayed_attention_reference(q, k, v, rate, state=state, **facts)
    outs = []
    for t in range(TIME):
        before = state.clone()
        real = facts["real"][:, t] if facts else None
        out, new = decayed_attention_step(q[:, :, t], k[:, :, t], v[:, :, t], rate, state, real=real)
        assert torch.equal(state, before)
        outs.append(out)
        state = new
    torch.testing.assert_close(torch.stack(outs, 2), expected, **EXACT)
    torch.testing.assert_close(state, end, **EXACT)


def test_a_hand_worked_sum():
    one = torch.ones(1, 1, 3, 1, dtype=torch.float64)
    v = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64).view(1, 1, 3, 1)
    half = torch.tensor([2.0], dtype=torch.float64).log()  # lambda = 1/2
    out, state = decayed_attention(one, one, v, half)
    torch.testing.assert_close(out.flatten(), v.new([1.0, 10.5, 105.25]))
    torch.testing.assert_close(state.flatten(), v.new([105.25]))


def test_rate_zero_is_plain_linear_attention():
    q, k, v, _, _ = inputs()
    out, _ = decayed_attention(q, k, v, torch.zeros(HEADS, dtype=torch.float64), chunk=5)
    torch.testing.assert_close(out, (q @ k.mT).tril() @ v, **EXACT)


@given(split=st.integers(1, TIME - 1), chunk=st.integers(1, TIME), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_a_split_anywhere_hands_the_state_over(split, chunk, seed):
    q, k, v, rate, state = inputs()
    real = torch.rand(BATCH, TIME, generator=torch.Generator().manual_seed(seed)) > 0.3
    whole, end = decayed_attention(q, k, v, rate, state=state, real=real, chunk=chunk)
    outs = []
    for span in (slice(0, split), slice(split, TIME)):
        out, state = decayed_attention(
            q[:, :, span], k[:, :, span], v[:, :, span], rate, state=state, real=real[:, span], chunk=chunk
        )
        outs.append(out)
    torch.testing.assert_close(torch.cat(outs, 2), whole, **EXACT)
    torch.testing.assert_close(state, end, **EXACT)


def test_packed_documents_equal_each_alone_bit_for_bit_in_the_state():
    q, k, v, rate, _ = inputs()
    packed, end = decayed_attention(q, k, v, rate, documents=documents(), chunk=4)
    for row, spans in enumerate([(0, 5, 14, 21), (0, 8, 9, 21)]):
        for start, stop in itertools.pairwise(spans):
            alone, state = decayed_attention(*(x[row : row + 1, :, start:stop] for x in (q, k, v)), rate, chunk=4)
            torch.testing.assert_close(packed[row, :, start:stop], alone[0], **EXACT)
        torch.testing.assert_close(end[row], state[0], **EXACT)


def test_padding_equals_the_tokens_without_it():
    q, k, v, rate, _ = inputs()
    real = padding()
    out, end = decayed_attention(q, k, v, rate, real=real, chunk=4)
    for row in range(BATCH):
        keep = real[row]
        alone, state = decayed_attention(*(x[row : row + 1, :, keep] for x in (q, k, v)), rate, chunk=4)
        torch.testing.assert_close(out[row][:, keep], alone[0], **EXACT)
        torch.testing.assert_close(end[row], state[0], **EXACT)


def test_nothing_overflows_at_length_100_000_where_the_factorised_form_does():
    generator = torch.Generator().manual_seed(0)
    time, rate = 100_000, torch.tensor([0.5])
    q, k, v = (torch.randn(1, 1, time, 2, generator=generator) for _ in range(3))
    out, state = decayed_attention(q, k, v, rate)
    assert out.isfinite().all()
    assert state.isfinite().all()
    tail = slice(time - 200, time)  # what is older has faded below the last bit of float32
    expected, _ = decayed_attention_reference(q[:, :, tail], k[:, :, tail], v[:, :, tail], rate)
    torch.testing.assert_close(out[:, :, -50:], expected[:, :, -50:], atol=1e-4, rtol=1e-4)
    steps = torch.arange(time)
    assert torch.exp(rate * steps).isinf().any()  # lambda^-s, which the factorised form multiplies the keys by


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_its_state_in_float32(dtype):
    q, k, v, rate, _ = (x.to(dtype) for x in inputs())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, state = decayed_attention(q, k, v, rate.float())
    assert (out.dtype, state.dtype) == (dtype, torch.float32)
    expected, end = decayed_attention(q.float(), k.float(), v.float(), rate.float())
    torch.testing.assert_close(out, expected.to(dtype), atol=0, rtol=0)
    torch.testing.assert_close(state, end, atol=0, rtol=0)


def test_documents_are_counted_over_real_tokens_only():
    segments = torch.tensor([[7, 7, 3, 3, 9, 7]])
    assert document_numbers(segments).tolist() == [[0, 0, 1, 1, 2, 3]]
    real = torch.tensor([[False, True, False, True, True, False]])
    assert document_numbers(segments, real).tolist() == [[0, 0, 0, 1, 2, 2]]
