import math
from pathlib import Path

import numpy as np
import pytest
import torch

from trivium.nn.experts import (
    balance_loss,
    balance_loss_reference,
    grouped_experts,
    grouped_experts_reference,
    seated_experts,
    seated_experts_reference,
    seats_by_experts,
    seats_by_tokens,
    seats_by_tokens_reference,
    shares,
    top_experts,
    top_experts_reference,
    z_loss,
)

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "moe_router_losses.npz"
TOKENS, WIDTH, HIDDEN, EXPERTS = 11, 5, 3, 4
WEIGHTS = ("gate.weight", "experts.gate_up_proj", "experts.down_proj")


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parts(k=2, normalised=True):
    """Inputs, scores and the three weights, all to be differentiated, and the choices."""
    x, scores = rand(TOKENS, WIDTH).requires_grad_(), rand(TOKENS, EXPERTS, seed=1).requires_grad_()
    gate, up = (rand(EXPERTS, HIDDEN, WIDTH, seed=seed).requires_grad_() for seed in (2, 3))
    down = rand(EXPERTS, WIDTH, HIDDEN, seed=4).requires_grad_()
    return x, scores, (gate, up, down), *top_experts(scores, k, normalised=normalised)


def equal_with_gradients(fast, slow, tensors):
    torch.testing.assert_close(fast, slow, atol=1e-12, rtol=0)
    upstream = rand(*fast.shape, seed=9)
    got, expected = (torch.autograd.grad((y * upstream).sum(), tensors, retain_graph=True) for y in (fast, slow))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=0)


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_gates_and_choices_equal_the_reference(k, normalised):
    scores = rand(TOKENS, EXPERTS, seed=1).requires_grad_()
    gates, chosen = top_experts(scores, k, normalised=normalised)
    expected, picked = top_experts_reference(scores, k, normalised=normalised)
    assert torch.equal(chosen, picked)
    equal_with_gradients(gates, expected, [scores])


def test_gates_by_hand():
    scores = torch.tensor([[1.0, 4.0, 3.0, 0.0]], dtype=torch.float64).log().nan_to_num(neginf=-50.0)
    gates, chosen = top_experts(scores, 2, normalised=False)
    assert chosen.tolist() == [[1, 2]]
    torch.testing.assert_close(gates, torch.tensor([[4 / 8, 3 / 8]], dtype=torch.float64))
    torch.testing.assert_close(top_experts(scores, 2, normalised=True)[0], gates * 8 / 7)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_one_product_per_expert_equals_the_loop_over_tokens(k):
    x, scores, weights, gates, chosen = parts(k, normalised=False)
    fast, slow = (f(x, gates, chosen, *weights) for f in (grouped_experts, grouped_experts_reference))
    equal_with_gradients(fast, slow, [x, scores, *weights])


def test_experts_that_nobody_chose_do_no_harm():
    x, _, weights, gates, _ = parts()
    chosen = torch.tensor([[3, 1]]).expand(TOKENS, 2).contiguous()
    fast, slow = (f(x, gates, chosen, *weights) for f in (grouped_experts, grouped_experts_reference))
    equal_with_gradients(fast, slow, [x, *weights])
    (gradient,) = torch.autograd.grad(fast.sum(), weights[0])
    assert gradient[0].abs().max() == gradient[2].abs().max() == 0
    assert gradient[1].abs().max() > 0


def test_a_token_gives_what_it_gives_alone():
    x, _, weights, gates, chosen = parts()
    whole = grouped_experts(x, gates, chosen, *weights)
    for token in range(TOKENS):
        one = slice(token, token + 1)
        alone = grouped_experts(x[one], gates[one], chosen[one], *weights)
        torch.testing.assert_close(whole[one], alone, atol=1e-13, rtol=0)


def test_gradients_are_those_of_finite_differences():
    x, _, weights, gates, chosen = parts()
    gates = gates.detach().requires_grad_()
    given = (x[:4].detach().requires_grad_(), gates[:4].detach().requires_grad_(), *weights)
    assert torch.autograd.gradcheck(lambda x, gates, *w: grouped_experts(x, gates, chosen[:4], *w), given)
    token, held = seats_by_tokens(gates[:4], chosen[:4], EXPERTS, 2)
    given = (given[0], held.detach().requires_grad_(), *weights)
    assert torch.autograd.gradcheck(lambda x, held, *w: seated_experts(x, token, held, *w), given)


