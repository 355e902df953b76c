"""Traces: quadratic and linear models with closed forms, exact Hessians of small networks, and what scaling does."""

import pytest
import torch
import torch.nn.functional as F

from trivium.core.seeds import generator
from trivium.nn.curvature import hutchinson, hutchinson_reference, score_squares, score_squares_reference
from trivium.nn.norms import rms_norm


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def within(samples, exact, errors=3.0):
    """The mean of the samples is that many standard errors from the exact value at most, and the error is small."""
    mean, error = samples.mean(0), samples.std(0) / len(samples) ** 0.5
    assert ((mean - exact).abs() <= errors * error + 1e-12).all(), (mean, exact, error)
    assert (error <= 0.2 * exact.abs() + 1e-12).all()


def network(seed=0):
    """A small network with a tensor that does not matter, and its logits."""
    tensors = [rand(4, 3, seed=seed + 1), rand(3, seed=seed + 2), rand(3, 5, seed=seed + 3), rand(2, seed=seed + 4)]
    tensors = [tensor.requires_grad_() for tensor in tensors]
    return tensors, torch.tanh(rand(6, 4, seed=seed) @ tensors[0] + tensors[1]) @ tensors[2]


def loss_of(logits):
    return F.cross_entropy(logits, torch.tensor([0, 1, 2, 3, 4, 0]))


def test_a_quadratic_with_two_blocks():
    a = rand(7, 7)
    a = a @ a.mT
    x, y = rand(2, 2, seed=1).requires_grad_(), rand(3, seed=2).requires_grad_()
    z = torch.cat((x.flatten(), y))
    loss = z @ a @ z / 2
    exact = torch.stack([a.diagonal()[:4].sum(), a.diagonal()[4:].sum()])
    torch.testing.assert_close(hutchinson_reference(loss, [x, y]), exact, atol=1e-10, rtol=0)
    within(hutchinson(loss, [x, y], 400, generator=generator(3)), exact)
    diagonal = (torch.arange(1.0, 5.0) * x.flatten().square()).sum() / 2  # then a single draw is exact
    assert hutchinson(diagonal, [x, y], 2, generator=generator(3)).tolist() == [[10.0, 0.0]] * 2
    assert hutchinson(x.sum(), [x, y], 1, generator=generator(3)).tolist() == [[0.0, 0.0]]  # no curvature at all


def test_the_reference_is_the_hessian_itself():
    tensors, logits = network()
    got = hutchinson_reference(loss_of(logits), tensors)
    inputs = rand(6, 4)

    def of(w, b, u, idle):
        return loss_of(torch.tanh(inputs @ w + b) @ u)

    blocks = torch.autograd.functional.hessian(of, tuple(tensor.detach() for tensor in tensors))
    exact = [blocks[i][i].reshape(t.numel(), t.numel()).trace() for i, t in enumerate(tensors)]
    torch.testing.assert_close(got, torch.stack(exact), atol=1e-10, rtol=0)
    within(hutchinson(loss_of(logits), tensors, 800, generator=generator(1)), got)


def test_scores_of_a_linear_softmax_have_a_closed_form():
    x, w = rand(6, 4), rand(4, 5, seed=1).requires_grad_()
    logits = x @ w
    exact = ((1 - logits.softmax(-1).square().sum(-1)) * x.square().sum(-1)).sum().detach()[None]
    torch.testing.assert_close(score_squares_reference(logits, [w]), exact, atol=1e-10, rtol=0)
    within(score_squares(logits, [w], 1000, generator=generator(2)), exact)
    hessian = hutchinson_reference(6 * loss_of(logits), [w])  # linear in w: the two matrices are one, whatever y is
    torch.testing.assert_close(hessian, exact, atol=1e-10, rtol=0)


def test_scores_of_a_network_are_those_of_all_answers():
    tensors, logits = network()
    exact = score_squares_reference(logits, tensors)
    assert exact[-1] == 0
    within(score_squares(logits, tensors, 800, generator=generator(2)), exact)


def test_where_the_data_are_the_models_own_the_two_traces_meet():
    """The mean of the Hessian over answers drawn from the model is the Gauss-Newton matrix."""
    tensors, logits = network()
    logp = logits.log_softmax(-1)
    expected = -(logp.exp().detach() * logp).sum()  # answers in their proportions
    exact = score_squares_reference(logits, tensors)
    torch.testing.assert_close(hutchinson_reference(expected, tensors), exact, atol=1e-9, rtol=0)


def test_draws_in_two_lots_are_the_same_draws_and_a_seed_gives_the_same_ones():
    tensors, logits = network()
    for estimate, given in ((hutchinson, loss_of(logits)), (score_squares, logits)):
        whole = estimate(given, tensors, 6, generator=generator(5))
        draw = generator(5)
        lots = [estimate(given, tensors, count, generator=draw) for count in (2, 4)]
        assert torch.equal(torch.cat(lots), whole)
        assert not torch.equal(estimate(given, tensors, 6, generator=generator(6)), whole)
        assert not whole.requires_grad


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_a_matrix_before_a_norm_can_be_scaled_and_the_trace_is_not_what_it_was(factor):
    """The caveat: one function, another trace; times the squared length of the tensor it is the same again."""

    def traces(scale):
        w = (scale * rand(4, 3, seed=1)).requires_grad_()
        logits = rms_norm(rand(6, 4) @ w, eps=1e-12) @ rand(3, 5, seed=2)
        length = w.detach().square().sum()
        return logits.detach(), *(
            torch.stack([trace[0], trace[0] * length])
            for trace in (score_squares_reference(logits, [w]), hutchinson_reference(loss_of(logits), [w]))
        )

    (plain, *before), (scaled, *after) = traces(1.0), traces(factor)
    torch.testing.assert_close(scaled, plain, atol=1e-9, rtol=0)
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new[0] * factor**2, old[0], atol=1e-8, rtol=0)
        torch.testing.assert_close(new[1], old[1], atol=1e-8, rtol=1e-8)
