"""A field by its words, whole ones, and by a judge that is asked of those only."""

import numpy as np
import pytest

from trivium.curation.domain import Domain
from trivium.data.curating import curated
from trivium.data.linear import LinearClassifier, features
from trivium.data.marks import Texts

WORDS = ("lte", "base station")


def texts(*said: str) -> Texts:
    return Texts([f"d{n}" for n in range(len(said))], said, ["s"] * len(said))


@pytest.mark.parametrize(
    ("text", "words", "distinct"),
    [("LTE and lte, a Base\n station", 3, 2), ("filter, volte, base stations", 0, 0), ("", 0, 0), ("(lte)", 1, 1)],
)
def test_words_are_whole(text, words, distinct):
    found = Domain(WORDS).tag(texts(text)).numbers
    assert (found["words"][0], found["distinct"][0]) == (words, distinct)


@pytest.fixture
def judge(tmp_path):
    """Says no to texts with the word advert, yes to others."""
    weights = np.zeros(1 << 16, np.float32)
    weights[features("advert", 1, 1 << 16)[0]] = -50.0
    LinearClassifier(weights, 2.0, 1).save(tmp_path / "judge")
    return str(tmp_path / "judge")


def test_the_judge_is_asked_of_what_the_words_let_through(judge):
    said = ["lte base station", "lte base station advert", "lte advert", "lte base station and later an advert"]
    found = curated(Domain(WORDS, judge=judge, window=25), texts(*said))
    assert list(found.texts.ids) == ["d0", "d3"]
    assert found.counts.dropped == {"domain.words": 1, "domain.judge": 1}
    assert np.isnan(found.marks.numbers["domain.judged"]).tolist() == [False, False, True, False]


def test_without_a_judge_nothing_is_decided_by_one():
    found = curated(Domain(WORDS), texts("lte base station advert"))
    assert len(found.texts) == 1
    assert np.isnan(found.marks.numbers["domain.judged"][0])
    assert len(curated(Domain(WORDS, least_words=1), texts("lte")).texts) == 1


def test_it_depends_on_the_judge(judge):
    assert Domain(judge=judge).depends == LinearClassifier.load(judge).digest != Domain().depends


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"keywords": ()}, "at least one"), ({"keywords": ("LTE",)}, "small letters"), ({"least_words": 0}, "least_words"),
     ({"window": 0}, "window"), ({"least": 2.0}, "least is a chance"), ({"keywords": ("",)}, "small letters")],
)  # fmt: skip
def test_bad_settings(wrong, said):
    with pytest.raises(ValueError, match=said):
        Domain(**wrong)