def test_seats_by_hand():
    """Two seats an expert. Expert 0: tokens 0 and 1 by their first choice, so that token 2 finds none. Expert 1: token
    2 by its first choice before token 0 by its second; token 1 finds none."""
    chosen = torch.tensor([[0, 1], [0, 1], [1, 0]])
    gates = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    token, held = seats_by_tokens(gates, chosen, 3, 2)
    assert token[:2].tolist() == [[0, 1], [2, 0]]
    torch.testing.assert_close(held, torch.tensor([[0.9, 0.8], [0.7, 0.1], [0.0, 0.0]]))


def test_what_is_not_real_takes_no_seat():
    chosen = torch.tensor([[0, 1], [0, 1], [1, 0]])
    gates = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    token, held = seats_by_tokens(gates, chosen, 2, 2, torch.tensor([False, True, True]))
    assert token.tolist() == [[1, 2], [2, 1]]
    torch.testing.assert_close(held, torch.tensor([[0.8, 0.3], [0.7, 0.2]]))


@pytest.mark.parametrize("seats", [1, 3, 6, TOKENS])
@pytest.mark.parametrize("padded", [False, True])
def test_seats_equal_the_reference(seats, padded):
    _, scores, _, gates, chosen = parts()
    real = rand(TOKENS, seed=5) > -0.5 if padded else None
    token, held = seats_by_tokens(gates, chosen, EXPERTS, seats, real)
    other, expected = seats_by_tokens_reference(gates, chosen, EXPERTS, seats, real)
    assert torch.equal(token[held > 0], other[expected > 0])
    equal_with_gradients(held, expected, [scores])
    if padded:
        assert 0 < int(real.sum()) < TOKENS


@pytest.mark.parametrize("seats", [2, 5])
def test_seated_experts_equal_the_loop_over_seats(seats):
    x, scores, weights, gates, chosen = parts()
    token, held = seats_by_tokens(gates, chosen, EXPERTS, seats)
    fast, slow = (f(x, token, held, *weights) for f in (seated_experts, seated_experts_reference))
    equal_with_gradients(fast, slow, [x, scores, *weights])


def test_with_a_seat_for_everyone_nothing_is_lost():
    x, scores, weights, gates, chosen = parts()
    seated = seated_experts(x, *seats_by_tokens(gates, chosen, EXPERTS, TOKENS), *weights)
    equal_with_gradients(seated, grouped_experts(x, gates, chosen, *weights), [x, scores, *weights])


def test_experts_take_their_best_real_tokens():
    p = torch.tensor([[0.1, 0.9], [0.6, 0.4], [0.8, 0.2], [0.3, 0.7]])
    token, held = seats_by_experts(p, 2)
    assert token.tolist() == [[2, 1], [0, 3]]
    torch.testing.assert_close(held, torch.tensor([[0.8, 0.6], [0.9, 0.7]]))
    token, held = seats_by_experts(p, 2, torch.tensor([False, True, True, True]))
    assert token.tolist() == [[2, 1], [3, 1]]
    torch.testing.assert_close(held, torch.tensor([[0.8, 0.6], [0.7, 0.4]]))


def test_balance_by_hand():
    """f = (2/3, 1/3) and mean p = (7/12, 5/12): 2 (2/3 7/12 + 1/3 5/12) = 19/18."""
    p = torch.tensor([[[0.75, 0.25], [0.75, 0.25], [0.25, 0.75]]], dtype=torch.float64)
    chosen = torch.tensor([[[0], [0], [1]]])
    assert shares(chosen, 2).tolist() == [pytest.approx([2 / 3, 1 / 3])]
    assert balance_loss(p, chosen).mean().item() == pytest.approx(19 / 18)


