"""The linear classifier: features by hand, what it learns, what it says of itself; only whole files are read."""

import json
import math
import pickle

import numpy as np
import pytest
from safetensors.numpy import save_file

from trivium.core.errors import BrokenModel, HashMismatch
from trivium.data.linear import CARD, WEIGHTS, LinearClassifier, Recipe, features, judged, loaded, teach

SMALL = Recipe(buckets=1 << 12)
GOOD = [f"the river {n} rose in the night and we saw it" for n in range(60)]
BAD = [f"cheap watches {n} buy now click here" for n in range(60)]


@pytest.fixture(scope="module")
def taught():
    return teach(GOOD, BAD, SMALL)


def test_features_by_hand():
    """a a b: words a twice and b once, pairs a a and a b once each."""
    at, value = features("A  a\nb", 2, 1 << 20)
    raw = sorted([math.log(3), math.log(2), math.log(2), math.log(2)])
    assert len(at) == 4
    assert sorted(value) == pytest.approx(np.array(raw) / np.linalg.norm(raw))
    assert len(features("a a b", 1, 1 << 20)[0]) == 2
    assert set(features("a a b", 1, 1 << 20)[0]) < set(at)
    assert set(features("b a a", 2, 1 << 20)[0]) != set(at)
    assert len(features("", 2, 1 << 20)[0]) == 0
    assert features("a b c d", 1, 1 << 8)[0].max() < 1 << 8


def test_it_tells_them_apart(taught):
    assert taught.held_out.accuracy == 1.0
    assert taught.held_out.majority < 0.8
    assert taught.classifier.scores(["we saw the river in the night"])[0] > 0.7
    assert taught.classifier.scores(["buy cheap watches now"])[0] < 0.3


def test_a_score_is_the_logistic_of_the_weighted_sum():
    at, value = features("a", 1, 1 << 8)
    weights = np.zeros(1 << 8, np.float32)
    weights[at] = 2.0
    one = LinearClassifier(weights, -1.0, 1)
    assert value.tolist() == [1.0]
    assert one.scores(["a", ""]) == pytest.approx([1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1))])


def test_a_text_scores_what_it_scores_alone(taught):
    together = taught.classifier.scores([*GOOD[:5], *BAD[:5]])
    assert together.tolist() == [taught.classifier.scores([text])[0] for text in [*GOOD[:5], *BAD[:5]]]


def test_order_and_copies_do_not_reach_what_is_held_out():
    a, b = teach(GOOD, BAD, SMALL), teach(GOOD[::-1], BAD[::-1], SMALL)
    assert a.held_out.texts == b.held_out.texts
    assert a.classifier.card["sha256"] == b.classifier.card["sha256"]
    doubled = teach(GOOD + GOOD, BAD, SMALL).held_out
    assert doubled.texts == a.held_out.texts + a.held_out.positives


def test_the_seldom_kind_weighs_as_much():
    few = teach(GOOD, BAD[:14], SMALL).classifier
    fewer = teach(GOOD, BAD[:14], Recipe(buckets=1 << 12, balanced=False)).classifier
    assert few.scores([""])[0] < fewer.scores([""])[0]


def test_judging_by_hand():
    found = judged(np.array([0.9, 0.8, 0.6, 0.1, 0.15, 1.0]), np.array([True, False, True, False, True, True]))
    assert (found.texts, found.positives) == (6, 4)
    assert found.accuracy == pytest.approx(4 / 6)
    assert found.majority == pytest.approx(4 / 6)
    assert found.precision == 3 / 4
    assert found.recall == 3 / 4
    assert found.brier == pytest.approx((0.01 + 0.64 + 0.16 + 0.01 + 0.7225 + 0) / 6)
    assert [row[2] for row in found.table] == [2, 1, 1, 2]  # 1.0 counts to the last bin
    assert found.calibration_error == pytest.approx((0.375 * 2 + 0.4 + 0.8 + 0.05 * 2) / 6)
    assert math.isnan(judged(np.array([0.1]), np.array([True])).precision)
    with pytest.raises(ValueError, match="no text to judge"):
        judged(np.zeros(0), np.zeros(0, bool))


def test_saved_and_loaded_it_is_the_same(taught, tmp_path):
    taught.classifier.save(tmp_path)
    back = LinearClassifier.load(tmp_path)
    assert back.digest == taught.classifier.digest == loaded(str(tmp_path)).digest
    assert back.scores(GOOD[:3]).tolist() == taught.classifier.scores(GOOD[:3]).tolist()
    card = json.loads((tmp_path / CARD).read_text())
    assert card["texts"] == {"positive": 60, "negative": 60}
    assert card["held_out"]["accuracy"] == 1.0
    assert card["recipe"]["words"] == 2
    assert set(card["packages"]) == {"scikit-learn", "numpy", "scipy"}


def test_what_scores_differ_by_is_in_the_digest(taught):
    one = taught.classifier
    other = [LinearClassifier(one.weights, one.bias + 1, one.words), LinearClassifier(one.weights, one.bias, 1),
             LinearClassifier(one.weights * 2, one.bias, one.words)]  # fmt: skip
    assert len({one.digest, *(each.digest for each in other)}) == 4


def _change(folder, **card):
    before = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(before | card))


@pytest.mark.parametrize(
    ("harm", "error", "said"),
    [
        (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-1] + b"\7"), HashMismatch, "not what its"),
        (lambda f: (f / WEIGHTS).unlink(), BrokenModel, "no whole classifier"),
        (lambda f: (f / CARD).write_text("{"), BrokenModel, "no card"),
        (lambda f: (f / CARD).write_text("[]"), BrokenModel, "no card"),
        (lambda f: _change(f, format="trivium-linear-9"), ValueError, "has the format 'trivium-linear-9'"),
        (lambda f: _change(f, buckets=1 << 13), BrokenModel, "should hold 8192 finite numbers"),
        (lambda f: (f / CARD).unlink(), ValueError, "holds no classifier.json"),
    ],
)  # fmt: skip
def test_a_damaged_folder_is_refused(taught, tmp_path, harm, error, said):
    taught.classifier.save(tmp_path)
    harm(tmp_path)
    with pytest.raises(error, match=said):
        LinearClassifier.load(tmp_path)


def test_weights_that_are_no_numbers_are_refused(taught, tmp_path):
    broken = taught.classifier.weights.copy()
    broken[3] = np.nan
    LinearClassifier(broken, 0.0, 2).save(tmp_path)
    with pytest.raises(BrokenModel, match="finite"):
        LinearClassifier.load(tmp_path)


def test_a_pickle_is_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, ("raise SystemExit('ran')",))

    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="Pickled models and fastText's files are not read"):
        LinearClassifier.load(tmp_path)
    (tmp_path / CARD).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(BrokenModel):
        LinearClassifier.load(tmp_path)
    save_file({"weights": np.zeros(4, np.float32)}, tmp_path / WEIGHTS)


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [(GOOD, [GOOD[0].upper(), *BAD], "1 texts are both positive and negative"), ([], BAD, "of 0 positive texts"),
     (GOOD, BAD[:1], "of 1 negative texts none is left")],
)  # fmt: skip
def test_texts_that_teach_nothing(good, bad, said):
    with pytest.raises(ValueError, match=said):
        teach(good, bad, SMALL)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"words": 0}, "1 to 5"), ({"buckets": 1000}, "power of two"), ({"strength": 0.0}, "positive"),
     ({"held_out": 1.0}, "between 0 and 1")],
)  # fmt: skip
def test_bad_recipes(wrong, said):
    with pytest.raises(ValueError, match=said):
        Recipe(**wrong)
