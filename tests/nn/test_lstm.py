import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trivium.core.meter import count_flops
from trivium.nn.linear_attention import document_numbers
from trivium.nn.lstm import lstm, lstm_reference, quasi_lstm, quasi_lstm_reference

BATCH, TIME, HEADS, WIDTH = 2, 21, 3, 4
EXACT = {"atol": 1e-12, "rtol": 0}


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gates(time=TIME):
    return [2 * rand(BATCH, time, HEADS, WIDTH, seed=seed) for seed in range(4)]


def begun():
    return rand(BATCH, HEADS, WIDTH, seed=5), rand(BATCH, HEADS, WIDTH, seed=6)


RECURRENT = rand(HEADS, WIDTH, 4 * WIDTH, seed=7)


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


def equal_to_the_loop(fast, slow, tensors):
    """Outputs, both parts of the state, and gradients of all three."""
    (fast_out, fast_state), (slow_out, slow_state) = fast, slow
    weights = [rand(*x.shape, seed=8 + n) for n, x in enumerate((slow_out, *slow_state))]
    sums = []
    for got in ((fast_out, *fast_state), (slow_out, *slow_state)):
        sums.append(sum((x * w).sum() for x, w in zip(got, weights, strict=True)))
    for a, b in zip((fast_out, *fast_state), (slow_out, *slow_state), strict=True):
        torch.testing.assert_close(a, b, **EXACT)
    grads = [torch.autograd.grad(total, tensors, materialize_grads=True) for total in sums]  # h begins unread
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.parametrize("facts", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("block", [1, 3, 8, 16, TIME, 64])
def test_blocks_of_any_length_equal_the_loop(block, facts):
    tensors = [x.requires_grad_() for x in (*gates(), *begun())]
    state = (tensors[4], tensors[5])
    fast = quasi_lstm(*tensors[:4], state=state, block=block, **facts)
    slow = quasi_lstm_reference(*tensors[:4], state=state, **facts)
    equal_to_the_loop(fast, slow, tensors)


@pytest.mark.parametrize("facts", CASES.values(), ids=CASES.keys())
def test_all_rows_and_heads_at_once_equal_the_loop(facts):
    tensors = [x.requires_grad_() for x in (*gates(), RECURRENT.clone(), *begun())]
    state = (tensors[5], tensors[6])
    fast = lstm(*tensors[:5], state=state, **facts)
    slow = lstm_reference(*tensors[:5], state=state, **facts)
    equal_to_the_loop(fast, slow, tensors)


def test_a_hand_worked_cell():
    """f = 1/2, i = 1, z = tanh(1), o = 1: c doubles back on itself, 1, 1.5, 1.75 times tanh(1)."""
    f = torch.full((1, 3, 1, 1), -1.0, dtype=torch.float64)  # sigmoid(-1 + 1) = 1/2
    wide = torch.full_like(f, 50.0)
    z = torch.ones_like(f)
    out, (cell, last) = quasi_lstm(f, wide, z, wide)
    cells = torch.tensor([1.0, 1.5, 1.75], dtype=torch.float64) * torch.tanh(torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(out.flatten(), cells.tanh())
    torch.testing.assert_close(cell.flatten(), cells[-1:])
    assert torch.equal(last, out[:, -1])


@pytest.mark.parametrize("block", [1, 8, TIME])
def test_the_equation_in_logarithms(block):
    """c_t = e^{l_t} c_0 + sum of e^{l_t - l_s} i_s z_s, as the triangular product that the paper gives."""
    f, i, z, o = gates()
    cell, out = begun()
    total = nn.functional.logsigmoid(f + 1).cumsum(1)
    fade = (total[:, :, None] - total[:, None]).exp() * torch.ones(TIME, TIME).tril()[None, :, :, None, None]
    cells = total.exp() * cell[:, None] + torch.einsum("btshw,bshw->bthw", fade, i.sigmoid() * z.tanh())
    got, (last, _) = quasi_lstm(f, i, z, o, state=(cell, out), block=block)
    torch.testing.assert_close(got, o.sigmoid() * cells.tanh(), **EXACT)
    torch.testing.assert_close(last, cells[:, -1], **EXACT)


def test_without_a_memory_each_token_stands_alone():
    f, i, z, o = gates()
    got, _ = quasi_lstm(torch.full_like(f, -1e4), i, z, o, state=begun())
    torch.testing.assert_close(got, o.sigmoid() * (i.sigmoid() * z.tanh()).tanh(), **EXACT)


def test_a_shut_gate_neither_overflows_nor_leaks():
    """Where e^{-l} overflows, and where l_t - l_s would be lost to rounding in float32."""
    f, i, z, o = (x.float() for x in gates())
    f[:, 5], f[:, 12] = -1e6, -300.0
    out, (cell, _) = quasi_lstm(f, i, z, o, state=tuple(x.float() for x in begun()))
    assert out.isfinite().all()
    later, (end, _) = quasi_lstm(*(x[:, 12:] for x in (f, i, z, o)))
    torch.testing.assert_close(out[:, 12:], later)
    torch.testing.assert_close(cell, end)


def test_no_recurrent_weights_are_the_quasi_cell():
    quasi = quasi_lstm(*gates(), state=begun(), **CASES["padded and packed"])
    full = lstm(*gates(), torch.zeros_like(RECURRENT), state=begun(), **CASES["padded and packed"])
    torch.testing.assert_close(full, quasi, **EXACT)
    assert (lstm(*gates(), RECURRENT)[0] - quasi_lstm(*gates())[0]).abs().max() > 0.1


def test_one_head_is_the_lstm_of_torch():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = nn.LSTM(5, WIDTH, batch_first=True).double()
    x = rand(BATCH, TIME, 5)
    with torch.no_grad():
        i, f, z, o = (x @ theirs.weight_ih_l0.T + theirs.bias_ih_l0 + theirs.bias_hh_l0).chunk(4, -1)
        ri, rf, rz, ro = theirs.weight_hh_l0.chunk(4)
        recurrent = torch.cat((rf, ri, rz, ro)).T[None]
        cell, last = rand(BATCH, WIDTH, seed=1), rand(BATCH, WIDTH, seed=2)
        expected, (last_h, last_c) = theirs(x, (last[None], cell[None]))
        one = [gate[:, :, None] for gate in (f - 1, i, z, o)]
        got, (c, h) = lstm(*one, recurrent, state=(cell[:, None], last[:, None]))
    torch.testing.assert_close(got[:, :, 0], expected, **EXACT)
    torch.testing.assert_close(c[:, 0], last_c[0], **EXACT)
    torch.testing.assert_close(h[:, 0], last_h[0], **EXACT)


def test_heads_do_not_hear_each_other():
    whole, _ = lstm(*gates(), RECURRENT)
    for head in range(HEADS):
        alone, _ = lstm(*(x[:, :, head : head + 1] for x in gates()), RECURRENT[head : head + 1])
        torch.testing.assert_close(alone[:, :, 0], whole[:, :, head], **EXACT)


@pytest.mark.parametrize("cell", [quasi_lstm, lstm])
@given(split=st.integers(1, TIME - 1), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_split_anywhere_hands_the_state_over(cell, split, seed):
    recurrent = (RECURRENT,) if cell is lstm else ()
    real = torch.rand(BATCH, TIME, generator=torch.Generator().manual_seed(seed)) > 0.4
    whole, end = cell(*gates(), *recurrent, state=begun(), real=real)
    state, outs = begun(), []
    for span in (slice(0, split), slice(split, TIME)):
        before = [x.clone() for x in state]
        out, after = cell(*(x[:, span] for x in gates()), *recurrent, state=state, real=real[:, span])
        assert all(torch.equal(x, y) for x, y in zip(state, before, strict=True))  # a state is a value
        outs.append(out)
        state = after
    torch.testing.assert_close(torch.cat(outs, 1)[real], whole[real], **EXACT)
    torch.testing.assert_close(state, end, **EXACT)


@pytest.mark.parametrize("cell", [quasi_lstm, lstm])
def test_packed_documents_and_padding_equal_each_alone(cell):
    recurrent = (RECURRENT,) if cell is lstm else ()
    real = padding()
    packed, end = cell(*gates(), *recurrent, real=real, documents=documents(real))
    for row, spans in enumerate([(0, 5, 14, 21), (0, 8, 9, 21)]):
        for start, stop in itertools.pairwise(spans):
            keep = real[row, start:stop]
            alone, state = cell(*(x[row : row + 1, start:stop][:, keep] for x in gates()), *recurrent)
            torch.testing.assert_close(packed[row, start:stop][keep], alone[0], **EXACT)
        for mine, theirs in zip(end, state, strict=True):
            torch.testing.assert_close(mine[row], theirs[0], **EXACT)


@pytest.mark.parametrize("cell", [quasi_lstm, lstm])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_its_state_in_float32(cell, dtype):
    given_gates = [x.to(dtype) for x in gates()]
    recurrent = (RECURRENT.to(dtype),) if cell is lstm else ()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, state = cell(*given_gates, *recurrent)
    assert [out.dtype, *(x.dtype for x in state)] == [dtype, torch.float32, torch.float32]
    expected, end = cell(*(x.float() for x in given_gates), *(x.float() for x in recurrent))
    torch.testing.assert_close(out, expected.to(dtype), atol=0, rtol=0)
    torch.testing.assert_close(state, end, atol=0, rtol=0)


def test_what_is_counted():
    assert count_flops(lambda: quasi_lstm(*gates())) == 0  # elementwise work alone
    assert count_flops(lambda: lstm(*gates(), RECURRENT)) == 2 * BATCH * TIME * RECURRENT.numel()
