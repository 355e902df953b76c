"""Isotropy: its fixed points and invariances, a loop over pairs, and texts that count as they should."""

import pytest
import torch

from tests.families import wrapped
from trivium.core.errors import NotOffered
from trivium.data.corpus import Corpus
from trivium.evaluation.isotropy import Isotropy
from trivium.models.system import System
from trivium.nn.isotropy import cosines, cosines_reference
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


def test_nothing_to_compare_and_states_without_direction(system):
    with pytest.raises(ValueError, match="none of the 2 texts has two tokens"):
        TASK.measure(system, ["x", "y"])
    with pytest.raises(ValueError, match="none of the 1 texts has 3 \\+ 2 tokens"):
        Isotropy(TASK.corpus, drop_first=3).measure(system, ["wxyz"])
    with pytest.raises(ValueError, match=r"the state at \(0, 1\) has norm 0"):
        isotropy(torch.tensor([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]]))
    with pytest.raises(ValueError, match="not finite"):
        isotropy(torch.tensor([[1.0], [float("nan")]]))
    with pytest.raises(ValueError, match=r"no place 'blocks.9.out'; did you mean 'blocks."):
        TASK.measure(system, TEXTS, places=["blocks.9.out"])
    with pytest.raises(ValueError, match="leaves no dimension of the 32"):
        Isotropy(TASK.corpus, drop_dims=32).measure(system, TEXTS)
    with pytest.raises(ValueError, match="names one that is not there"):
        Isotropy(TASK.corpus, drop_dims=(32,)).measure(system, TEXTS)


def states(system, texts, place, length=256):
    """Of each text the states at a place."""
    found = []
    for text in texts:
        ids = torch.tensor([system.tokenizer.encode(text)[:length]])
        with torch.no_grad(), system.model.capture(place) as seen:
            out = system.model(ids)
        found.append((out.hidden if place == "logits" else seen[place])[0].double())
    return found


@pytest.mark.parametrize("drop", [0, 2, (3, 4, 5)])
def test_positions_and_dimensions_that_do_not_count(system, drop):
    """By cutting them off the states, and the loop over pairs; the largest dimensions are those of all texts."""
    task = Isotropy(TASK.corpus, drop_first=2, drop_dims=drop, batch_size=2)
    place = "blocks.1.out"
    found = task.measure(system, TEXTS, places=[place])
    for at, name in ((place, place), ("head", "final.norm")):
        whole = [one[2:] for one in states(system, TEXTS[:3], name)]
        largest = torch.cat(whole).square().sum(0).argsort(descending=True)[:drop] if isinstance(drop, int) else drop
        left = [dim for dim in range(32) if dim not in list(largest)]
        pairs = [cosines_reference(one[None][..., left], torch.ones(1, len(one), dtype=torch.bool)) for one in whole]
        expected = 1 - sum(float(total) for total, _ in pairs) / sum(int(count) for _, count in pairs)
        assert found.layers[at] == pytest.approx(expected)
        assert found.texts_at[at] == pytest.approx([1 - float(total / count) for total, count in pairs])
    assert found.tokens == sum(len(text.encode()) for text in TEXTS[:3])
    seen = [task.score(system, example).values for example in task.examples("test")][:3]
    assert sum(one["isotropy"] * one["pairs"] for one in seen) / sum(one["pairs"] for one in seen) == pytest.approx(
        found.pooled
    )


def test_the_geometry_is_that_of_all_states_at_once(system):
    """Against one matrix of all states, and eigenvalues; batches of one text and of two give the same."""
    place = "blocks.1.out"
    found = Isotropy(TASK.corpus, batch_size=1).measure(system, TEXTS, places=[place], geometry=True)
    again = Isotropy(TASK.corpus, batch_size=2).measure(system, TEXTS, places=[place], geometry=True)
    assert found.geometry[place].participation == pytest.approx(again.geometry[place].participation)
    mine, each = found.geometry[place], states(system, TEXTS[:3], place)
    every = torch.cat(each)
    off = every - every.mean(0)
    values = torch.linalg.eigvalsh(off.mT @ off / len(off))
    assert mine.participation == pytest.approx(float(values.sum() ** 2 / values.square().sum()))
    assert mine.iso_score == pytest.approx((mine.participation - 1) / 31)
    shares = every.square().sum(0).sort(descending=True).values
    assert mine.shares == pytest.approx({n: float(shares[:n].sum() / shares.sum()) for n in (1, 3, 5)})
    unit = torch.nn.functional.normalize(every, dim=-1)
    owner = torch.cat([torch.full((len(one),), at) for at, one in enumerate(each)])
    apart = owner[:, None] != owner
    assert mine.across == pytest.approx(1 - float((unit @ unit.mT)[apart].mean()))
    centred = torch.nn.functional.normalize(off, dim=-1)
    alike = ~apart & ~torch.eye(len(off), dtype=torch.bool)
    assert mine.centred == pytest.approx(1 - float((centred @ centred.mT)[alike].mean()))
    norms = every.norm(dim=-1)
    first = torch.tensor([0, len(each[0]), len(each[0]) + len(each[1])])
    rest = torch.ones(len(every), dtype=torch.bool)
    rest[first] = False
    assert mine.first == pytest.approx(float(norms[first].mean() / norms[rest].mean()))
    single = TASK.measure(system, TEXTS[:1], geometry=True)
    assert single.geometry["head"].across is None
    assert Isotropy(TASK.corpus, drop_first=1).measure(system, TEXTS, geometry=True).geometry["head"].first is None
    assert found.geometry.keys() == {place, "head"}


@pytest.mark.parametrize(
    "wrong",
    [{"documents": 0}, {"length": 1}, {"batch_size": 0}, {"drop_first": -1}, {"drop_dims": -1}, {"drop_dims": (0, -2)}],
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Isotropy(**wrong)
