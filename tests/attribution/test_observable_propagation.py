"""Paths add up to the prediction however many are taken apart, and are what a slow loop over all of them gives."""

from dataclasses import replace

import pytest
import torch

from tests.families import ATTENTION_FAMILIES, build, wrapped
from tests.models.attention_only import attention_only
from trivium.attribution.observable_propagation import ObservablePropagation
from trivium.core.nouns import Target
from trivium.models.huggingface import wrap
from trivium.models.observables import FeedForward, Head
from trivium.models.stream import Stream

IDS = torch.tensor([7, 3, 11, 3, 2, 12, 5, 1])
CONTRAST = Target(4, foil=9, objective="contrast")
ALL = 10_000


def explain(model, target=CONTRAST, ids=IDS, **settings):
    return ObservablePropagation(**settings)(model, ids, target, generator=torch.Generator())


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
@pytest.mark.parametrize(
    ("settings", "target"),
    [
        ({"max_length": 1}, CONTRAST),
        ({"num_paths": 0}, CONTRAST),
        ({"num_paths": 5, "max_length": 4}, Target(4)),
        ({"num_paths": 20, "at": "mean"}, Target(4, objective="prob")),
        ({"at": "boundary"}, Target(4, objective="logit")),
    ],
)
def test_scores_and_constant_are_the_prediction(family, settings, target):
    got = explain(wrapped(family), target, **settings)
    facts = got.facts
    # norms in single precision: 1e-6 of terms of order 1
    assert abs(facts["gap"]) < 1e-5
    assert float(got.scores.sum()) + facts["constant"] + facts["remainder"] == pytest.approx(facts["value"], abs=1e-5)
    sorts = sum(facts[name] for name in ("start", "heads", "feed_forwards", "shortcuts"))
    assert sorts == pytest.approx(float(got.scores.sum()), abs=1e-6)


def test_of_paths_of_one_step_the_scores_are_the_terms_of_the_last_place():
    model = attention_only(2)
    stream = Stream(model, IDS, CONTRAST)
    terms = stream.terms(stream.direction, 7)
    expected = terms.heads.sum((0, 1))
    expected[7] += terms.start
    torch.testing.assert_close(explain(model, max_length=1).scores, expected)
    torch.testing.assert_close(explain(model, num_paths=0).scores, expected)


