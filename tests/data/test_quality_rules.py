"""Quality rules: hand-worked numbers, the readings that differ, and parity with the published code."""

import json
from collections import Counter
from pathlib import Path

import pytest

from trivium.core.errors import UnknownName
from trivium.data.quality_rules import DECLARED, kept_lines, measure, sentences

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "quality_rules.json"


@pytest.fixture(scope="module")
def documents():
    if not VECTORS.exists():
        pytest.skip("the parity vectors are not there")
    return json.loads(VECTORS.read_text(encoding="utf-8"))["documents"]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_gopher_is_that_of_dolma(documents, version):
    for one in documents:
        expected = one["dolma"][f"gopher_{version}"]
        found = measure(one["text"], f"gopher_dolma_{version}")
        assert found.numbers == pytest.approx(expected["values"], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_c4_spans_are_those_of_dolma(documents, version):
    for one in documents:
        found = measure(one["text"], f"c4_dolma_{version}").spans
        flat = sorted([name, *span] for name, spans in found.items() for span in spans)
        assert flat == sorted(one["dolma"][f"c4_{version}"])


def test_gopher_is_that_of_datatrove(documents):
    for one in documents:
        theirs = one["datatrove"]
        found = measure(one["text"], "gopher_datatrove", words=theirs["words"])
        for name, value in theirs["values"].items():
            if value is not None:
                assert found.numbers[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
            else:  # undefined: absent where runs are too long, 0 elsewhere
                assert found.numbers.get(name, 0.0) == 0.0


def test_c4_is_that_of_datatrove(documents):
    for one in documents:
        kept, _, text, counters = one["datatrove"]["c4"]
        found = measure(one["text"], "c4_datatrove")
        without = one["datatrove"]["c4_no_min_sentences"]
        assert without[0]
        assert kept_lines(one["text"], "c4_datatrove") == without[2]
        assert found.numbers["line_count"] == counters.get("line-total", 0)
        assert len(found.spans.get("no_terminal_punctuation", ())) == counters.get("line-filter-no_terminal_punc", 0)
        if kept:
            assert kept_lines(one["text"], "c4_datatrove") == text


def test_gopher_by_hand():
    text = "the cat saw the cat\n- a #1 …\n\nx\nx\n"
    first, second = (measure(text, f"gopher_dolma_{version}").numbers for version in ("v1", "v2"))
    assert first["word_count"] == 11  # 5 and 4 words, and x twice
    assert first["median_word_length"] == 2  # 1 1 1 1 1 2 3 3 3 3 3
    assert first["symbol_to_word_ratio"] == pytest.approx(2 / 11)
    assert first["fraction_of_words_with_alpha_character"] == pytest.approx(8 / 11)
    assert first["required_word_count"] == 2
    assert first["fraction_of_lines_starting_with_bullet_point"] == pytest.approx(1 / 6)
    assert second["fraction_of_lines_ending_with_ellipsis"] == pytest.approx(1 / 5)
    assert first["fraction_of_duplicate_lines"] == pytest.approx(4 / 6)  # x twice, the empty line twice
    assert second["fraction_of_duplicate_lines"] == pytest.approx(2 / 5)
    assert first["fraction_of_characters_in_duplicate_lines"] == pytest.approx(2 / 22)
    assert first["fraction_of_characters_in_most_common_2grams"] == pytest.approx(2 * 6 / 22)
    assert first["fraction_of_characters_in_most_common_3grams"] == pytest.approx(9 / 22)  # a tie: the first


def test_runs_are_counted_as_by_a_slow_loop():
    words = ["a", "bb", "a", "bb", "a", "ccc", "a", "bb", "a", "bb", "a", "bb", "ccc", "dddd", "a", "bb", "a"]
    found = measure(" ".join(words), "gopher_dolma_v1").numbers
    for n in range(2, 11):
        runs = Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
        long = {run: count * len("".join(run)) for run, count in runs.items()}
        if n < 5:
            assert found[f"fraction_of_characters_in_most_common_{n}grams"] == pytest.approx(
                long[runs.most_common(1)[0][0]] / len("".join(words))
            )
        else:
            repeated = sum(long[run] for run, count in runs.items() if count > 1)
            share = repeated / sum(long.values())
            assert found[f"fraction_of_characters_in_duplicate_{n}grams"] == pytest.approx(share)
    assert 0 < found["fraction_of_characters_in_duplicate_5grams"] < 1


def test_the_two_readings_of_gopher_count_copies_differently():
    words = list("abcdeabcdeabc")
    theirs = measure(" ".join(words), "gopher_datatrove", words=words).numbers
    assert theirs["duplicated_5_n_grams"] == pytest.approx(5 / 25)  # one copy, as the next would overlap it
    ours = measure(" ".join(words), "gopher_dolma_v1").numbers
    assert ours["fraction_of_characters_in_duplicate_5grams"] == pytest.approx(8 / 9)  # four runs twice, of nine


def test_gopher_of_datatrove_by_hand():
    text = "• one... #\n  - the be…\n\n\nthe the\n\nthe the"  # 41 characters
    words = ["•", "one", "...", "#", "-", "the", "be", "…", "the", "the", "the", "the"]
    found = measure(text, "gopher_datatrove", words=words).numbers
    expected = {
        "n_words": 12,
        "n_non_symbol_words": 8,  # the bullet is one
        "mean_non_symbol_word_length": 21 / 8,
        "hash_ratio": 1 / 12,
        "ellipsis_ratio": 2 / 12,
        "bullet_line_ratio": 2 / 7,
        "ellipsis_line_ratio": 1 / 7,
        "alpha_word_ratio": 7 / 12,
        "distinct_stop_words": 2,
        "dup_para_frac": 1 / 3,
        "dup_para_char_frac": 7 / 41,
        "dup_line_frac": 1 / 4,  # empty lines are none
        "dup_line_char_frac": 7 / 41,
        "top_2_gram": 3 * 7 / 41,
        "top_3_gram": 2 * 11 / 41,
        "top_4_gram": 11 / 41,  # all once: the first, "• one ... #"
    } | {f"duplicated_{n}_n_grams": 0 for n in range(5, 11)}
    assert found == pytest.approx(expected)


def test_an_empty_document_measures_zero_and_is_no_error():
    for variant in DECLARED:
        found = measure("", variant, words=(), bad_words=("bad",))
        assert all(value == 0 for value in found.numbers.values()), variant
        assert set(found.numbers) | set(found.spans) <= DECLARED[variant]


def test_everything_measured_is_declared_and_everything_declared_is_measured():
    text = "One good { line of text.\nno end\nA b.\nJavaScript is a language here.\nUses cookies and terms of use.\n"
    text += "lorem ipsum is a word.\n" + "x" * 1001 + ".\nA bad word is here and here and here and here again.\n" + text
    for variant, declared in DECLARED.items():
        found = measure(text, variant, words=text.split(), bad_words=("bad",))
        measured = set(found.numbers) | set(found.spans)
        assert measured <= declared
        assert measured | {"has_javascript"} == declared | {"has_javascript"}, variant


def test_javascript_is_a_word_or_a_part():
    for text, first, second in (("Use javascript here.", 1, 1), ("Use javascript: here.", 0, 1), ("Use it.", 0, 0)):
        for version, there in (("v1", first), ("v2", second)):
            assert ("has_javascript" in measure(text, f"c4_dolma_{version}").spans) == bool(there)


def test_c4_spans_count_code_points_of_the_text_as_given():
    text = "İİ 😀\nGood line here.\nİ"
    spans = measure(text, "c4_dolma_v2").spans["lines_with_no_ending_punctuation"]
    assert [text[start:end] for start, end, _ in spans] == ["İİ 😀\n", "İ"]


def test_bad_words_are_looked_for_only_where_a_list_is_given():
    text = "A bad thing. It was so. It was so. It was so. It was so."
    for variant, name in (("c4", "bad_words"), ("c4_dolma_v1", "has_naughty_word")):
        without, given = measure(text, variant), measure(text, variant, bad_words=("bad", "no good"))
        assert name not in without.numbers
        assert name not in without.spans
        assert given.numbers.get(name) == 1 or given.spans[name] == ((0, len(text), 1.0),)
        phrase = measure(text.replace("bad", "no good"), variant, bad_words=("no good",))
        assert phrase.numbers.get(name) == 1 or name in phrase.spans
    assert measure("A badly made thing.", "c4", bad_words=("bad",)).numbers["bad_words"] == 0


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("x" * 1001 + " is a word.", "long_word"),
        ("It goes on and on...", "no_terminal_punctuation"),
        ("Too few.", "too_few_words"),
        ("Some lorem ipsum here.", "lorem_ipsum"),
        ("Some JavaScript { here.", "javascript"),
        ("Some { here too.", "curly_brace"),
        ("Read our Privacy Policy now.", "policy"),
    ],
)
def test_the_first_fault_of_a_line_counts(line, fault):
    text = f"It is good.\r\n  {line}\nIt is 'good'\n"
    found = measure(text, "c4_datatrove")
    assert [text[start:end].strip() for start, end, _ in found.spans[fault]] == [line]
    assert list(found.spans) == [fault]
    assert kept_lines(text, "c4_datatrove") == "It is good.\nIt is 'good'"


