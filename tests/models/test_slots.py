"""Softmax attention of native models shows its scores and weights, and lets them be changed."""

import pytest
import torch

from trivium.architectures.gpt import GPT
from trivium.architectures.llama import Llama

VOCAB, TIME = 31, 9
EXACT = {"atol": 1e-10, "rtol": 1e-10}
RECIPES = {
    "whole": Llama(width=16, heads=4, kv_heads=2, context=32),
    "window": GPT(width=16, heads=4, window=3, context=32),
}
NAMES = [f"blocks.{layer}.attn.weights" for layer in range(2)]


@pytest.fixture(params=RECIPES)
def model(request):
    made = RECIPES[request.param].build(VOCAB).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
    return made


def ids(rows=2):
    return torch.randint(VOCAB, (rows, TIME), generator=torch.Generator().manual_seed(0))


def test_it_is_offered_and_seeing_changes_nothing(model):
    assert "attention" in model.offers
    plain = model(ids()).logits
    with model.capture(*NAMES) as seen:
        torch.testing.assert_close(model(ids()).logits, plain, **EXACT)
    for weights in seen.values():
        assert weights.shape == (2, 4, TIME, TIME)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, TIME, dtype=torch.float64), **EXACT)
        assert (weights.triu(1) == 0).all()
    assert torch.equal(model(ids()).logits, plain)


def test_a_window_hides_what_lies_behind_it():
    model = RECIPES["window"].build(VOCAB).double()
    with model.capture(*NAMES) as seen:
        model(ids())
    spans = [int((weights[0, 0, -1] > 0).sum()) for weights in seen.values()]
    assert sorted(spans) == [3, TIME]  # every second layer is banded


def test_padding_and_a_state_are_taken_into_account(model):
    mask = torch.ones(2, TIME, dtype=torch.bool)
    mask[0, :4] = False
    plain = model(ids(), mask=mask).logits
    with model.capture(*NAMES) as seen:
        shown = model(ids(), mask=mask).logits
    torch.testing.assert_close(shown[mask], plain[mask], **EXACT)
    assert (seen[NAMES[0]][0, :, :, :4] == 0).all()
    first = model(ids()[:, :6], keep_state=True)
    with model.capture(*NAMES) as seen:
        rest = model(ids()[:, 6:], state=first.state).logits
    torch.testing.assert_close(rest, model(ids()).logits[:, 6:], **EXACT)
    assert seen[NAMES[0]].shape == (2, 4, 3, TIME)


def test_the_output_is_made_of_what_is_shown(model):
    """o_proj reads weights times values; a head whose weights are taken away says nothing."""
    with model.capture(NAMES[0], "blocks.0.attn.v", "blocks.0.attn.z") as seen:
        model(ids())
    values = seen["blocks.0.attn.v"].transpose(1, 2)
    values = values.repeat_interleave(4 // values.shape[1], 1)
    torch.testing.assert_close((seen[NAMES[0]] @ values).transpose(1, 2), seen["blocks.0.attn.z"], **EXACT)

    def mute(weights):
        return torch.cat([weights[:, :1], torch.zeros_like(weights[:, 1:2]), weights[:, 2:]], 1)

    with model.edit({NAMES[0]: mute}), model.capture("blocks.0.attn.z") as seen:
        model(ids())
    assert (seen["blocks.0.attn.z"][:, :, 1] == 0).all()
    assert (seen["blocks.0.attn.z"][:, :, 0] != 0).any()


def test_what_a_query_may_not_see_can_be_widened_by_no_score(model):
    """Scores are masked after they were changed."""
    plain = model(ids()).logits
    with model.edit({"blocks.0.attn.scores": lambda x: x + 1000.0 * torch.ones_like(x).triu(1)}):
        torch.testing.assert_close(model(ids()).logits, plain, **EXACT)
