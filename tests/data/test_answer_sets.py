from collections import Counter

import pytest

from trivium.data.answer_sets import Answers, made, of
from trivium.data.choices import KINDS, Choice
from trivium.data.choices import made as single

ONE = Answers("one", "Which?", ("a", "b", "c", "d"), frozenset({1, 3}))


def test_keeping_some_options():
    kept = ONE.keep((3, 0, 2))
    assert (kept.options, kept.right, kept.wrong) == (("a", "c", "d"), {2}, (0, 1))
    assert ONE.wrong == (0, 2)
    assert ONE.keep((0, 2), none_right=True).right == frozenset()
    with pytest.raises(ValueError, match=r"no option is right among those kept of 'one': \['a', 'c'\]"):
        ONE.keep((0, 2))


def test_our_own_questions():
    test, validation = made("test"), made("validation")
    assert (len(test), len(validation)) == (40, 20)
    assert not {one.id for one in test} & {one.id for one in validation}
    assert Counter(one.group for one in test) == dict.fromkeys(KINDS, 4)
    for one in (*test, *validation):
        own = set(KINDS[one.group].split())
        assert {at for at, option in enumerate(one.options) if option in own} == one.right
        assert (len(one.options), len(one.right)) == (6, 2)
        assert one.question == f"Which of these is {one.group}?"
    assert len({min(one.right) for one in test}) > 3, "the right options stand in all places"


def test_questions_with_one_right_option():
    (found, *_) = of(single("test"))
    (asked, *_) = single("test")
    assert (found.options, found.right, found.group) == (asked.options, {asked.answer}, asked.group)
    (twice,) = of([Choice("one", "Which?", ("b", "a", "b", "c"), 2)])
    assert (twice.options, twice.right) == (("b", "a", "c"), {0})


@pytest.mark.parametrize(
    ("options", "right", "told"),
    [
        (("a",), {0}, "needs at least two options with text"),
        (("a", " "), {0}, "needs at least two options with text"),
        (("a", "b", "a"), {0}, "has the option 'a' twice"),
        (("a", "b"), {2}, r"right options of 'one' are \[2\] of 2"),
    ],
)
def test_bad_questions(options, right, told):
    with pytest.raises(ValueError, match=told):
        Answers("one", "Which?", options, frozenset(right))


def test_bad_split():
    with pytest.raises(ValueError, match="the splits are"):
        made("train")
