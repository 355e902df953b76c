"""Isotropy: its fixed points and invariances, a loop over pairs, and texts that count as they should."""

import logging

import pytest
import torch

from tests.families import wrapped
from trivium.core.errors import NotOffered
from trivium.data.corpus import Corpus
from trivium.evaluation.isotropy import Isotropy, cosines
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

TEXTS = ["hello there", "wörld", "a longer text, really", "x"]
TASK = Isotropy(Corpus("four", {"test": TEXTS}), batch_size=3)


class Plain(ByteTokenizer):
    """Nothing before a text."""

    opening = ()


@pytest.fixture(scope="module")
def system():
    return System(wrapped("llama", vocab_size=259), Plain(), "made")


def isotropy(hidden):
    total, pairs = cosines(hidden[None], torch.ones(1, len(hidden), dtype=torch.bool))
    return float(1 - total / pairs)


def slow(system, texts, length=256):
    """Every pair of every text by itself."""
    sums, counts = [], []
    for text in texts:
        with torch.no_grad():
            h = system.model(torch.tensor([system.tokenizer.encode(text)[:length]])).hidden[0]
        pairs = [(i, j) for i in range(len(h)) for j in range(len(h)) if i != j]
        sums.append(sum(float(torch.cosine_similarity(h[i], h[j], dim=0)) for i, j in pairs))
        counts.append(len(pairs))
    return 1 - sum(sums) / sum(counts), sum(1 - s / c for s, c in zip(sums, counts, strict=True)) / len(texts)


def test_fixed_points_and_invariances():
    noise = torch.randn(7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rotation = torch.linalg.qr(noise)[0]
    assert isotropy(noise[:1].repeat(5, 1)) == pytest.approx(0, abs=1e-12)
    assert isotropy(rotation) == pytest.approx(1)
    assert isotropy(torch.stack([noise[0], -noise[0]])) == pytest.approx(2)
    assert isotropy(noise * torch.arange(1, 8)[:, None]) == pytest.approx(isotropy(noise))
    assert isotropy(noise @ rotation) == pytest.approx(isotropy(noise))


def test_equals_the_loop_over_pairs_pooled_and_per_text(system):
    found = TASK.measure(system, TEXTS)
    assert (found.pooled, found.per_text) == pytest.approx(slow(system, TEXTS[:3]))
    assert (found.texts, found.skipped) == (3, 1)
    assert found.tokens == sum(len(text.encode()) for text in TEXTS[:3])
    assert abs(found.pooled - found.per_text) > 1e-3  # long texts weigh more in the one and not in the other
    turned = TASK.measure(system, TEXTS[::-1])
    assert (turned.pooled, turned.per_text) == pytest.approx((found.pooled, found.per_text))


def test_the_mean_of_the_scores_by_their_weights_is_the_pooled_value(system):
    seen = [TASK.score(system, example) for example in TASK.examples("test")]
    assert seen[3].values == {}
    values = [one.values for one in seen[:3]]
    pairs = sum(one["pairs"] for one in values)
    found = TASK.measure(system, TEXTS)
    assert sum(one["isotropy"] * one["pairs"] for one in values) / pairs == pytest.approx(found.pooled)
    assert sum(one["isotropy_per_text"] for one in values) / 3 == pytest.approx(found.per_text)
    assert dict(TASK.weighted_by) == {"isotropy": "pairs"}


def test_the_profile_reads_every_layer(system):
    found = TASK.measure(system, TEXTS, profile=True)
    assert list(found.layers) == ["blocks.0.in", "blocks.0.out", "blocks.1.out", "blocks.2.out", "head"]
    assert found.layers["head"] == found.pooled == TASK.measure(system, TEXTS).pooled
    sums, pairs = 0.0, 0.0
    for text in TEXTS[:3]:
        ids = torch.tensor([system.tokenizer.encode(text)])
        with torch.no_grad():
            stream = system.model.layers(0, 2, system.model.embed(ids))
        total, count = cosines(stream, torch.ones_like(ids, dtype=torch.bool))
        sums, pairs = sums + float(total), pairs + float(count)
    assert found.layers["blocks.1.out"] == pytest.approx(1 - sums / pairs)
    blind = System(wrapped("llama", vocab_size=259), Plain(), "blind")
    blind.model.offers -= {"sites"}
    with pytest.raises(NotOffered, match="sites"):
        TASK.measure(blind, TEXTS, profile=True)


def test_a_tokenizers_opening_and_the_length_count(system):
    opened = System(system.model, ByteTokenizer(), "opened")
    assert TASK.measure(opened, ["ab"]).tokens == 3
    assert TASK.measure(opened, ["x"]).skipped == 0
    short = Isotropy(TASK.corpus, length=4).measure(system, TEXTS)
    assert short.pooled == pytest.approx(slow(system, TEXTS[:3], 4)[0])


def test_nothing_to_compare_and_states_without_direction(system, caplog):
    with pytest.raises(ValueError, match="none of the 2 texts has two tokens"):
        TASK.measure(system, ["x", "y"])
    with caplog.at_level(logging.WARNING):
        assert isotropy(torch.tensor([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]])) == pytest.approx(1 - 2 / 6)
    assert "1 hidden states have norm 0" in caplog.text
    with pytest.raises(ValueError, match="not finite"):
        isotropy(torch.tensor([[1.0], [float("nan")]]))


@pytest.mark.parametrize("wrong", [{"documents": 0}, {"length": 1}, {"batch_size": 0}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Isotropy(**wrong)
