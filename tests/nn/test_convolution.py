import itertools

import pytest
import torch
import torch.nn.functional as F

from trivium.nn.convolution import short_convolution, short_convolution_reference
from trivium.nn.linear_attention import document_numbers

BATCH, TIME, CHANNELS = 2, 15, 4
EXACT = {"atol": 1e-12, "rtol": 0}


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def padding():
    real = torch.ones(BATCH, TIME, dtype=torch.bool)
    real[0, :4] = real[0, 6] = real[1, 5:7] = real[1, -3:] = False
    return real


def documents(real=None):
    segments = torch.tensor([[0] * 5 + [1] * 3 + [2] * 7, [4] * 8 + [1] + [4] * 6])
    return document_numbers(segments, real)


CASES = {
    "plain": {},
    "padded": {"real": padding()},
    "packed": {"documents": documents()},
    "padded and packed": {"real": padding(), "documents": documents(padding())},
}


@pytest.mark.parametrize("facts", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("taps", [1, 2, 3, 5])
@pytest.mark.parametrize("biased", [False, True])
def test_outputs_states_and_gradients_equal_the_loop(taps, biased, facts):
    tensors = [rand(BATCH, TIME, CHANNELS), rand(CHANNELS, taps, seed=1)]
    tensors = [x.requires_grad_() for x in ([*tensors, rand(CHANNELS, seed=2)] if biased else tensors)]
    state = rand(BATCH, taps - 1, CHANNELS, seed=3).requires_grad_()
    real = facts.get("real", torch.ones(BATCH, TIME, dtype=torch.bool))[..., None]
    fast, end = short_convolution(*tensors, state=state, **facts)
    slow, slow_end = short_convolution_reference(*tensors, state=state, **facts)
    torch.testing.assert_close(fast * real, slow, **EXACT)
    torch.testing.assert_close(end, slow_end, **EXACT)
    weights = rand(*slow.shape, seed=5), rand(*end.shape, seed=6)
    sums = [(y * weights[0]).sum() + (z * weights[1]).sum() for y, z in ((fast * real, end), (slow, slow_end))]
    wanted = [*tensors, state]
    got, expected = (torch.autograd.grad(x, wanted, allow_unused=True, materialize_grads=True) for x in sums)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_it_is_the_convolution_of_torch():
    x, weight, bias = rand(BATCH, TIME, CHANNELS), rand(CHANNELS, 3, seed=1), rand(CHANNELS, seed=2)
    expected = F.conv1d(F.pad(x.mT, (2, 0)), weight.flip(1)[:, None], bias, groups=CHANNELS).mT
    torch.testing.assert_close(short_convolution(x, weight, bias)[0], expected, **EXACT)


def test_a_hand_worked_row():
    x = torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1)
    y, state = short_convolution(x, torch.tensor([[3.0, 2.0, 1.0]]))
    assert y.flatten().tolist() == [3.0, 32.0, 321.0]
    assert state.flatten().tolist() == [10.0, 100.0]


@pytest.mark.parametrize("sizes", [[1] * TIME, [4, 1, 10], [14, 1]])
@pytest.mark.parametrize("facts", [{}, {"real": padding()}], ids=["plain", "padded"])
def test_pieces_of_any_lengths_hand_the_state_over(sizes, facts):
    x, weight = rand(BATCH, TIME, CHANNELS), rand(CHANNELS, 3, seed=1)
    whole, end = short_convolution_reference(x, weight, **facts)
    state, outs = None, []
    for start, stop in itertools.pairwise([0, *itertools.accumulate(sizes)]):
        part = {name: y[:, start:stop] for name, y in facts.items()}
        out, state = short_convolution(x[:, start:stop], weight, state=state, **part)
        outs.append(out)
    real = facts.get("real", torch.ones(BATCH, TIME, dtype=torch.bool))[..., None]
    torch.testing.assert_close(torch.cat(outs, 1) * real, whole, **EXACT)
    torch.testing.assert_close(state, end, **EXACT)
