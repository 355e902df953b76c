import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from trivium.nn.state_space import (
    causal_convolution,
    causal_convolution_reference,
    diagonal_ssm,
    diagonal_ssm_reference,
    diagonal_step,
    discretised,
    shift_kernel,
    shift_ssm,
    shift_ssm_reference,
    shift_step,
)

BATCH, HEADS, CHANNELS, TIME, STATES = 2, 3, 4, 19, 6
EXACT = {"atol": 1e-10, "rtol": 0}
LENGTHS = torch.tensor([19, 7])


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def complex_rand(*shape, seed=0):
    return torch.complex(rand(*shape, seed=seed), rand(*shape, seed=seed + 50))


def shift():
    """Input, B, C and a state."""
    return (
        rand(BATCH, HEADS, TIME),
        rand(HEADS, STATES, seed=1),
        rand(HEADS, STATES, seed=2),
        rand(BATCH, HEADS, STATES, seed=3),
    )


def diagonal(rule="bilinear"):
    """Input, log A, B, C and a state."""
    a = torch.complex(-rand(HEADS, STATES, seed=1).exp(), 3 * rand(HEADS, STATES, seed=2))
    step = rand(HEADS, seed=3).exp() / 10
    return (
        rand(BATCH, HEADS, CHANNELS, TIME),
        *discretised(step, a, complex_rand(HEADS, STATES, seed=4), rule),
        complex_rand(HEADS, STATES, seed=5),
        complex_rand(BATCH, HEADS, CHANNELS, STATES, seed=6),
    )


def gradients(outputs, inputs):
    """Of a sum of all outputs under random weights, complex ones by their two parts."""
    parts = [torch.view_as_real(x) if x.is_complex() else x for x in outputs]
    total = sum((x * rand(*x.shape, seed=20 + index)).sum() for index, x in enumerate(parts))
    return torch.autograd.grad(total, inputs)


