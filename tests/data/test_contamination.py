import pytest

from trivium.data.contamination import dirty, run_length, words

LONG = "one two three four five six seven eight nine ten"


def test_words():
    assert words("It's NOT — so, über 3.5!") == ["it", "s", "not", "so", "über", "3", "5"]


def test_a_run_is_between_eight_and_thirteen_words():
    assert run_length(["a b c"]) == 8
    assert run_length([" ".join("abcdefghijklmnopqrst")]) == 13
    assert run_length([" ".join("abcdefghij")] * 20) == 10
    assert run_length([" ".join("abcdefghij")] * 40 + ["a"]) == 10  # the 5th percentile, not the least
    with pytest.raises(ValueError, match="there is no item"):
        run_length([])


def test_items_that_share_a_run_are_dirty():
    items = [LONG, "two three four five six seven eight nine", "x " + LONG[8:], "other words", "ten nine"]
    text = "And so: TWO three four, five six seven eight nine!"
    assert dirty(items, [text], 8) == [True, True, False, False, False]
    assert dirty(items, ["nothing", "some other words here"], 8) == [False, False, False, True, False]
    assert dirty(items, [text.replace("five", "5")], 8) == [False] * 5
    assert dirty(items, ["two three four five", "six seven eight nine"], 8) == [False] * 5  # not across texts
    assert dirty(["", "a"], ["a"], 8) == [False, True]
    with pytest.raises(ValueError, match="a run has at least 1 word, got 0"):
        dirty(items, [text], 0)