@pytest.mark.parametrize("padded", [False, True])
def test_balance_equals_the_reference_and_holds_the_shares_constant(padded):
    scores = rand(2, TOKENS, EXPERTS, seed=6).requires_grad_()
    p = scores.softmax(-1)
    chosen = p.topk(2, -1).indices
    real = rand(2, TOKENS, seed=7) > -0.5 if padded else None
    equal_with_gradients(balance_loss(p, chosen, real), balance_loss_reference(p, chosen, real), [scores])
    assert torch.autograd.gradcheck(lambda scores: balance_loss(scores.softmax(-1), chosen, real), scores)


def test_balance_is_one_where_probabilities_are_even_and_more_where_likely_experts_are_busy():
    even = torch.full((1, TOKENS, EXPERTS), 1 / EXPERTS, dtype=torch.float64)
    chosen = rand(1, TOKENS, EXPERTS).topk(2, -1).indices
    torch.testing.assert_close(balance_loss(even, chosen), torch.ones(1, TOKENS, dtype=torch.float64))
    uneven = (rand(1, TOKENS, EXPERTS) + torch.tensor([3.0, 0.0, 0.0, 0.0])).softmax(-1)
    assert balance_loss(uneven, uneven.topk(1, -1).indices).mean() > 2


def test_z_by_hand():
    scores = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]], dtype=torch.float64)
    expected = torch.tensor([[math.log(2) ** 2, (1 + math.log(2)) ** 2]], dtype=torch.float64)
    torch.testing.assert_close(z_loss(scores), expected)


@pytest.fixture
def library():
    if not VECTORS.is_file():
        pytest.skip(f"the outputs of transformers are not beside this checkout ({VECTORS.parent.name}/{VECTORS.name})")
    return {name: torch.from_numpy(array) for name, array in np.load(VECTORS).items()}


def close(got, expected):
    """The library computes in float32."""
    torch.testing.assert_close(got.float(), expected.float(), atol=1e-5, rtol=1e-5)


def test_row_by_row_the_balance_is_that_of_switch(library):
    p = library["in_router_logits"].softmax(-1)
    close(balance_loss(p, p.topk(1, -1).indices).mean(), library["out_switch_balance"])


@pytest.mark.parametrize("k", [1, 2, 3])
def test_pooled_the_balance_is_that_of_mixtral_over_k(library, k):
    """There the shares sum to k. Its loss over two layers pools their counts, which is no mean of two losses."""
    scores = library["in_mixtral_layer0_logits"].clone().requires_grad_()
    p = scores.softmax(-1)[None]
    chosen = p.topk(k, -1).indices
    loss = balance_loss(p, chosen).mean()
    close(loss * k, library[f"out_mixtral_balance_one_layer_top{k}"])
    if k == 2:
        (gradient,) = torch.autograd.grad(loss * k, scores)
        close(gradient, library["grad_mixtral_balance_one_layer_top2_logits"])
    real = library["in_mixtral_attention_mask"].bool().flatten()[None]
    masked = balance_loss(p, chosen, real).sum() / real.sum()
    close(masked * k, library[f"out_mixtral_balance_one_layer_masked_top{k}"])


def test_the_z_loss_is_that_of_switch(library):
    scores = library["in_router_logits"].clone().requires_grad_()
    loss = z_loss(scores).mean()
    close(loss, library["out_switch_z"])
    close(torch.autograd.grad(loss, scores)[0], library["grad_switch_z_logits"])


def test_the_block_is_that_of_mixtral(library):
    x = library["in_block_x"].clone().requires_grad_()
    weights = {name: library[f"w__{name}"].clone().requires_grad_() for name in WEIGHTS}
    gate, up = weights["experts.gate_up_proj"].chunk(2, 1)
    rows = x.flatten(0, 1)
    gates, chosen = top_experts(rows @ weights["gate.weight"].T, 2, normalised=True)
    y = grouped_experts(rows, gates, chosen, gate, up, weights["experts.down_proj"]).view_as(x)
    close(y, library["out_block"])
    got = torch.autograd.grad((y * library["in_block_upstream_grad"]).sum(), [x, *weights.values()])
    close(got[0], library["grad_block_x"])
    for name, gradient in zip(WEIGHTS, got[1:], strict=True):
        close(gradient, library[f"grad_w__{name}"])
