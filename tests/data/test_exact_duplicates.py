"""Exact duplicates: documents, paragraphs, passages to the code point, and the stated rate of a Bloom filter."""

import math

import numpy as np
import pytest

from trivium.data.exact_duplicates import (
    Bloom,
    Overfull,
    exact_duplicates,
    paragraph_duplicates,
    repeated_passages,
    window_classes,
    without,
)
from trivium.data.near_duplicates import normalised


def test_documents():
    texts = ["One two", "one  two", "One two", "", "three", ""]
    assert exact_duplicates(texts).survivor.tolist() == [0, 1, 0, 3, 4, 3]
    found = exact_duplicates(texts, normalise=normalised)
    assert found.survivor.tolist() == [1, 1, 1, 3, 4, 3]  # the longest
    preferred = exact_duplicates(texts, normalise=normalised, prefer=[(0,), (2,), (1,), (1,), (0,), (0,)])
    assert preferred.survivor.tolist() == [0, 0, 0, 5, 4, 5]
    assert exact_duplicates([]).survivor.tolist() == []


@pytest.mark.parametrize("text", ["one line\nanother line", "😀 drôle\n漢字\n", "a\n\nb\n"])
def test_the_second_copy_of_a_text_goes_to_the_last_character(text):
    found = paragraph_duplicates([text, text], least_words=0)
    assert without(text, found[1]) == ""
    assert not [span for span in found[0] if text[slice(*span)].strip()]
    again = paragraph_duplicates([text, text])  # empty paragraphs are spared
    assert without(text, again[1]).strip() == ""
    assert again[0] == []


def test_paragraphs_by_hand():
    texts = ["menu here\nits own text\nmenu here\nend", "menu here\nmore text that makes this one the longer"]
    found = paragraph_duplicates(texts)
    assert [[texts[at][slice(*span)] for span in spans] for at, spans in enumerate(found)] == [
        ["menu here\n", "menu here\n"],
        [],
    ]
    assert paragraph_duplicates(texts, prefer=[(0,), (1,)]) == [[(23, 33)], [(0, 10)]]
    assert paragraph_duplicates(texts, least_words=3) == [[], []]
    assert paragraph_duplicates(["x\n\ny y\n\nx"], separator="\n\n") == [[(8, 9)]]
    with pytest.raises(ValueError, match="empty separator"):
        paragraph_duplicates(texts, separator="")


def test_what_paragraphs_remain_does_not_depend_on_order():
    generator = np.random.default_rng(0)
    texts = ["\n".join(f"line {x}" for x in generator.integers(0, 30, 6)) for _ in range(20)]

    def remaining(texts):
        return sorted(map(without, texts, paragraph_duplicates(texts)))

    assert remaining(texts) == remaining(texts[::-1])
    assert sum(len(text.split("\n")) for text in remaining(texts) if text) < 120
    lines = [line for text in remaining(texts) for line in text.split("\n") if line]
    assert sorted(lines) == sorted({line for text in texts for line in text.split("\n")})  # each one once


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 13])
def test_windows_are_classed_as_a_slow_sort_does(length):
    values = np.random.default_rng(length).integers(0, 2, 300)
    runs = [tuple(values[at : at + length].tolist()) for at in range(300 - length + 1)]
    ranks = {run: rank for rank, run in enumerate(sorted(set(runs)))}
    assert window_classes(values, length).tolist() == [ranks[run] for run in runs]
    assert len(window_classes(values[: length - 1], length)) == 0


def slow(texts, order, length):
    """The definition, one run at a time."""
    first, repeated = {}, set()
    for place in order:
        for at in range(len(texts[place]) - length + 1):
            run = texts[place][at : at + length]
            repeated |= {run} if run in first else set()
            first.setdefault(run, (place, at))
    found = []
    for place, text in enumerate(texts):
        goes, stays = [False] * len(text), [False] * len(text)
        for at in range(len(text) - length + 1):
            run = text[at : at + length]
            if run in repeated:
                mark = stays if first[run] == (place, at) else goes
                mark[at : at + length] = [True] * length
        found.append("".join(one for one, go, stay in zip(text, goes, stays, strict=True) if stay or not go))
    return found


