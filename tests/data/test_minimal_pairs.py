import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from trivium.data.minimal_pairs import GRAMMAR, WORLD, Item, known, made, read, words

SHARED = Path(__file__).parents[3] / "shared" / "data" / "blimp"


def test_our_own_items():
    test, validation = made("test"), made("validation")
    names = set(GRAMMAR) | set(WORLD)
    assert Counter(item.paradigm for item in test) == dict.fromkeys(names, 20)
    assert Counter(item.paradigm for item in validation) == dict.fromkeys(names, 10)
    assert not {item.trials for item in test} & {item.trials for item in validation}
    assert len({item.trials for item in (*test, *validation)}) == len(test) + len(validation)
    assert len({item.id for item in (*test, *validation)}) == len(test) + len(validation)
    for item in (*test, *validation):
        for trial in item.trials:
            assert trial[0] != trial[1]
            for context, text in trial:
                assert not (set("{}[]") & set(context + text)), text
                assert text[-1] in ".?"
                assert "  " not in text


def test_islands_and_statements_are_made_of_the_same_words():
    for item in made("test"):
        if item.paradigm == "island":
            ((good, bad),) = item.trials
            assert Counter(words(good[1])) == Counter(words(bad[1]))
        if item.suite == "world":
            (first, second), (third, fourth) = item.trials
            assert first[0] == second[0] != third[0] == fourth[0]
            assert (first[1], second[1]) == (fourth[1], third[1])


def test_prefix_forms_are_the_full_ones_cut_up():
    full = {item.id: item.trials[0] for item in made("test")}
    for form in ("one_prefix", "two_prefix"):
        for item in made("test", form):
            ((good, bad),) = item.trials
            for (prefix, word), (_, sentence) in zip((good, bad), full[item.id], strict=True):
                assert sentence.startswith(f"{prefix} {word}")
            assert (good[0] == bad[0]) == (form == "one_prefix")
            assert (good[1] == bad[1]) == (form == "two_prefix")
    forms = {form: {item.paradigm for item in made("test", form)} for form in ("one_prefix", "two_prefix")}
    assert forms["two_prefix"] == {"no_ever", "not_any", "transitive"}
    assert not forms["one_prefix"] & forms["two_prefix"]
    assert len(forms["one_prefix"]) == 11


def test_words():
    assert words("Anna can't find “Tom's” hat, THAT hat.") == ["anna", "can't", "find", "tom's", "hat", "that", "hat"]
    item = Item("one", ((("The cup", "fell."), ("The cup", "flew.")),), "p", "p", "s")
    assert item.words == {"the", "cup", "fell", "flew"}
    assert known([item], {"the", "cup", "fell", "flew", "far"}) == (item,)
    with pytest.raises(ValueError, match="no item is made of these 3 words alone"):
        known([item], {"the", "cup", "fell"})


PAIR = {"sentence_good": "A b.", "sentence_bad": "A c.", "UID": "one", "linguistics_term": "some"}
PREFIX = PAIR | {
    "one_prefix_method": True,
    "two_prefix_method": False,
    "one_prefix_prefix": "A",
    "one_prefix_word_good": "b",
    "one_prefix_word_bad": "c",
}
TWO = PAIR | {
    "two_prefix_method": True,
    "two_prefix_prefix_good": "A",
    "two_prefix_prefix_bad": "O",
    "two_prefix_word": "b",
}
EWOK = {"Domain": "dom", "Context1": "C1", "Context2": "C2", "Target1": "T1", "Target2": "T2"}


def write(path, *rows):
    path.parent.mkdir(exist_ok=True)
    data = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


