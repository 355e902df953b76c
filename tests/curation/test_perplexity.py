"""Perplexity by hand, whatever the batch; ranks, the exact number that stays, buckets, groups, and broken models."""

import math

import numpy as np
import pytest

from trivium.core.errors import NotFinite
from trivium.curation import perplexity
from trivium.curation.perplexity import PerplexityBand
from trivium.data.curating import curated, measured
from trivium.data.marks import Texts
from trivium.data.stories import story
from trivium.models.ngrams import byte_ngrams
from trivium.models.sources import load


def texts(*said: str) -> Texts:
    return Texts([f"d{n:03d}" for n in range(len(said))], said, ["s"] * len(said))


@pytest.fixture
def counted(monkeypatch):
    """A model of the bytes of 'aaab', with no context: p(a) = 3/5 smoothed, see below."""
    system = byte_ngrams(["aaab"], "counted", order=1)
    monkeypatch.setattr(perplexity, "_system", lambda name: system)
    return system


def test_by_hand(counted):
    """c(a), c(b), c(end) = 3, 1, 1 of 5, mixed with the uniform law by the 3 different ones (Witten and Bell)."""
    uniform = 1 / counted.tokenizer.vocab_size
    a, b = (3 + 3 * uniform) / 8, (1 + 3 * uniform) / 8
    found = measured(PerplexityBand(), [texts("ab a")])[0].numbers
    blank = 3 * uniform / 8
    nats = -(2 * math.log(a) + math.log(b) + math.log(blank))
    assert found["byte"][0] == pytest.approx(math.exp(nats / 4), rel=1e-5)
    assert found["token"][0] == found["byte"][0]
    assert found["word"][0] == pytest.approx(math.exp(nats / 2), rel=1e-5)
    assert found["tokens"][0] == 4


@pytest.mark.parametrize(("low", "high", "kept"), [(0, 20, 10), (2, 20, 9), (0, 100, 50), (10, 11, 0), (10, 12, 1)])
def test_exactly_so_many_stay(counted, low, high, kept):
    said = [f"{'a' * n}{'b' * (50 - n)}" for n in range(50)]  # the more of a, the likelier
    found = curated(PerplexityBand(lowest=low, highest=high), texts(*said))
    assert len(found.texts) == kept
    best = sorted(range(50), reverse=True)[int(low / 2) : int(high / 2)]
    assert sorted(found.texts.ids) == sorted(f"d{n:03d}" for n in best)


def test_ties_fall_by_identity_in_any_order(counted):
    one = Texts(["b", "a"], ["ab", "ab"], ["s", "s"])
    other = Texts(["c", "a"], ["ab", "ab"], ["s", "r"])
    first, second = measured(PerplexityBand(), [one, other])
    assert first.numbers["percentile"].tolist() == [75, 50]
    assert second.numbers["percentile"].tolist() == [100, 25]


def test_buckets_are_thirds(counted):
    said = ["a" * n + "b" * (9 - n) for n in range(9)]
    assert measured(PerplexityBand(), [texts(*said)])[0].numbers["bucket"].tolist() == [2, 2, 2, 1, 1, 1, 0, 0, 0]


def test_documents_of_like_length_are_ranked_apart(counted):
    said = ["b", "a", "aaaa", "bbbb"]
    assert measured(PerplexityBand(), [texts(*said)])[0].numbers["bucket"].tolist() == [1, 0, 0, 2]
    found = measured(PerplexityBand(groups=2), [texts(*said)])[0].numbers["percentile"]
    assert found.tolist() == [100, 50, 50, 100]


def test_what_it_is_ranked_by(counted):
    """Many short words cost less per word."""
    said = ["a a a a a a", "aaaaaaaaaaa"]
    by = {
        per: measured(PerplexityBand(per=per), [texts(*said)])[0].numbers["percentile"][0] for per in ("word", "byte")
    }
    assert by == {"word": 50, "byte": 100}


def test_no_token_no_perplexity(counted):
    found = curated(PerplexityBand(lowest=0, highest=100), texts("", "ab"))
    assert found.counts.dropped == {"perplexity.none": 1}
    assert found.marks.numbers["perplexity.percentile"][1] == 100
    assert np.isnan(found.marks.numbers["perplexity.word"][0])


def test_batches_and_windows_of_a_transformer_change_nothing(monkeypatch):
    """Batch size changes no perplexity beyond 1e-4, relative."""
    system = load("tiny")
    monkeypatch.setattr(perplexity, "_system", lambda name: system)
    said = [story(0, n)[: 20 + 37 * n] for n in range(6)]
    alone, together = (
        measured(PerplexityBand(batch_size=size), [texts(*said)])[0].numbers["token"] for size in (1, 6)
    )  # fmt: skip
    assert together == pytest.approx(alone, rel=1e-4)


def test_a_model_that_fails_on_one_of_many_costs_that_one(counted, monkeypatch):
    real = perplexity.score_pairs

    def failing(system, pairs, **more):
        if any(pair.continuation[0] == system.tokenizer.encode("Z")[-1] for pair in pairs):
            raise NotFinite("no")
        return real(system, pairs, **more)

    monkeypatch.setattr(perplexity, "score_pairs", failing)
    found = measured(PerplexityBand(), [texts("Z", *["ab"] * 1000)])[0].numbers
    assert np.isnan(found["token"]).tolist() == [True] + [False] * 1000
    with pytest.raises(NotFinite, match="to 1 of 3 documents"):
        measured(PerplexityBand(), [texts("Z", "ab", "ba")])


def test_it_depends_on_the_weights(monkeypatch):
    seen = set()
    for text in ("aaab", "abbb"):
        system = byte_ngrams([text], "counted", order=1)
        monkeypatch.setattr(perplexity, "_system", lambda name, system=system: system)
        seen.add(PerplexityBand().depends)
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"lowest": 30.0}, "lowest < highest"), ({"highest": 101.0}, "100"), ({"per": "line"}, "got 'line'"),
     ({"groups": 0}, "groups must be at least 1"), ({"length": 0}, "length"), ({"batch_size": 0}, "batch_size")],
)  # fmt: skip
def test_bad_settings(wrong, said):
    with pytest.raises(ValueError, match=said):
        PerplexityBand(**wrong)
