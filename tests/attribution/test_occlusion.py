"""Occlusion recovers the terms of a sum exactly, whatever stands for the hidden token."""

import captum.attr
import pytest
import torch

from tests.attribution.models import VOCAB, Additive, Either, Smooth
from tests.families import wrapped
from trivium.attribution.occlusion import Occlusion
from trivium.core.errors import NotOffered
from trivium.core.meter import Meter
from trivium.core.nouns import Target

IDS = torch.tensor([3, 1, 4, 1, 5, 9, 2])
TARGET = Target(6, objective="logit")


def explain(explainer, model, ids=IDS, target=TARGET, **more):
    return explainer(model, ids, target, generator=torch.Generator(), **more)


@pytest.mark.parametrize("replacement", ["mean", "zero", 8])
def test_recovers_each_term_of_a_sum(replacement):
    model = Additive()
    instead = {"mean": model.table.mean(0), "zero": torch.zeros(5).double()}.get(replacement, model.table[8])
    embeds = model.table[IDS]
    with torch.no_grad():
        expected = (model.terms(embeds[None]) - model.terms(instead.expand_as(embeds)[None]))[0, :, 6]
    torch.testing.assert_close(explain(Occlusion(replacement), model).scores, expected, atol=1e-13, rtol=0)


def test_equals_a_loop_over_positions():
    model, target = Smooth().eval(), Target(6, foil=7, objective="contrast")
    with torch.no_grad():
        whole = target(model(IDS[None]).logits[:, -1])
        expected = [
            whole - target(model(IDS.scatter(0, torch.tensor([i]), 8)[None]).logits[:, -1]) for i in range(len(IDS))
        ]
    got = explain(Occlusion(8), model, target=target)
    torch.testing.assert_close(got.scores, torch.cat(expected), atol=1e-13, rtol=0)
    assert got.facts["value"] == pytest.approx(whole.item())


def test_agrees_with_captum():
    model = Smooth().eval()
    instead = model.table.mean(0).detach()
    theirs = captum.attr.FeatureAblation(lambda e: Target(6)(model(embeds=e).logits[:, -1])).attribute(
        model.table[IDS][None].detach(),
        baselines=instead.expand(1, len(IDS), -1),
        feature_mask=torch.arange(len(IDS))[None, :, None].expand(1, -1, 5),
    )
    torch.testing.assert_close(
        explain(Occlusion(), model, target=Target(6)).scores, theirs[0, :, 0], atol=1e-10, rtol=0
    )


@pytest.mark.parametrize(("batch_size", "passes"), [(1, 8), (3, 4), (8, 2), (32, 2)])
def test_batches_change_the_passes_and_not_the_scores(batch_size, passes):
    model = Smooth()
    with Meter() as meter:
        got = explain(Occlusion(batch_size=batch_size), model)
    assert meter.spent.calls == passes
    assert meter.spent.backwards == 0
    assert meter.spent.positions == 8 * len(IDS)  # the prompt as it is, and seven with one token hidden
    torch.testing.assert_close(got.scores, explain(Occlusion(), model).scores, atol=1e-13, rtol=0)


@pytest.mark.parametrize("replacement", ["mean", 8])
@pytest.mark.parametrize("target", [TARGET, Target((6, 7), foil=(7, 8), objective="contrast")])
@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_what_stands_before_is_not_passed_again_and_changes_nothing(replacement, target, family, monkeypatch):
    model, ids = wrapped(family), torch.arange(3, 27)
    with Meter() as sharing:
        got = explain(Occlusion(replacement), model, ids, target)
    monkeypatch.setattr(model, "offers", model.offers - {"truncate"})
    with Meter() as whole:
        expected = explain(Occlusion(replacement), model, ids, target)
    # norms in single precision, and another order of sums in attention
    torch.testing.assert_close(got.scores, expected.scores, atol=1e-5, rtol=1e-5)
    assert sharing.spent.evaluations == whole.spent.evaluations
    assert sharing.spent.positions < 0.7 * whole.spent.positions


def test_a_token_for_replacement_asks_for_no_embeddings():
    model = Additive(offers=frozenset({"causal"}))
    assert explain(Occlusion(0), model).scores.abs().min() > 0
    with pytest.raises(NotOffered, match="give a token id"):
        explain(Occlusion("mean"), model)


def test_hiding_a_token_by_itself_scores_zero():
    scores = explain(Occlusion(1), Smooth()).scores
    assert scores[[1, 3]].tolist() == [0.0, 0.0]
    assert scores[[0, 2, 4, 5, 6]].abs().min() > 1e-6


def test_two_tokens_that_each_suffice_both_score_nothing():
    """The caveat of the method, seen: hiding one of them changes nothing."""
    assert explain(Occlusion(0), Either(), torch.tensor([1, 5, 2])).scores.tolist() == [0.0, 0.0, 0.0]
    assert explain(Occlusion(0), Either(), torch.tensor([1, 5, 6])).scores.tolist() == [6.0, 0.0, 0.0]


@pytest.mark.parametrize("wrong", ["average", -1, True, 0.5])
def test_an_unknown_replacement_is_refused(wrong):
    with pytest.raises(ValueError, match="replacement must be 'mean', 'zero' or a token id"):
        Occlusion(wrong)


def test_a_replacement_outside_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match=f"{VOCAB} is outside the vocabulary of {VOCAB}"):
        explain(Occlusion(VOCAB), Additive())


def test_batches_have_at_least_one_row():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        Occlusion(batch_size=0)
