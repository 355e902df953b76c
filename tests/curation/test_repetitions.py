"""Runs said over and over: where they begin and end, how often, against a plain search."""

import random

import numpy as np
import pytest

from trivium.curation.repetitions import Repetitions, runs
from trivium.data.curating import curated
from trivium.data.marks import Texts


def plain(numbers, period):
    """Longest stretches of each period by looking at every start; none within one of a shorter period."""
    found = []
    for p in range(1, period + 1):
        at = 0
        while at + p < len(numbers):
            end = at + p
            while end < len(numbers) and numbers[end] == numbers[end - p]:
                end += 1
            if end - at >= 3 * p and not any(a <= at and end <= b for a, b, _ in found):
                found.append((at, end, (end - at) // p))
            at = max(at + 1, end - p)
    return sorted(found)


def test_they_are_those_of_a_plain_search():
    draw = random.Random(4)
    for _ in range(400):
        numbers = [draw.randrange(draw.choice([1, 2, 3])) for _ in range(draw.randrange(40))]
        if draw.random() < 0.5:
            piece = [draw.randrange(4) for _ in range(draw.randrange(1, 6))]
            numbers += piece * draw.randrange(2, 6) + numbers
        assert runs(np.array(numbers, np.uint32), 6) == plain(numbers, 6), numbers


@pytest.mark.parametrize(
    ("text", "unit", "wanted"),
    [
        ("a b buy now buy now buy now, c", "word", []),
        ("a b buy now buy now buy now c", "word", [("buy now buy now buy now", 3)]),
        ("🙂 é\n é é  é", "word", [("é\n é é  é", 4)]),
        ("go go go and no no no no", "word", [("go go go", 3), ("no no no no", 4)]),
        ("ab---c", "character", [("---", 3)]),
        ("🙂🙂🙂🙂", "character", [("🙂🙂🙂🙂", 4)]),
        ("abcabcab", "character", []),
        ("abcabcabca", "character", [("abcabcabca", 3)]),
        ("", "character", []),
    ],
)
def test_what_is_marked(text, unit, wanted):
    found = Repetitions(unit=unit).tag(Texts(["d"], [text], ["s"]))
    assert [(text[a:b], times) for a, b, times in found.spans["run"][0]] == wanted
    assert found.numbers["times"][0] == max((times for _, times in wanted), default=0)
    assert found.numbers["longest"][0] == max((len(said) for said, _ in wanted), default=0)


def test_bounds_on_times_and_period():
    def left(text, **given):
        return len(curated(Repetitions(**given), Texts(["d"], [text], ["s"])).texts)

    assert left("buy now " * 31) == 1
    assert left("buy now " * 32) == 0
    assert left("buy now " * 4, most=5) == 1
    assert left("buy now " * 5, most=5) == 0
    assert left("a b c d " * 40, period=3) == 1
    assert left("a b c d " * 40, period=4) == 0
    assert left("-" * 40) == 1
    assert left("-" * 40, unit="character") == 0


def test_long_texts_take_no_time_of_their_square():
    Repetitions().tag(Texts(["d", "e"], ["a a a b " * 12_000, "word " * 50_000], ["s", "s"]))
    Repetitions(unit="character").tag(Texts(["d"], ["aaab cccd" * 8_000], ["s"]))


@pytest.mark.parametrize(("wrong", "said"), [({"most": 2}, "most"), ({"period": 0}, "period"), ({"unit": "x"}, "unit")])
def test_bad_settings(wrong, said):
    with pytest.raises(ValueError, match=f"{said} must be"):
        Repetitions(**wrong)
