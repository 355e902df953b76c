"""Gradient SHAP: completeness on the average, exact where the model is linear, and captum's own number."""

import pytest
import torch

from tests.attribution.models import Additive, Linear, Smooth
from trivium.attribution.gradient_shap import GradientShap
from trivium.attribution.integrated_gradients import IntegratedGradients
from trivium.core.nouns import Target

IDS = torch.tensor([7, 3, 11, 3])
LOGIT = Target(4, objective="logit")


def explain(explainer, model, *, seed=0, **more):
    return explainer(model, IDS, LOGIT, generator=torch.Generator().manual_seed(seed), **more)


def test_the_sum_is_the_change_from_the_baselines_within_its_error():
    for seed in range(3):
        facts = explain(GradientShap(samples=400, noise=0.5), Smooth(), seed=seed).facts
        assert abs(facts["gap"]) < 3 * facts["gap_error"]
        assert facts["gap_error"] > 0


def test_of_a_linear_model_it_is_exact_but_for_the_noise():
    model = Linear().eval()
    found = explain(GradientShap(noise=0.0, samples=3), model)
    column, neutral = model.head[:, 4].detach(), model.table.detach().mean(0)
    expected = model.place[:4] * ((model.table.detach()[IDS] - neutral) @ column)
    torch.testing.assert_close(found.scores, expected)
    assert found.facts["gap"] == pytest.approx(0.0, abs=1e-12)
    assert (explain(GradientShap(noise=1.0, samples=3), model).scores - expected).abs().max() > 1e-3


def test_without_noise_it_comes_to_integrated_gradients():
    model = Additive()
    path = explain(IntegratedGradients(steps=200), model).scores
    torch.testing.assert_close(explain(GradientShap(noise=0.0, samples=4000), model).scores, path, atol=0.03, rtol=0.03)


def test_the_baseline_counts():
    zero, mean = (explain(GradientShap(noise=0.0, baseline=kind), Smooth()).scores for kind in ("zero", "mean"))
    assert (zero - mean).abs().max() > 1e-3
    token = explain(GradientShap(noise=0.0, baseline=3), Smooth()).scores
    assert token[1] == 0  # token 3 against itself
    assert token[0] != 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "samples must be at least 1, got 0"),
        ({"noise": -0.1}, "noise must not be negative, got -0.1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"baseline": "nothing"}, "baseline must be"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        GradientShap(**settings)


def test_captum_agrees():
    """Its gradient SHAP over the same baselines, without noise, to the error of random points."""
    captum = pytest.importorskip("captum.attr")
    model = Smooth().eval()
    embeds = model.embed(IDS[None]).detach()
    base = model.table.detach().mean(0).expand_as(embeds).contiguous()

    def forward(x):
        return LOGIT(model(embeds=x).logits[:, -1])

    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = captum.GradientShap(forward).attribute(embeds, baselines=base, n_samples=4000, stdevs=0.0)[0].sum(-1)
    ours = explain(GradientShap(noise=0.0, samples=4000), model).scores
    torch.testing.assert_close(ours, theirs.to(ours), atol=0.02, rtol=0.02)