@pytest.mark.parametrize("length", [3, 7])
def test_passages_are_those_of_the_definition(length):
    generator = np.random.default_rng(length)
    texts = ["".join("ab😀é"[x] for x in generator.integers(0, 4, generator.integers(0, 60))) for _ in range(8)]
    texts += [texts[0], texts[1] + texts[2], ""]
    prefer = [(place,) for place in range(len(texts))]
    kept = list(map(without, texts, repeated_passages(texts, length, prefer=prefer)))
    assert kept == slow(texts, range(len(texts)), length)
    assert sum(map(len, kept)) < sum(map(len, texts))
    # Whatever run was repeated still stands in some text.
    runs = [text[at : at + length] for text in texts for at in range(len(text) - length + 1)]
    assert all(any(run in text for text in kept) for run in runs if runs.count(run) > 1)


def test_passages_end_with_characters_and_texts():
    shared = "the cat sat on the mat"
    texts = [f"é{shared}è and so it went on and on", f"ê{shared}ë"]  # é è ê ë share a byte of UTF-8
    assert [
        [t[slice(*span)] for span in spans] for t, spans in zip(texts, repeated_passages(texts, 20), strict=True)
    ] == [
        [],
        [shared],
    ]
    assert repeated_passages(["abcdef", "ghi", "abc", "defghi"], 6) == [[], [], [], []]  # only across ends
    assert repeated_passages(["abcabcabcabc"], 3) == [[(5, 12)]]  # abc, bca and cab stay, once each
    assert repeated_passages(["a" * 9], 4) == [[(4, 9)]]
    assert repeated_passages(["", "a"], 4) == [[], []]
    assert repeated_passages([], 4) == []
    with pytest.raises(ValueError, match="at least 1"):
        repeated_passages(["a"], 0)


def test_what_passages_remain_does_not_depend_on_order():
    generator = np.random.default_rng(3)
    texts = ["".join("abc"[x] for x in generator.integers(0, 3, 50)) for _ in range(9)]
    kept = [
        sorted(map(without, some, repeated_passages(some, 4))) for some in (texts, texts[::-1], texts[4:] + texts[:4])
    ]
    assert kept[0] == kept[1] == kept[2]


def test_without():
    assert without("abcdef", [(4, 5), (1, 3), (2, 3)]) == "adf"
    with pytest.raises(ValueError, match="5 to 9"):
        without("abcdef", [(5, 9)])


@pytest.mark.parametrize("rate", [0.2, 0.01])
def test_a_bloom_filter_errs_at_its_rate_and_forgets_nothing(rate):
    count = 4000
    bloom = Bloom(count, rate, seed=1)
    assert bloom.size == math.ceil(-count * math.log(rate) / math.log(2) ** 2)
    texts = [f"text {number}" for number in range(count)]
    wrong = sum(bloom.add(texts[at : at + 500]).sum() for at in range(0, count, 500))
    assert bloom.count == count - wrong
    assert bloom.holds(texts).all()
    # It is as full as it gets, so the rate is the one it was made for, up to the rounding of the number of hashes.
    assert bloom.projected(count) == pytest.approx(rate, rel=0.05)
    probes = 20_000
    seen = bloom.holds([f"probe {number}" for number in range(probes)]).mean()
    expected = bloom.projected()
    assert seen == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / probes))


def test_a_bloom_filter_marks_what_was_there_and_is_the_same_every_time():
    one, other, seeded = Bloom(100), Bloom(100), Bloom(100, seed=2)
    assert one.add(["a", "b", "a"]).tolist() == [False, False, True]
    assert one.add(["b", "c", "é😀"]).tolist() == [True, False, False]
    assert one.add([]).tolist() == one.holds([]).tolist() == []
    assert one.count == 4
    assert other.add(["é😀", "c", "b", "a"]).tolist() == [False] * 4
    seeded.add(["a", "b", "c", "é😀"])
    assert (one.bits == other.bits).all()
    assert (one.bits != seeded.bits).any()
    assert one.holds(["a", "d"]).tolist() == [True, False]
    assert Bloom(10).projected() == 0.0


def test_an_overfull_bloom_filter_says_so_and_takes_nothing():
    bloom = Bloom(20, 0.01)
    bloom.add([str(number) for number in range(20)])
    before = bloom.bits.copy()
    with pytest.raises(Overfull, match=r"made for 20: it would be wrong at a rate of 0\.\d+ instead of 0.01"):
        bloom.add([f"more {number}" for number in range(10)])
    assert (bloom.bits == before).all()
    for expected, rate in ((0, 0.1), (5, 0.0), (5, 1.0)):
        with pytest.raises(ValueError, match="at least 1 text"):
            Bloom(expected, rate)
