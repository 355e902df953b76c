"""Sentences that insult: where they begin and end, which are cut, and when the whole goes."""

import numpy as np
import pytest

from trivium.curation.toxicity import Toxicity
from trivium.data.curating import curated
from trivium.data.linear import LinearClassifier, features
from trivium.data.marks import Texts


@pytest.fixture
def sees_bad(tmp_path):
    """A classifier by hand: a sentence that is the word bad, or begins so, scores high, all others 0.12."""
    weights = np.zeros(1 << 16, np.float32)
    weights[features("bad", 1, 1 << 16)[0]] = 6.0
    LinearClassifier(weights, -2.0, 1).save(tmp_path / "bad")
    return str(tmp_path / "bad")


def texts(*said: str) -> Texts:
    return Texts([f"d{n}" for n in range(len(said))], said, ["s"] * len(said))


def marked(method: Toxicity, text: str) -> list[str]:
    return [text[a:b] for a, b, _ in method.tag(texts(text)).spans["toxic"][0]]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("bad man. A good one.", ["bad man."]),
        ("A good one. bad man!", ["bad man!"]),
        ('He said: 🙂 "it rains." bad man…\nGood.', ["bad man…"]),
        ("A good line\nbad line\nA good line", ["bad line"]),
        ("version 3.5 is out. bad 3.5 there", ["bad 3.5 there"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_what_is_marked(sees_bad, text, wanted):
    assert marked(Toxicity(sees_bad), text) == wanted


def test_scores_and_their_bound(sees_bad):
    found = Toxicity(sees_bad, least=0.0).tag(texts("bad man. A good one."))
    scores = [score for *_, score in found.spans["toxic"][0]]
    assert scores == pytest.approx([1 / (1 + np.exp(2 - 6 / 2**0.5)), 1 / (1 + np.exp(2))])
    assert found.numbers["highest"][0] == scores[0]
    assert found.numbers["sentences"][0] == 2
    assert Toxicity(sees_bad, least=0.95).tag(texts("bad man.")).spans["toxic"] == [[]]


def test_a_score_at_the_bound_is_marked(sees_bad):
    (score,) = Toxicity(sees_bad).tag(texts("bad man.")).numbers["highest"].tolist()
    assert marked(Toxicity(sees_bad, least=score), "bad man.") == ["bad man."]
    assert marked(Toxicity(sees_bad, least=np.nextafter(score, 1)), "bad man.") == []


def test_they_are_cut_and_documents_full_of_them_dropped(sees_bad):
    method = Toxicity(sees_bad)
    found = curated(method, texts("A good one here, and long enough. bad man. And on.", "bad man. bad dog. Good."))
    assert list(found.texts.texts) == ["A good one here, and long enough.  And on."]
    assert found.counts.dropped == {"toxicity.share": 1}
    assert len(curated(Toxicity(sees_bad, most=1.0), texts("bad man.")).texts) == 1


def test_the_toy_knows_some_insults():
    method = Toxicity()
    assert marked(method, "You are an idiot! The river rose in the night.") == ["You are an idiot!"]
    assert method.depends == Toxicity().depends


def test_a_text_that_could_take_long_does_not():
    """Marks and closing signs in long runs: linear, not quadratic."""
    Toxicity().tag(texts("a" + "'" * 50_000 + "." + "'" * 50_000 + "b", '..."' * 30_000, "a." * 60_000))


@pytest.mark.parametrize("wrong", [{"least": 1.1}, {"most": -0.1}])
def test_bad_settings(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is a share"):
        Toxicity(**wrong)