def test_citations_go_and_three_sentences_may_be_enough():
    assert kept_lines("It was so.[12] And so.[edit]", "c4_datatrove") == "It was so. And so."
    assert kept_lines("It was so.[12]", "c4") == ""
    assert measure("It was so. Then.", "c4", count=lambda line: 9).numbers["sentences"] == 9
    assert sentences("!" * 50_000 + "x") == 1  # in no time
    assert sentences("Well...?! Yes.") == 2
    assert [sentences(x) for x in ("", "no end", 'A. "B!" c?', "3.5 is one...", "A. b")] == [0, 1, 3, 1, 2]


def test_fineweb_by_hand():
    text = "A line that ends with a full stop and is long.\nshort\n\nshort\n"
    now, first = measure(text, "fineweb").numbers, measure(text, "fineweb_first").numbers
    assert now["line_punct_ratio"] == pytest.approx(1 / 3)
    assert first["line_punct_ratio"] == pytest.approx(1 / 5)
    assert now["short_line_ratio"] == pytest.approx(2 / 3)
    assert first["short_line_ratio"] == pytest.approx(4 / 5)
    assert now["char_dup_ratio"] == first["char_dup_ratio"] == pytest.approx(5 / 56)
    assert now["list_ratio"] == pytest.approx(4 / 13)
    assert measure(text, "fineweb", words=["w"] * 8).numbers["list_ratio"] == 0.5


def test_an_unknown_reading_is_refused():
    with pytest.raises(UnknownName, match="no variant"):
        measure("text", "gopher")
    with pytest.raises(UnknownName, match="line rules"):
        kept_lines("text", "c4_dolma_v1")
    with pytest.raises(ValueError, match="give them as words="):
        measure("text", "gopher_datatrove")
