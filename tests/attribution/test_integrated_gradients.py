"""Integrated gradients: complete on smooth models, exact on linear ones, and honest where it does not converge."""

import logging

import captum.attr
import pytest
import torch

from tests.attribution.models import VOCAB, Length, Linear, Smooth
from trivium.attribution.gradient_times_input import GradientTimesInput
from trivium.attribution.integrated_gradients import IntegratedGradients
from trivium.core.errors import NotFinite
from trivium.core.meter import Meter
from trivium.core.nouns import Target

IDS = torch.tensor([3, 1, 4, 1, 5, 9, 2])


def explain(explainer, model, ids=IDS, target=Target(6, objective="logit"), **more):
    return explainer(model, ids, target, generator=torch.Generator(), **more)


@pytest.mark.parametrize("rule", ["gauss_legendre", "trapezoid"])
def test_the_rule_integrates(rule):
    points, weights = IntegratedGradients(steps=300, rule=rule).nodes()
    assert weights.sum().item() == pytest.approx(1, abs=1e-12)
    # The trapezoid rule errs by f'(1) h^2 / 12 at most, 1.5e-6 here; Gauss-Legendre is exact to rounding.
    assert (weights * points.exp()).sum().item() == pytest.approx(
        torch.e - 1, abs=3e-6 if rule == "trapezoid" else 1e-12
    )


def test_on_a_linear_model_one_step_is_gradient_times_input():
    got = explain(IntegratedGradients(steps=1, baseline="zero"), Linear())
    expected = explain(GradientTimesInput(), Linear())
    torch.testing.assert_close(got.scores, expected.scores, atol=1e-13, rtol=0)
    assert got.facts["gap"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("rule", ["gauss_legendre", "trapezoid"])
@pytest.mark.parametrize("baseline", ["zero", "mean", 8])
def test_completeness_within_a_percent_at_300_steps_and_the_error_falls(rule, baseline):
    model = Smooth()
    few, more, many = (
        explain(IntegratedGradients(steps=steps, baseline=baseline, rule=rule), model) for steps in (3, 10, 300)
    )
    assert many.facts["relative_gap"] < 0.01
    assert many.facts["converged"] == 1.0
    assert abs(few.facts["gap"]) > abs(more.facts["gap"]) > abs(many.facts["gap"])


def test_the_facts_are_the_models_own_numbers():
    model = Smooth()
    got = explain(IntegratedGradients(steps=5, baseline=8), model)
    with torch.no_grad():
        rows = torch.stack([IDS, torch.full_like(IDS, 8)])
        value, base = model.eval()(rows).logits[:, -1, 6].tolist()
    assert got.facts["value"] == pytest.approx(value)
    assert got.facts["baseline_value"] == pytest.approx(base)
    assert got.facts["gap"] == pytest.approx(got.scores.sum().item() - (value - base))
    assert got.facts["relative_gap"] == pytest.approx(abs(got.facts["gap"] / (value - base)))


@pytest.mark.parametrize("steps", [4, 33, 70])
def test_agrees_with_captum(steps):
    model = Smooth().eval()
    embeds = model.table[IDS][None].detach()
    theirs = captum.attr.IntegratedGradients(lambda e: Target(6)(model(embeds=e).logits[:, -1])).attribute(
        embeds, baselines=torch.zeros_like(embeds), n_steps=steps, method="gausslegendre"
    )
    got = explain(IntegratedGradients(steps=steps, baseline="zero"), model, target=Target(6))
    # captum keeps nodes and weights in single precision, so 1e-7 of scores of order 1 is all it can agree to
    torch.testing.assert_close(got.scores, theirs[0].sum(-1), atol=1e-7, rtol=0)


def test_a_gap_above_five_percent_is_told_and_logged(caplog):
    with caplog.at_level(logging.WARNING, logger="trivium"):
        rough = explain(IntegratedGradients(steps=1), Smooth())
    assert rough.facts["relative_gap"] > 0.05
    assert rough.facts["converged"] == 0.0
    assert "did not converge in 1 steps" in caplog.text
    assert "occlusion" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="trivium"):
        explain(IntegratedGradients(steps=50), Smooth())
    assert caplog.text == ""


def test_the_end_of_the_path_is_where_the_rules_differ():
    """At an all-zero embedding a length has no gradient: the trapezoid rule meets it, Gauss-Legendre does not."""
    with pytest.raises(NotFinite, match="choose another baseline or rule"):
        explain(IntegratedGradients(rule="trapezoid", baseline="zero"), Length())
    got = explain(IntegratedGradients(baseline="zero"), Length())
    torch.testing.assert_close(got.scores, 6 * Length().table[IDS].norm(dim=-1).detach(), atol=1e-12, rtol=0)


def test_where_prompt_and_baseline_agree_there_is_no_relative_gap():
    got = explain(IntegratedGradients(baseline=8, steps=3), Smooth(), torch.tensor([8, 8]))
    assert got.scores.tolist() == [0.0, 0.0]
    assert got.facts["converged"] == 1.0
    assert "relative_gap" not in got.facts


def test_frozen_positions_stay_in_the_baseline_and_completeness_holds():
    frozen = torch.tensor([True, False, False, True, False, False, False])
    got = explain(IntegratedGradients(steps=60), Smooth(), frozen=frozen)
    assert got.scores[frozen].tolist() == [0.0, 0.0]
    assert got.facts["relative_gap"] < 1e-6


@pytest.mark.parametrize(("steps", "batch_size", "passes"), [(10, 32, 1), (33, 32, 2), (5, 1, 5)])
def test_path_points_go_in_batches(steps, batch_size, passes):
    with Meter() as meter:
        got = explain(IntegratedGradients(steps=steps, batch_size=batch_size), Smooth())
    assert meter.spent.backwards == passes
    assert meter.spent.calls == passes + 1  # and one for the completeness gap
    assert meter.spent.positions == (steps + 2) * len(IDS)
    whole = explain(IntegratedGradients(steps=steps, batch_size=1000), Smooth())
    torch.testing.assert_close(got.scores, whole.scores, atol=1e-13, rtol=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"steps": 1, "rule": "trapezoid"}, "steps must be at least 2"),
        ({"rule": "simpson"}, "rule must be"),
        ({"baseline": "black"}, "baseline must be 'mean', 'zero' or a token id"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_bad_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        IntegratedGradients(**wrong)


def test_a_baseline_outside_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match=f"outside the vocabulary of {VOCAB}"):
        explain(IntegratedGradients(baseline=VOCAB), Smooth())
