"""Explainers as a paper runs them, against loops that follow its authors' code."""

from dataclasses import replace

import pytest
import torch

from tests.attribution.models import Additive, Smooth
from tests.families import wrapped
from trivium.attribution import integrated_gradients
from trivium.attribution._paper import PRESETS, preset
from trivium.attribution.gradient_times_input import GradientTimesInput
from trivium.core.errors import NotOffered, UnknownName
from trivium.core.nouns import Target

IDS, TARGET = torch.tensor([7, 3, 11, 5]), Target(4)
PAPER = preset("reagent-paper")


def explain(explainer, model):
    return explainer(model, IDS, TARGET, generator=torch.Generator().manual_seed(0)).scores


def gradient(model, embeds):
    embeds = embeds.clone().requires_grad_()
    logp = model(embeds=embeds[None]).logits[0, -1].log_softmax(-1)[4]
    return torch.autograd.grad(logp, embeds)[0]


def test_integrated_gradients_weigh_101_equal_steps_alike():
    model = Smooth().eval()
    embeds = model.embed(IDS[None])[0].detach()
    total = sum(gradient(model, embeds * (step / 100)) for step in range(101))
    expected = (total / 101 * embeds).sum(-1).softmax(-1)
    torch.testing.assert_close(explain(PAPER["integrated_gradients"], model), expected)


def test_gradients_are_multiplied_with_token_plus_position():
    model = wrapped("gpt2")
    inner = model.inner.transformer
    embeds, places = inner.wte(IDS).detach(), inner.wpe(torch.arange(4)).detach()
    expected = (gradient(model, embeds) * (embeds + places)).sum(-1)
    stream = explain(GradientTimesInput(factor="stream"), model)
    torch.testing.assert_close(stream, expected, atol=1e-6, rtol=1e-5)
    assert (stream - explain(GradientTimesInput(), model)).abs().max() > 1e-4
    torch.testing.assert_close(explain(PAPER["gradient_times_input"], model), stream.softmax(-1))


def test_norms_and_attention_go_through_a_softmax():
    model = Smooth().eval()
    norms = gradient(model, model.embed(IDS[None])[0].detach()).norm(dim=-1)
    torch.testing.assert_close(explain(PAPER["gradient_norm"], model), norms.softmax(-1))
    for name in ("attention", "last_attention", "attention_rollout"):
        plain = explain(replace(PAPER[name], normalize=None), model)
        torch.testing.assert_close(explain(PAPER[name], model), plain.softmax(-1))


def test_what_flattens_is_no_default():
    for name, explainer in PAPER.items():
        assert explainer != type(explainer)(), name
    assert len(PAPER) == 8
    assert integrated_gradients.PAPER is PRESETS["reagent-paper"]["integrated_gradients"]


def test_bad_words_are_named():
    with pytest.raises(UnknownName, match="did you mean 'reagent-paper'"):
        preset("reagent_paper")
    with pytest.raises(ValueError, match="factor must be 'embedding' or 'stream', got 'both'"):
        GradientTimesInput(factor="both")
    with pytest.raises(NotOffered, match=r"needs the site 'blocks\.0\.in'"):
        explain(GradientTimesInput(factor="stream"), Additive())