def test_all_paths_of_two_layers_are_those_of_a_slow_loop():
    """Every way from an embedding through no head, one or two, by matrices, patterns and the norms' own scales."""
    model = attention_only(2)
    stream = Stream(model, IDS, CONTRAST)
    x0 = stream.at(0, "in")
    expected = torch.zeros(8, dtype=torch.float64)
    expected[7] += stream.direction @ x0[7]

    def step(layer, head, y, place, source):
        """y above a head at a place -> in the stream at the source."""
        part = stream.parts[layer]
        read = stream.at(layer, "in")[source]
        scale = part.norm.scale(read)
        y = part.values[head // part.share].T @ (part.outputs[head].T @ y)
        return stream.at(layer, "attn.weights")[head, place, source] * part.norm.gain * y / scale

    for head in range(4):
        for source in range(8):
            expected[source] += step(0, head, stream.direction, 7, source) @ x0[source]
            y = step(1, head, stream.direction, 7, source)
            expected[source] += y @ x0[source]
            for lower in range(4):
                for token in range(8):
                    expected[token] += step(0, lower, y, source, token) @ x0[token]
    got = explain(model, num_paths=ALL, max_length=3)
    torch.testing.assert_close(got.scores, expected, atol=1e-12, rtol=1e-9)
    assert got.facts["heads"] + got.facts["start"] == pytest.approx(got.facts["value"])


def test_the_strongest_terms_are_taken_apart_and_paths_are_what_they_say():
    stream = Stream(wrapped("llama"), IDS, CONTRAST)
    found = ObservablePropagation(num_paths=3, max_length=2).search(stream)
    terms = stream.terms(stream.direction, 7)
    everything = torch.cat([terms.heads.flatten(), terms.feed_forwards])
    best = everything[everything.abs().topk(3).indices].tolist()
    first, second = found.paths[:3], found.paths[3:]
    assert [path.value for path in first] == pytest.approx(best)
    assert [len(path.steps) for path in found.paths] == [1, 1, 1, 2, 2, 2]
    beginnings = {path.steps for path in first}
    values = []
    for path in first:
        (node, token) = path.steps[0]
        assert terms.heads[node.layer, node.head, token] if isinstance(node, Head) else terms.feed_forwards[node.layer]
        below = stream.terms(path.direction, token, node)
        values += torch.cat([below.heads.flatten(), below.feed_forwards]).tolist()
    values.sort(key=lambda value: -abs(value))
    assert [path.value for path in second] == pytest.approx(values[:3])
    for path in second:
        assert path.steps[:1] in beginnings
        upper, lower = path.steps
        assert lower[0].layer < upper[0].layer or isinstance(upper[0], FeedForward)
        assert str(path) == f"{upper[0]}@{upper[1]} <- {lower[0]}@{lower[1]}"


def test_a_feed_forward_is_passed_by_its_slope_and_keeps_the_rest():
    """One feed-forward on the path: what leaves its token is slope . stream, and comes back by token."""
    model = wrapped("gpt2")
    stream = Stream(model, IDS, CONTRAST)
    search = ObservablePropagation(num_paths=1, max_length=2)
    search_all = replace(search, num_paths=ALL)
    terms = stream.terms(stream.direction, 7)
    direction, bias = stream.into(stream.direction, 7, FeedForward(1), 7)
    passed = float(direction @ stream.read(FeedForward(1))[7] + bias)
    below = stream.terms(direction, 7, FeedForward(1))
    one_step = ObservablePropagation(max_length=1).search(stream).scores
    expected = one_step + below.heads.sum((0, 1))
    expected[7] += below.start + below.feed_forwards.sum() - passed
    terms.heads.zero_()
    terms.feed_forwards[0] = 0

    class Only(type(stream)):
        """Shows the search one term."""

        def terms(self, y, place, below=None, against=None):
            found = super().terms(y, place, below, against)
            if below is None:
                found.heads.zero_()
                found.feed_forwards[0] = 0
            return found

    stream.__class__ = Only
    got = search.search(stream).scores
    missing = one_step.clone()
    missing[7] = 0
    hidden = Stream(model, IDS, CONTRAST).terms(stream.direction, 7)
    restored = got + hidden.heads.sum((0, 1))
    restored[7] += hidden.feed_forwards[0]
    torch.testing.assert_close(restored, expected, atol=1e-9, rtol=1e-9)
    assert len(search_all.search(stream).paths) > 1


def test_against_another_prompt_scores_are_the_difference_that_patching_makes():
    """Values and outputs of the other prompt under the patterns of this one, put in place by edits."""
    model = wrapped("opt")
    here, there = Stream(model, IDS, CONTRAST), Stream(model, IDS.flip(0), CONTRAST)
    patched = here.direction @ there.at(0, "in")[7]
    for layer, part in enumerate(here.parts):
        pattern = here.at(layer, "attn.weights")[:, 7]
        z = torch.einsum("gns,sgd->gnd", pattern.unflatten(0, (-1, part.share)), there.at(layer, "attn.v"))
        added = torch.einsum("hd,hwd->w", z.flatten(0, 1), part.outputs) + part.output_bias
        patched = patched + here.direction @ (added + there.at(layer, "mlp.out")[7])
    expected = float(here.direction @ here.at(1, "out")[7] - patched)
    for settings in ({"max_length": 1}, {"num_paths": 6, "max_length": 3}):
        found = ObservablePropagation(**settings).search(here, there)
        assert float(found.scores.sum()) == pytest.approx(expected)
        assert found.constant == 0.0
    same = ObservablePropagation().search(here, here)
    assert same.scores.abs().max() == 0.0
    assert same.paths == ()


def test_another_point_of_a_feed_forward_moves_scores_and_not_their_sum():
    found = [explain(wrapped("llama"), at=at).scores for at in ("activation", "mean", "boundary")]
    for other in found[1:]:
        assert (other - found[0]).abs().max() > 1e-3
        assert float(other.sum()) == pytest.approx(float(found[0].sum()), abs=1e-5)


def test_soft_caps_are_told_of(caplog):
    model = wrap(build("gemma", final_logit_softcapping=3.0))
    got = explain(model)
    assert "squashed softly to 3.0" in caplog.text
    assert abs(got.facts["remainder"]) > 1e-4
    assert abs(got.facts["gap"]) < 1e-5
    caplog.clear()
    explain(model, Target(4))
    assert "squashed" not in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_paths": -1}, "num_paths must be at least 0, got -1"),
        ({"max_length": 0}, "max_length must be at least 1, got 0"),
        ({"at": "here"}, "at must be one of activation, mean, boundary; got 'here'"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ObservablePropagation(**settings)


@pytest.mark.slow
def test_of_a_pretrained_model_the_indirect_object_is_what_counts():
    """SmolLM2 prefers Mary to John by 6.12, and the terms of single heads and of the stream add up to that."""
    from trivium.models.sources import load

    system = load("smollm2-135m")
    ids = system.prompt("When Mary and John went to the store, John gave a drink to")[0]
    mary, john = (system.tokenizer.encode(f"a {name}")[-1] for name in ("Mary", "John"))
    got = explain(system.model, Target(mary, foil=john, objective="contrast"), ids)
    assert got.facts["value"] == pytest.approx(6.1196, abs=1e-3)
    assert float(got.scores.sum()) == pytest.approx(got.facts["value"], abs=1e-3)
    assert int(got.scores.argmax()) == ids.tolist().index(mary)
    stream = Stream(system.model, ids, Target(mary, foil=john, objective="contrast"))
    for layer in (0, 10, 29):
        terms = stream.terms(stream.direction, 13)
        assert float(terms.heads[layer].sum()) == pytest.approx(
            float(stream.direction @ stream.at(layer, "attn.out")[13]), rel=1e-3, abs=1e-4
        )
