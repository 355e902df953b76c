import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trivium.nn.attention import attention
from trivium.nn.linear_attention import document_numbers
from trivium.nn.window_attention import window_attention, window_attention_reference

BATCH, HEADS, TIME, KEY, VALUE = 2, 3, 21, 4, 5
EXACT = {"atol": 1e-10, "rtol": 0}


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs():
    return (
        rand(BATCH, HEADS, TIME, KEY),
        rand(BATCH, HEADS, TIME, KEY, seed=1),
        rand(BATCH, HEADS, TIME, VALUE, seed=2),
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
WINDOWS = [1, 2, 4, 7, TIME - 1, TIME, 1000]


@pytest.mark.parametrize("facts", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("window", WINDOWS)
def test_outputs_and_gradients_equal_the_loop(window, facts):
    tensors = [x.requires_grad_() for x in inputs()]
    real = facts.get("real", torch.ones(BATCH, TIME, dtype=torch.bool))[:, None, :, None]
    fast = window_attention(*tensors, window, **facts)[0] * real
    slow = window_attention_reference(*tensors, window, **facts)
    torch.testing.assert_close(fast, slow, **EXACT)
    upstream = rand(*slow.shape, seed=5)
    got, expected = (
        torch.autograd.grad((y * upstream).sum(), tensors, allow_unused=True, materialize_grads=True)
        for y in (fast, slow)
    )
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_a_query_sees_exactly_so_many_keys():
    q, k, _ = inputs()
    one = torch.eye(TIME, dtype=torch.float64).expand(BATCH, HEADS, -1, -1)
    weights, _ = window_attention(q, k, one, 5)
    seen = torch.ones(TIME, TIME, dtype=torch.bool).tril().triu(-4)
    assert torch.equal(weights > 0, seen.expand_as(weights))
    torch.testing.assert_close(weights.sum(-1), torch.ones(BATCH, HEADS, TIME, dtype=torch.float64))


@pytest.mark.parametrize("window", [TIME, TIME + 1])
def test_a_window_of_the_whole_sequence_is_full_attention(window):
    q, k, v = inputs()
    torch.testing.assert_close(window_attention(q, k, v, window)[0], attention(q, k, v), atol=0, rtol=0)
    short = window_attention(q, k, v, TIME - 1)[0]
    torch.testing.assert_close(short[:, :, :-1], attention(q, k, v)[:, :, :-1], **EXACT)
    assert (short - attention(q, k, v))[:, :, -1].abs().min() > 1e-6


def test_a_window_of_one_gives_the_token_its_own_value():
    q, k, v = inputs()
    torch.testing.assert_close(window_attention(q, k, v, 1)[0], v, **EXACT)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=21),
    window=st.integers(1, TIME + 2),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_pieces_of_any_lengths_hand_the_memory_over(sizes, window, seed):
    q, k, v = inputs()
    real = torch.rand(BATCH, TIME, generator=torch.Generator().manual_seed(seed)) > 0.3
    stops = [0, *(x for x in itertools.accumulate(sizes) if x < TIME), TIME]
    for mask in (None, real):
        expected = window_attention_reference(q, k, v, window, real=mask)
        memory, outs = None, []
        for start, stop in itertools.pairwise(stops):
            span = slice(start, stop)
            part = None if mask is None else mask[:, span]
            out, memory = window_attention(
                q[:, :, span], k[:, :, span], v[:, :, span], window, memory=memory, real=part
            )
            outs.append(out)
            assert memory[0].shape[2] == memory[1].shape[2] == min(window - 1, stop)
            assert memory[0].untyped_storage().nbytes() == memory[0].numel() * 8  # no longer past is held on to
            tokens = torch.full((BATCH,), stop) if mask is None else mask[:, :stop].sum(1)
            assert torch.equal(memory[2], tokens.clamp(max=window - 1))
        got = torch.cat(outs, 2)
        torch.testing.assert_close(got if mask is None else got * mask[:, None, :, None], expected, **EXACT)


@pytest.mark.parametrize("padded", [False, True])
def test_after_packed_documents_the_memory_is_of_the_last_alone(padded):
    q, k, v = inputs()
    real = padding() if padded else None
    numbers = documents(real)
    _, memory = window_attention(q, k, v, 16, real=real, documents=numbers)
    new = [rand(BATCH, HEADS, 3, x.shape[-1], seed=7) for x in (q, k, v)]
    out, _ = window_attention(*new, 16, memory=memory)
    for row in range(BATCH):
        keep = numbers[row] == numbers[row, -1]
        keep = keep if real is None else keep & real[row]
        whole = [torch.cat((x[row, :, keep], y[row]), 1)[None] for x, y in zip((q, k, v), new, strict=True)]
        expected = window_attention_reference(*whole, 16)[0, :, -3:]
        torch.testing.assert_close(out[row], expected, **EXACT)


def test_a_memory_goes_on_into_the_first_document_only():
    q, k, v = inputs()
    old = [rand(BATCH, HEADS, 6, x.shape[-1], seed=8) for x in (q, k, v)]
    _, memory = window_attention(*old, 16)
    got, after = window_attention(q, k, v, 16, memory=memory, documents=documents())
    numbers = torch.cat((torch.zeros(BATCH, 6, dtype=torch.int64), documents()), 1)
    whole = [torch.cat(pair, 2) for pair in zip(old, (q, k, v), strict=True)]
    expected = window_attention_reference(*whole, 16, documents=numbers)
    torch.testing.assert_close(got, expected[:, :, 6:], **EXACT)
    assert after[2].tolist() == [7, 12]


def test_the_given_memory_is_left_alone_and_rows_without_a_token_keep_it():
    q, k, v = inputs()
    _, memory = window_attention(q, k, v, 5)
    before = [x.clone() for x in memory]
    real = torch.zeros(BATCH, 2, dtype=torch.bool)
    real[1] = True
    new = [x[:, :, :2] for x in (q, k, v)]
    _, after = window_attention(*new, 5, memory=memory, real=real)
    assert all(torch.equal(x, y) for x, y in zip(memory, before, strict=True))
    assert torch.equal(after[0][0], memory[0][0])
    assert not torch.equal(after[0][1], memory[0][1])
    assert torch.equal(after[2], memory[2])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_half_precision(dtype):
    tensors = [x.to(dtype) for x in inputs()]
    out, memory = window_attention(*tensors, 5, real=padding())
    wide = (memory[0].float(), memory[1].float(), memory[2])
    again, _ = window_attention(*(x[:, :, :1] for x in tensors), 5, memory=wide)
    assert out.dtype == memory[0].dtype == again.dtype == dtype
    assert out.isfinite().all()
