"""Phrases are compared by their stems, and stand in a text or not."""

import json

import numpy as np
import pytest

from trivium.data.keyphrases import (
    STOP,
    Document,
    candidates,
    counted,
    listed,
    made,
    parted,
    random_runs,
    read,
    read_list,
    stands,
    stems,
    tfidf,
    words,
)

TEXT = stems("Battery ferries cross the fjord. Ferry-boats need cold-weather batteries!")


def test_stems_by_hand():
    assert stems("Cold-weather BATTERIES") == ("cold", "weather", "batteri")
    assert stems("running_times") == ("run", "time")
    assert stems("... --") == ()
    assert stands(stems("battery ferry"), TEXT)
    assert stands(stems("cold weather battery"), TEXT)
    assert not stands(stems("ferry battery"), TEXT)
    assert not stands(stems("fjord crossing"), TEXT)
    assert not stands((), TEXT)
    assert not stands((*TEXT, "end"), TEXT)
    with pytest.raises(TypeError, match="a phrase must be a string, got 7"):
        stems(7)


def test_lists_are_cleaned_in_their_order():
    found = listed(["Ferries", "", "cold weather", "ferry", "?!", "a <unk> b", "ferry "])
    assert found.kept == (("ferri",), ("cold", "weather"))
    assert found.everything == (("ferri",), ("cold", "weather"), ("ferri",), ("ferri",))
    assert (found.duplicates, found.invalid) == (2, 3)


def test_present_and_absent_are_all_and_as_counted_by_hand():
    for split in ("test", "validation"):
        for document, count in counted(split):
            kept = listed(document.phrases).kept
            here, absent = parted(kept, stems(document.text))
            assert [*here, *absent] == list(kept)
            assert len(here) == count, document.id
    assert (len(made("test")), len(made("validation"))) == (20, 4)
    with pytest.raises(ValueError, match="got 'train'"):
        made("train")


def test_what_was_written_is_cut_into_phrases():
    assert read_list(" 1. wild bees, 'field'; 2) seed yield\n- a-b\n* c\n\n12. x.") == [
        "wild bees", "field", "seed yield", "a-b", "c", "x",
    ]  # fmt: skip
    assert read_list(" ,;\n. ") == []


def test_candidates_hold_no_marks_and_no_words_of_no_weight():
    assert candidates("Old bees, new bees of 7 hills") == ["old", "old bees", "bees", "bees", "hills"]
    assert max(len(words(run)) for run in candidates(made("test")[0].text)) == 3
    for one in made("test"):
        for run in candidates(one.text):
            assert not set(words(run)) & STOP
            assert stands(stems(run), stems(one.text))


def test_tfidf_by_hand():
    documents = [Document("a", "ash ash elm", ()), Document("b", "elm oak", ()), Document("c", "elm", ())]
    first = tfidf(documents, longest=1)
    assert first == [["ash", "elm"], ["oak", "elm"], ["elm"]]
    runs = tfidf([Document("a", "ash trees. ash tree", ()), Document("b", "oak", ())])[0]
    assert runs == ["ash trees", "ash", "trees"]  # of one weight: the longer first, the same stems once


def test_a_lot():
    one = made("test")[0]
    drawn = random_runs(one, 6, np.random.default_rng(0))
    assert len(set(drawn)) == 6
    assert drawn == random_runs(one, 6, np.random.default_rng(0))
    assert drawn != random_runs(one, 6, np.random.default_rng(1))
    assert set(drawn) <= set(candidates(one.text))


def test_files(tmp_path):
    path = tmp_path / "some.jsonl"
    rows = [
        {"title": "T", "abstract": "A b.", "keywords": "one; two ;"},
        {"id": "x", "text": "C d.", "keyphrases": ["one, two", "three"]},
        {"abstract": "E f.", "keywords": []},
    ]
    path.write_text("\n\n".join(map(json.dumps, rows)))
    found = read(path)
    assert [one.id for one in found] == ["some-00001", "x", "some-00005"]
    assert [one.text for one in found] == ["T. A b.", "C d.", "E f."]
    assert [one.phrases for one in found] == [("one", "two"), ("one, two", "three"), ()]
    for row, said in (
        ({"abstract": "A", "keywords": [3]}, "text and phrases must be strings, got 3"),
        ({"abstract": 5, "keywords": []}, "must be strings, got 5"),
        ({"abstract": "A", "keywords": 3}, "keywords must be a list"),
        ({"abstract": "A"}, "'keyphrases'"),
        ({"abstract": " ", "keywords": "a"}, "has no text"),
    ):
        path.write_text(json.dumps(rows[0]) + "\n" + json.dumps(row))
        with pytest.raises(ValueError, match=f"some.jsonl, line 2 is no document with keyphrases: .*{said}"):
            read(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match="holds no document"):
        read(path)
