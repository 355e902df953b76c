"""Conditions on what was measured, and what they do to documents."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivium.core.errors import UnknownName
from trivium.data.marks import Marks, Texts, covered
from trivium.data.rules import Condition, Cut, Drop, Rules, joined, replaced

NAN = float("nan")
MARKS = Marks(
    4,
    {"g.words": np.array([10.0, 60.0, NAN, 200.0]), "g.alpha": np.array([0.9, 0.5, 0.1, 0.8])},
    {"pii.email": [[(0, 5, 1.0), (3, 8, 0.4)], [], [(0, 10, 0.2)], [(1, 2, 0.7)]]},
    np.array([10, 10, 10, 0]),
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("g.words < 50", [1, 0, 0, 0]),
        ("g.words < 50 or g.words > 100", [1, 0, 0, 1]),
        ("not g.words >= 50", [1, 0, 0, 0]),
        ("not not g.words < 50", [1, 0, 0, 0]),
        ("50 < g.words <= 200", [0, 1, 0, 1]),
        ("g.words != 10", [0, 1, 0, 1]),
        ("g.words == 10 and g.alpha > 0.5", [1, 0, 0, 0]),
        ("g.words < 50 or g.alpha < 0.2", [1, 0, 1, 0]),
        ("g.words < 50 and g.alpha < 0.2", [0, 0, 0, 0]),
        ("missing(g.words)", [0, 0, 1, 0]),
        ("not missing(g.words) and g.alpha < 0.6", [0, 1, 0, 0]),
        ("g.words * g.alpha - 1 < -g.words + 20", [1, 0, 0, 0]),
        ("g.words / 0 > 1", [1, 1, 0, 1]),
        ("pii.email.count > 0", [1, 0, 1, 1]),
        ("pii.email.most < 0.5", [0, 0, 1, 0]),
        ("pii.email.share >= 0.8", [1, 0, 1, 0]),
        ("1 < 2", [1, 1, 1, 1]),
    ],
)
def test_conditions(text, wanted):
    assert Condition(text)(MARKS).astype(int).tolist() == wanted


@pytest.mark.parametrize(
    "text",
    [
        "g.words", "g.words + 1", "g.words <", "", "g.words is 3", "g.words in [1]", "f(g.words) < 2", "g['words'] < 2",
        "__import__('os').system('x') == 0", "g.words < 2 < (g.alpha < 3)", "(g.words < 2) + 1 > 0", "not g.words",
        "g.words and g.alpha < 1", "g.words < 'a'", "True", "missing(3)", "missing(g.words, g.alpha)", "lambda: 1 < 2",
        "-(g.words < 1) < 2", "x if g.words < 2 else y", "(g.a := 2) < 3",
    ],
)  # fmt: skip
def test_what_is_no_condition(text):
    with pytest.raises(ValueError, match="condition"):
        Condition(text)


@given(st.lists(st.sampled_from([1.0, 2.0, 3.0, NAN]), min_size=2, max_size=2))
def test_what_is_unknown_drops_nothing_by_any_detour(values):
    """A condition and its negation never both hold, and neither holds of what is not known."""
    marks = Marks(1, {"a": np.array(values[:1]), "b": np.array(values[1:])})
    for text in ("a < b", "a < 2 and b < 2", "a < 2 or b < 2", "not a < b", "a < 2 and not b < 2"):
        yes, no = Condition(text)(marks)[0], Condition(f"not ({text})")(marks)[0]
        assert not (yes and no)
        if not np.isnan(values).any():
            assert yes != no
    if np.isnan(values[0]):
        assert not Condition("a < b")(marks)[0]
        assert not Condition("not a < b")(marks)[0]
        assert Condition("a < b or b == 1")(marks)[0] == (values[1] == 1)


def test_each_document_falls_by_the_first_rule_and_every_rule_is_counted():
    rules = Rules((Drop("short", "g.words < 100"), Drop("odd", "g.alpha < 0.6"), Drop("never", "g.words > 1e9")))
    found = rules.decide(MARKS)
    assert list(found.reason) == ["short", "short", "odd", ""]
    assert found.kept.tolist() == [False, False, False, True]
    assert found.alone == {"short": 2, "odd": 2, "never": 0}
    assert found.first == {"short": 2, "odd": 1, "never": 0}
    assert found.both == {("short", "odd"): 1}


def test_a_rule_about_nothing_measured_is_an_error_before_anything_is_read():
    rules = Rules((Drop("r", "g.wordz < 50"),))
    with pytest.raises(UnknownName, match="the rule 'r' asks for 'g"):
        rules.check(MARKS.names, frozenset())
    with pytest.raises(UnknownName, match="nobody marks the spans 'pii"):
        Rules(cuts=(Cut("pii.emails"),)).decide(MARKS)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Rules((Drop("a", "x < 1"), Drop("a", "x < 2"))), "2 rules are called 'a'"),
        (lambda: Drop(" ", "x < 1"), "has no name"),
        (lambda: Marks(2, {"a": np.zeros(3)}), "a has 3 values for 2 documents"),
        (lambda: Marks(1, {"a": np.zeros(1)}, {"a": [[]]}), "a is both a number and spans"),
        (lambda: Marks(1, {"a": np.zeros(1)}) | Marks(1, {"a": np.zeros(1)}), "a was measured twice"),
        (lambda: Marks(1) | Marks(2), "of 1 and of 2 documents"),
        (lambda: Texts(["a"], ["x", "y"], ["s"]), "differ in length"),
        (lambda: Marks(1, spans={"s": [[(0, 1, 1.0)]]}).value("s.share"), "lengths are not given"),
    ],
)
def test_what_makes_no_sense(wrong, said):
    with pytest.raises(ValueError, match=said):
        wrong()


def test_cuts_take_spans_of_a_score_and_leave_the_rest():
    text = "0123456789"
    rules = Rules(cuts=(Cut("pii.email", by="<>", least=0.5),))
    cuts = rules.decide(MARKS).cuts
    assert cuts[0] == [(0, 5, "<>")]
    assert replaced(text, cuts[0]) == "<>56789"
    assert Rules(cuts=(Cut("pii.email"),)).decide(MARKS).cuts[0] == [(0, 8, "")]


@pytest.mark.parametrize(
    ("passages", "wanted"),
    [
        ([(0, 3, "a"), (2, 5, "a")], [(0, 5, "a")]),
        ([(0, 3, "a"), (3, 5, "a")], [(0, 3, "a"), (3, 5, "a")]),
        ([(2, 5, "b"), (0, 3, "a")], [(0, 3, "a"), (3, 5, "b")]),
        ([(0, 3, "b"), (0, 5, "a")], [(0, 5, "a")]),
        ([(0, 9, "a"), (2, 4, "b"), (8, 12, "c")], [(0, 9, "a"), (9, 12, "c")]),
        ([(4, 4, "a")], []),
    ],
)
def test_passages_that_overlap(passages, wanted):
    assert joined(passages) == wanted


spans = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.sampled_from(["", "x"])), max_size=8)


@given(spans)
def test_joined_passages_cover_the_same_and_never_overlap(passages):
    passages = [(min(a, b), max(a, b), by) for a, b, by in passages]
    found = joined(passages)
    inside = lambda spans: {place for start, end, _ in spans for place in range(start, end)}  # noqa: E731
    assert inside(found) == inside(passages)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(found))
    assert covered([(start, end, 1.0) for start, end, _ in passages]) == len(inside(passages))


@pytest.mark.parametrize("wrong", [[(0, 11, "")], [(-1, 2, "")], [(2, 4, ""), (3, 5, "")], [(5, 4, "")]])
def test_passages_outside_the_text(wrong):
    with pytest.raises(ValueError, match="the passage"):
        replaced("0123456789", wrong)
