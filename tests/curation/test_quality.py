"""The quality classifier: bounds, and the Pareto law of what stays, drawn from the text."""

import numpy as np
import pytest

from trivium.curation.quality import Quality
from trivium.data.curating import curated
from trivium.data.linear import LinearClassifier, Recipe, teach
from trivium.data.marks import Marks, Texts
from trivium.data.planted import planted
from trivium.data.work import described


def texts(*said: str) -> Texts:
    return Texts([f"d{n}" for n in range(len(said))], said, ["s"] * len(said))


@pytest.fixture
def even(tmp_path):
    """A classifier that gives every text the score 0.5."""
    LinearClassifier(np.zeros(1 << 8, np.float32), 0.0, 1).save(tmp_path / "even")
    return str(tmp_path / "even")


def test_the_toy_tells_stories_from_junk():
    documents = list(planted(60, seed=8, shares={"gibberish": 0.2, "symbols": 0.2}))
    found = curated(Quality(keep="threshold"), Texts.of(documents))
    wanted = [document.id for document in documents if not document.metadata.get("planted")]
    assert list(found.texts.ids) == wanted


@pytest.mark.parametrize("alpha", [1.0, 9.0])
def test_chance_keeps_by_the_pareto_law(even, alpha):
    """Of 4,000 texts with score 1/2 the share (3/2)^-alpha, within four standard errors."""
    found = curated(Quality(even, alpha=alpha), texts(*(f"text {n}" for n in range(4000))))
    share = 1.5**-alpha
    assert abs(len(found.texts) / 4000 - share) < 4 * (share * (1 - share) / 4000) ** 0.5
    assert found.marks.numbers["quality.score"] == pytest.approx(0.5)


def test_what_has_a_high_score_needs_a_small_draw():
    """Kept where the draw is more than 1 - score: at 0.9 one of 0.2 will do, at 0.1 it will not."""
    (rule,) = Quality().rules.drops
    marks = Marks(3, {"quality.score": np.array([0.9, 0.1, 0.5]), "quality.draw": np.array([0.2, 0.2, 0.5])})
    assert rule.condition(marks).tolist() == [False, True, True]


def test_the_draw_is_of_the_text_alone(even):
    a = Quality(even).tag(Texts(["a", "b", "c"], ["x", "y", "x"], ["s", "s", "t"])).numbers["draw"]
    assert a[0] == a[2] != a[1]
    assert a[0] == Quality(even).tag(texts("x")).numbers["draw"][0]
    assert a[0] != Quality(even, seed=1).tag(texts("x")).numbers["draw"][0]
    assert (a >= 0).all()


@pytest.mark.parametrize(("least", "kept"), [(0.5, 2), (0.51, 0), (0.0, 2), (1.0, 0)])
def test_the_bound_decides_alone(even, least, kept):
    assert len(curated(Quality(even, keep="threshold", least=least), texts("a", "b")).texts) == kept


def test_another_classifier_in_the_folder_is_another_method(even, tmp_path):
    """What a run is known by holds the digest, so that work is not taken for that of a classifier trained anew."""
    other = tmp_path / "other"
    teach([f"good {n}" for n in range(40)], [f"bad {n}" for n in range(40)], Recipe(buckets=1 << 8)).classifier.save(
        other
    )
    depends = [described(Quality(folder))["depends"] for folder in (even, str(other), "")]
    assert len(set(depends)) == 3
    assert depends[0] == LinearClassifier.load(even).digest


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"keep": "some"}, "got 'some'"), ({"alpha": 0.0}, "positive; got 0.0"), ({"least": -0.1}, "least is a chance")],
)
def test_bad_settings(wrong, said):
    with pytest.raises(ValueError, match=said):
        Quality(**wrong)


def test_a_folder_without_a_classifier(tmp_path):
    with pytest.raises(ValueError, match="train one with 'trivium classifier'"):
        Quality(str(tmp_path)).tag(texts("a"))
