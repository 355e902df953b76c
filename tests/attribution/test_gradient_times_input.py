"""Gradient × input is exact where the model is linear, and the directional derivative everywhere else."""

import captum.attr
import pytest
import torch

from tests.attribution.models import Linear, Smooth
from tests.families import wrapped
from trivium.attribution.gradient_times_input import GradientTimesInput
from trivium.core.meter import Meter
from trivium.core.nouns import Target

IDS = torch.tensor([3, 1, 4, 1, 5, 9, 2])


def explain(model, ids=IDS, target=Target(6, objective="logit"), **more):
    return GradientTimesInput()(model, ids, target, generator=torch.Generator(), **more)


def test_linear_model_each_score_is_its_term():
    model = Linear()
    with torch.no_grad():
        terms = model.terms(model.table[IDS][None])[0, :, 6]
    got = explain(model)
    torch.testing.assert_close(got.scores, terms, atol=1e-13, rtol=0)
    assert got.scores.sum().item() == pytest.approx(got.facts["value"], abs=1e-12)  # f(E) - f(0), and f(0) is 0


@pytest.mark.parametrize("objective", ["logprob", "logit", "prob", "contrast"])
def test_each_score_is_the_slope_of_growing_that_embedding(objective):
    """d/de f(E with E_i (1 + e)) at e = 0, by central differences: error O(step^2), so 1e-7 at a step of 1e-4."""
    model, step = Smooth().eval(), 1e-4
    target = Target(6, foil=7 if objective == "contrast" else None, objective=objective)
    embeds = model.table[IDS].detach()
    slopes = []
    for place in range(len(IDS)):
        grown, shrunk = embeds.clone(), embeds.clone()
        grown[place] *= 1 + step
        shrunk[place] *= 1 - step
        with torch.no_grad():
            high, low = target(model(embeds=torch.stack([grown, shrunk])).logits[:, -1])
        slopes.append((high - low) / (2 * step))
    torch.testing.assert_close(explain(model, target=target).scores, torch.stack(slopes), atol=1e-7, rtol=0)


def test_agrees_with_captum():
    model = Smooth().eval()
    inputs = model.table[IDS][None].detach().requires_grad_()
    theirs = captum.attr.InputXGradient(lambda e: Target(6)(model(embeds=e).logits[:, -1])).attribute(inputs)
    torch.testing.assert_close(explain(model, target=Target(6)).scores, theirs[0].sum(-1), atol=1e-12, rtol=0)


def test_embeddings_that_the_model_scales_are_scaled_once():
    """Gemma multiplies embeddings by sqrt(width). E . df/dE is the same for the scaled embedding as for the weight it
    came from, so the gradient of the weights themselves is the oracle."""
    model = wrapped("gemma", tie_word_embeddings=False)
    ids, target = torch.tensor([5, 9, 33, 21, 7]), Target(11)  # no token twice, so a row of weights is a position
    got = explain(model, ids, target)
    weight = model.inner.get_input_embeddings().weight
    value = target(model(ids[None]).logits[:, -1]).sum()
    (gradient,) = torch.autograd.grad(value, weight)
    torch.testing.assert_close(got.scores, (weight * gradient).sum(-1)[ids].detach(), atol=1e-10, rtol=1e-8)
    assert got.scores.abs().max() > 1e-3


def test_costs_one_pass_each_way():
    with Meter() as meter:
        explain(Smooth())
    assert (meter.spent.calls, meter.spent.backwards, meter.spent.positions) == (1, 1, len(IDS))
