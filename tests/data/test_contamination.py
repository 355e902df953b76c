"""Test items in training text: found wherever they stand, with their places, and nothing else is."""

import numpy as np
import pytest

from trivium.data import contamination
from trivium.data.contamination import Item, Wanted, dirty, reports, run_length, words

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


# Several benchmarks at once -------------------------------------------------------------------------------------------

QUESTION = "Which of the seven old towns at the great northern river was burnt down three times in one year"
ITEM = Item("towns", "a", QUESTION, "It was the smallest one")
FILL = " ".join(f"filler{number}" for number in range(40))


def overlap(items, documents, cap=np.inf, examples=3, **settings):
    wanted = Wanted(tuple(items), **settings)
    found = [wanted.find(text) for text in documents]
    hits = np.array([(run, at) for at, (row, _) in enumerate(found) for run, *_ in row], np.int64).reshape(-1, 2)
    named = [("s", str(number)) for number in range(len(found))]
    return reports(wanted, hits, named, sum(count for _, count in found), cap=cap, examples=examples)


def only(items, documents, **settings):
    (report,) = overlap(items, documents, **settings)
    return report


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_planted_item_is_found_at_any_place_and_across_line_breaks(place):
    parts = [FILL, FILL]
    parts.insert(place, QUESTION.upper().replace(" ", ",\n", 7))
    report = only([ITEM], ["nothing here", " ".join(parts)])
    assert report.dirty == ("a",)
    assert report.clean == ()
    assert report.hits == 19 - 13 + 1
    assert report.per_million == pytest.approx(1e6 * 7 / 101)
    ((*where, shared),) = report.examples
    assert where == ["a", "s", "1"]
    assert shared in QUESTION.lower()
    assert len(shared.split()) == 13


def test_places_count_code_points_of_the_text_as_it_is():
    text = f"😀 İ e\u0301 {QUESTION.upper()}!"
    hits, count = Wanted((ITEM,)).find(text)
    assert count == 21
    assert text[hits[0][1] : hits[-1][2]] == QUESTION.upper()
    assert text[slice(*hits[0][1:])].split() == QUESTION.upper().split()[:13]


def test_a_run_of_twelve_is_none_of_thirteen():
    part = " ".join(QUESTION.split()[2:14])
    assert only([ITEM], [part]).clean == ("a",)
    assert only([ITEM], [part], length=12).dirty == ("a",)
    assert only([ITEM], [" ".join(QUESTION.split()[2:9]), " ".join(QUESTION.split()[9:15])]).hits == 0  # two texts


def test_short_items_are_matched_whole_and_shorter_ones_not_at_all():
    eight = "one two three four five six seven eight"
    items = [Item("short", "eight", eight), Item("short", "seven", eight[:-6]), Item("short", "none", "?")]
    report = only(items, [f"so {eight} and on"])
    assert (report.dirty, report.clean, report.unchecked) == (("eight",), (), ("none", "seven"))
    assert only(items, [eight[:-6]]).clean == ("eight",)
    assert only(items, [eight[:-6]], least_words=7).dirty == ("seven",)


def test_runs_may_have_to_touch_the_answer():
    asked, straddling = [QUESTION], [f"{QUESTION} It was"]
    assert only([ITEM], asked, question_alone=False).clean == ("a",)
    assert only([ITEM], straddling, question_alone=False).hits == 2
    assert only([ITEM], straddling).hits == 9
    report = only([ITEM, Item("towns", "b", QUESTION + " now")], straddling, question_alone=False)
    assert (report.dirty, report.unchecked) == (("a",), ("b",))
    brief = Item("towns", "c", "Who was it then", "It was the smallest one")
    assert only([brief], ["who was it then it was the smallest one"], question_alone=False).dirty == ("c",)


def test_what_stands_in_too_many_documents_counts_as_nobody_s():
    licence = " ".join(f"term{number}" for number in range(13))
    items = [Item("x", "licence", licence), ITEM]
    documents = [licence, FILL + " " + licence, licence + " " + licence, QUESTION]
    towns, capped = overlap(items, documents, cap=2)
    assert (capped.dirty, capped.clean, capped.common, capped.hits) == ((), ("licence",), 1, 0)
    assert (towns.dirty, towns.common) == (("a",), 0)
    free = overlap(items, documents, cap=3)[1]  # documents, not hits, are counted
    assert (free.dirty, free.common, free.hits) == (("licence",), 0, 4)


def test_a_benchmark_s_report_does_not_depend_on_others_nor_on_order():
    generator = np.random.default_rng(0)
    documents = [" ".join(f"w{x}" for x in generator.integers(0, 9, 40)) for _ in range(20)]
    items = [
        Item(benchmark, str(number), " ".join(f"w{x}" for x in generator.integers(0, 9, 12)))
        for benchmark in ("one", "two")
        for number in range(15)
    ]
    both = overlap(items, documents, length=4, least_words=2)
    assert both == overlap(items[::-1], documents, length=4, least_words=2)
    assert both[1:] == overlap(items[15:], documents, length=4, least_words=2)
    for report in both:  # by hand, run by run
        dirty = []
        for item in items:
            own = item.question.split()
            runs = {" ".join(own[at : at + 4]) for at in range(9)}
            if item.benchmark == report.benchmark and any(
                f" {run} " in f" {text} " for run in runs for text in documents
            ):
                dirty.append(item.id)
        assert report.dirty == tuple(sorted(dirty))
        assert report.clean
        assert report.dirty
        assert len(report.examples) == 3
    assert overlap(items, documents, length=4, least_words=2, examples=0)[0].examples == ()


def test_hashes_that_agree_by_chance_are_no_hit(monkeypatch):
    monkeypatch.setattr(contamination, "run_hashes", lambda parts, size: np.zeros(max(len(parts) - size + 1, 0)))
    assert only([ITEM], [FILL]).hits == 0


def test_letters_count_as_composed():
    item = Item("x", "a", "el niño comió " * 4)
    assert only([item], ["EL NIN\u0303O COMIO\u0301 " * 4]).dirty == ("a",)


def test_whole_paragraphs():
    item = Item("x", "a", f"short one\n{QUESTION}", FILL)
    wanted = {"paragraphs": True, "least_words": 13}
    report = only([item], [f"a\n  {QUESTION}\nb", f"and {QUESTION}", QUESTION.upper(), "short one"], **wanted)
    assert (report.dirty, report.hits) == (("a",), 1)
    text = f"a\n  {QUESTION}\nb\n{FILL}"
    hits, _ = Wanted((item,), **wanted).find(text)
    assert [text[a:b] for _, a, b in hits] == [QUESTION, FILL]
    with pytest.raises(ValueError, match="no paragraph has 13 words"):
        only([Item("x", "a", "short\none")], ["text"], **wanted)


def test_nothing_to_check_is_an_error():
    with pytest.raises(ValueError, match="an empty set is no clean one"):
        overlap([], ["text"])
    with pytest.raises(ValueError, match="nothing to check in 'short': no item has 8 words; lower"):
        overlap([ITEM, Item("short", "a", "too short")], ["text"])
    with pytest.raises(ValueError, match="and an answer"):
        overlap([Item("towns", "a", QUESTION)], ["text"], question_alone=False)
    with pytest.raises(ValueError, match="'a' of 'towns' is there twice"):
        overlap([ITEM, ITEM], ["text"])
    with pytest.raises(ValueError, match="got length 0"):
        overlap([ITEM], ["text"], length=0)
    report = only([ITEM], [])
    assert (report.clean, report.hits, report.per_million) == (("a",), 0, 0.0)