@pytest.mark.parametrize("taps", [1, 5, TIME, TIME + 4])
def test_the_transform_gives_the_convolution_and_nothing_comes_round(taps):
    u, kernel = rand(BATCH, HEADS, TIME).requires_grad_(), rand(HEADS, taps, seed=1).requires_grad_()
    fast, slow = causal_convolution(u, kernel), causal_convolution_reference(u, kernel)
    torch.testing.assert_close(fast, slow, **EXACT)
    for a, b in zip(gradients([fast], [u, kernel]), gradients([slow], [u, kernel]), strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_a_hand_worked_convolution():
    u, kernel = torch.tensor([1.0, 10.0, 100.0]), torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(causal_convolution(u, kernel), torch.tensor([1.0, 12.0, 123.0]))


@pytest.mark.parametrize("rule", ["bilinear", "zoh"])
def test_discrete_systems_are_stable_and_follow_their_rule(rule):
    step = torch.tensor([1e-4, 1e-2, 1.0, 30.0], dtype=torch.float64)
    n = torch.arange(8, dtype=torch.float64)
    a = torch.complex(torch.full((4, 8), -0.5, dtype=torch.float64), (math.pi * n).expand(4, 8))
    b = complex_rand(4, 8)
    log_a, discrete = discretised(step, a, b, rule)
    assert (log_a.exp().abs() < 1).all()
    s = step[:, None] * a
    if rule == "zoh":
        torch.testing.assert_close(log_a.exp(), s.exp())
        torch.testing.assert_close(discrete, (s.exp() - 1) / a * b)
    else:
        torch.testing.assert_close(log_a.exp(), (1 + s / 2) / (1 - s / 2))
        torch.testing.assert_close(discrete, step[:, None] * b / (1 - s / 2))


def test_a_small_step_is_as_exact_in_float32_as_a_large_one():
    a = torch.tensor([[-0.5 + 0.1j]], dtype=torch.complex128)
    step = torch.tensor([1e-4], dtype=torch.float64)
    for rule in ("bilinear", "zoh"):
        exact = discretised(step, a, torch.ones_like(a), rule)
        rounded = discretised(step.float(), a.to(torch.complex64), torch.ones_like(a).to(torch.complex64), rule)
        for x, y in zip(exact, rounded, strict=True):
            torch.testing.assert_close(y.to(torch.complex128), x, atol=0, rtol=1e-6)  # ten units in the last place


@pytest.mark.parametrize("time", [1, 3, STATES, TIME])
def test_the_shift_equals_its_recurrence(time):
    u, b, c, state = (x.requires_grad_() for x in shift())
    u = u[..., :time]
    fast, slow = shift_ssm(u, b, c, state=state), shift_ssm_reference(u, b, c, state)
    for x, y in zip(fast, slow, strict=True):
        torch.testing.assert_close(x, y, **EXACT)
    for x, y in zip(gradients(fast, [b, c, state]), gradients(slow, [b, c, state]), strict=True):
        torch.testing.assert_close(x, y, **EXACT)
    alone, nothing = shift_ssm(u, b, c)
    assert nothing is None
    torch.testing.assert_close(alone, shift_ssm_reference(u, b, c, torch.zeros_like(state))[0], **EXACT)


def test_the_shift_is_a_convolution_of_torch_and_looks_back_as_far_as_it_is_told():
    u, _, c, _ = shift()
    first = torch.eye(1, STATES, dtype=torch.float64).expand(HEADS, -1)
    torch.testing.assert_close(shift_kernel(first, c), c, atol=0, rtol=0)
    expected = F.conv1d(F.pad(u, (STATES - 1, 0)), c.flip(1)[:, None], groups=HEADS)
    torch.testing.assert_close(shift_ssm(u, first, c)[0], expected, **EXACT)
    for back in range(STATES):
        taps = torch.zeros(HEADS, STATES, dtype=torch.float64)
        taps[:, back] = 1
        torch.testing.assert_close(shift_ssm(u, first, taps)[0], F.pad(u, (back, 0))[..., :TIME], **EXACT)


@pytest.mark.parametrize("chunk", [1, 3, 7, TIME, 100])
@pytest.mark.parametrize("rule", ["bilinear", "zoh"])
def test_the_diagonal_system_equals_its_recurrence(chunk, rule):
    u, log_a, b, c, state = (x.detach().requires_grad_() for x in diagonal(rule))
    fast = diagonal_ssm(u, log_a, b, c, state=state, chunk=chunk)
    slow = diagonal_ssm_reference(u, log_a.exp(), b, c, state)
    for x, y in zip(fast, slow, strict=True):
        torch.testing.assert_close(x, y, **EXACT)
    wanted = [u, log_a, b, c, state]
    for x, y in zip(gradients(fast, wanted), gradients(slow, wanted), strict=True):
        torch.testing.assert_close(x, y, **EXACT)
    alone, nothing = diagonal_ssm(u, log_a, b, c, chunk=chunk)
    assert nothing is None
    expected, _ = diagonal_ssm_reference(u, log_a.exp(), b, c, torch.zeros_like(state))
    torch.testing.assert_close(alone, expected, **EXACT)
    (got,), (wanted,) = gradients([alone], [u]), gradients([expected], [u])
    torch.testing.assert_close(got, wanted, **EXACT)


def test_the_kernel_of_the_diagonal_system_has_its_factor_of_two():
    u = torch.zeros(1, 1, 1, 5, dtype=torch.float64)
    u[..., 0] = 1
    half = torch.tensor([[0.5 + 0j]], dtype=torch.complex128).log()
    one = torch.ones(1, 1, dtype=torch.complex128)
    y, _ = diagonal_ssm(u, half, one, 3 * one)
    torch.testing.assert_close(y.flatten(), u.new_tensor([6.0, 3.0, 1.5, 0.75, 0.375]))


@pytest.mark.parametrize("chunk", [1, 3, 7, 8, 100])
def test_the_state_after_a_sequence_does_not_see_what_stands_behind_it(chunk):
    u, b, c, state = shift()
    out, end = shift_ssm(u, b, c, state=state, lengths=LENGTHS)
    z, log_a, d, e, modes = diagonal()
    decayed, last = diagonal_ssm(z, log_a, d, e, state=modes, lengths=LENGTHS, chunk=chunk)
    for row, length in enumerate(LENGTHS.tolist()):
        part = slice(row, row + 1)
        y, x = shift_ssm_reference(u[part, :, :length], b, c, state[part])
        torch.testing.assert_close(out[row, :, :length], y[0], **EXACT)
        torch.testing.assert_close(end[row], x[0], **EXACT)
        y, x = diagonal_ssm_reference(z[part, ..., :length], log_a.exp(), d, e, modes[part])
        torch.testing.assert_close(decayed[row, ..., :length], y[0], **EXACT)
        torch.testing.assert_close(last[row], x[0], **EXACT)


@pytest.mark.parametrize("sizes", [[1, 18], [7, 7, 5], [18, 1], [2] * 9 + [1]])
def test_states_are_passed_on_over_any_split(sizes):
    u, b, c, state = shift()
    z, log_a, d, e, modes = diagonal()
    whole = shift_ssm(u, b, c, state=state), diagonal_ssm(z, log_a, d, e, state=modes)
    outs = [], []
    for start, stop in itertools.pairwise([0, *itertools.accumulate(sizes)]):
        y, state = shift_ssm(u[..., start:stop], b, c, state=state)
        outs[0].append(y)
        y, modes = diagonal_ssm(z[..., start:stop], log_a, d, e, state=modes, chunk=4)
        outs[1].append(y)
    for (expected, end), got, after in zip(whole, outs, (state, modes), strict=True):
        torch.testing.assert_close(torch.cat(got, -1), expected, **EXACT)
        torch.testing.assert_close(after, end, **EXACT)


def test_steps_equal_the_whole_and_leave_the_given_state_alone():
    u, b, c, state = shift()
    z, log_a, d, e, modes = diagonal()
    whole = shift_ssm(u, b, c, state=state), diagonal_ssm(z, log_a, d, e, state=modes)
    outs = [], []
    for t in range(TIME):
        before = state.clone(), modes.clone()
        y, moved = shift_step(u[..., t], b, c, state)
        outs[0].append(y)
        y, decayed = diagonal_step(z[..., t], log_a, d, e, modes)
        outs[1].append(y)
        assert torch.equal(state, before[0])
        assert torch.equal(modes, before[1])
        state, modes = moved, decayed
    for (expected, end), got, after in zip(whole, outs, (state, modes), strict=True):
        torch.testing.assert_close(torch.stack(got, -1), expected, **EXACT)
        torch.testing.assert_close(after, end, **EXACT)


def test_float32_stays_close_over_thousands_of_tokens():
    u, log_a, b, c, state = diagonal()
    u = rand(1, HEADS, 1, 4096)
    args = log_a, b, c
    exact, _ = diagonal_ssm(u, *args, state=state[:1, :, :1])
    single = [x.to(torch.complex64) for x in args]
    got, _ = diagonal_ssm(u.float(), *single, state=state[:1, :, :1].to(torch.complex64), chunk=512)
    torch.testing.assert_close(got.double(), exact, atol=1e-4 * exact.abs().max().item(), rtol=0)