def test_files_and_folders(tmp_path, caplog):
    root = tmp_path / "all"
    root.mkdir()
    write(root / "blimp" / "one.jsonl.gz", PREFIX, TWO, PAIR)
    write(root / "extra" / "questions.jsonl", {"sentence_good": "x", "sentence_bad": "y"})
    write(root / "ewok" / "dom.jsonl", EWOK)
    write(root / "ewok" / "summary.jsonl", {"accuracy": 1.0})
    found = read(root)
    assert [(i.suite, i.paradigm, i.phenomenon) for i in found] == [
        ("blimp", "one", "some"),
        ("blimp", "one", "some"),
        ("blimp", "one", "some"),
        ("ewok", "dom", "dom"),
        ("extra", "questions", "questions"),
    ]
    assert "summary.jsonl holds no pairs" in caplog.text
    assert found[0].trials == ((("", "A b."), ("", "A c.")),)
    assert found[3].trials == ((("C1", "T1"), ("C1", "T2")), (("C2", "T2"), ("C2", "T1")))
    assert [i.trials for i in read(root, "one_prefix")] == [((("A", "b"), ("A", "c")),)]
    assert [i.trials for i in read(root, "two_prefix")] == [((("A", "b"), ("O", "b")),)]
    assert [i.suite for i in read(root / "blimp" / "one.jsonl.gz")] == ["one"] * 3
    assert [i.suite for i in read(root / "blimp")] == ["blimp"] * 3


def test_a_pair_without_a_choice_can_be_left_out(tmp_path, caplog):
    path = write(tmp_path / "some.jsonl", PAIR, PAIR | {"sentence_bad": "A b."}, PAIR)
    assert [item.id for item in read(path, alike="skip")] == ["some/some-00001", "some/some-00003"]
    assert "line 2 is left out: both sentences are 'A b.'" in caplog.text


def test_bad_files(tmp_path):
    for rows, told in (
        ((PAIR, PAIR | {"sentence_bad": "A b."}), "line 2: both sentences are 'A b.'; set alike to 'skip'"),
        ((PAIR, "", "{half"), "line 3 is no JSON"),
        ((PAIR, {"sentence_good": "x"}), "line 2 is no minimal pair: KeyError"),
        (({"text": "x"},), "line 1 is no minimal pair"),
        ((EWOK | {"Target2": "T1"},), "line 1: both contexts or both targets are alike"),
        (("[1]",), "line 1 is no minimal pair"),
        (("",), "holds no item in the form 'full'"),
    ):
        with pytest.raises(ValueError, match=told):
            read(write(tmp_path / "some.jsonl", *rows))
    with pytest.raises(ValueError, match="holds no item in the form 'two_prefix'"):
        read(write(tmp_path / "some.jsonl", PREFIX), "two_prefix")
    (tmp_path / "no.jsonl.gz").write_bytes(b"plain")
    with pytest.raises(ValueError, match=r"must end in \.gz where it is gzip"):
        read(tmp_path / "no.jsonl.gz")
    with pytest.raises(FileNotFoundError, match="is not there"):
        read(tmp_path / "none.jsonl")
    for call, told in (
        (lambda: read(tmp_path, "full", "drop"), "alike must be one of refuse, skip; got 'drop'"),
        (lambda: read(tmp_path, "half"), "form must be one of full, one_prefix, two_prefix; got 'half'"),
        (lambda: made("train"), "the splits are"),
        (lambda: made("test", "half"), "form must be"),
    ):
        with pytest.raises(ValueError, match=told):
            call()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not here")
def test_blimp_s_own_files():
    with pytest.raises(ValueError, match=r"principle_A_case_2.jsonl.gz, line 106: both sentences are"):
        read(SHARED)
    found = read(SHARED, alike="skip")
    counts = Counter(item.paradigm for item in found)
    assert counts.pop("principle_A_case_2") == 995
    assert set(counts.values()) == {1000}
    assert {item.suite for item in found} == {"blimp"}
    assert "island_effects" in {item.phenomenon for item in found}
    one = [item for item in read(SHARED, "one_prefix", "skip") if item.paradigm == "anaphor_gender_agreement"]
    assert one[0].trials == ((("Katherine can't help", "herself"), ("Katherine can't help", "himself")),)
