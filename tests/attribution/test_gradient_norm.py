"""Gradient norm, by finite differences and by hand."""

import pytest
import torch

from tests.attribution.models import Linear, Smooth
from trivium.attribution.gradient_norm import GradientNorm
from trivium.core.nouns import Target

IDS = torch.tensor([7, 3, 11, 3])
LOGIT = Target(4, objective="logit")


def explain(explainer, model, **more):
    return explainer(model, IDS, LOGIT, generator=torch.Generator(), **more)


def test_of_a_linear_model_it_is_the_norm_of_its_weights():
    """The gradient at place i is place_i times the head's column of the target."""
    model = Linear().eval()
    column = model.head[:, 4].detach()
    expected = model.place[:4].abs()
    torch.testing.assert_close(explain(GradientNorm(), model).scores, expected * column.norm())
    torch.testing.assert_close(explain(GradientNorm(norm="l1"), model).scores, expected * column.abs().sum())


def test_the_steepest_rise_is_as_steep_as_it_says():
    """A step along the gradient's own direction changes the prediction by its norm."""
    model = Smooth().eval()
    found = explain(GradientNorm(), model).scores
    embeds = model.embed(IDS[None]).detach().requires_grad_()
    value = LOGIT(model(embeds=embeds).logits[:, -1])
    (gradient,) = torch.autograd.grad(value.sum(), embeds)
    for place in range(4):
        step = torch.zeros_like(embeds)
        step[0, place] = 1e-5 * gradient[0, place] / gradient[0, place].norm()
        with torch.no_grad():
            ends = [LOGIT(model(embeds=embeds + sign * step).logits[:, -1]).item() for sign in (1, -1)]
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(found[place].item(), rel=1e-3)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="norm must be 'l2' or 'l1', got 'max'"):
        GradientNorm(norm="max")
