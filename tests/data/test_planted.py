"""Planted faults are what they are said to be, at their shares, and the same for a seed."""

import re
from collections import Counter

import pytest

from trivium.data.near_duplicates import jaccard, normalised, shingles
from trivium.data.planted import FAULTS, MORE, PASSAGE, items, notices, planted

MADE = list(planted(3000, seed=1))
BY_ID = {document.id: document for document in MADE}


def of(fault: str):
    return [document for document in MADE if document.metadata.get("planted") == fault]


def test_shares_are_met():
    counts = Counter(document.metadata.get("planted", "") for document in MADE)
    assert counts.keys() == {"", *FAULTS}
    assert all(90 - 40 < counts[fault] < 90 + 40 for fault in FAULTS)


def test_the_same_again_and_its_beginning():
    assert list(planted(50, seed=1)) == MADE[:50]
    assert [document.text for document in planted(5, seed=2)] != [document.text for document in MADE[:5]]


def test_copies_and_near_copies():
    for document in of("copy"):
        original = BY_ID[document.metadata["of"]]
        assert normalised(document.text) == normalised(original.text)
    alike = [
        jaccard(shingles(normalised(document.text)), shingles(normalised(BY_ID[document.metadata["of"]].text)))
        for document in of("near")
    ]
    assert 0.75 < sum(alike) / len(alike) < 0.95
    assert max(alike) < 1


def test_personal_passages_are_where_they_are_said_to_be():
    looks = {"email": r"[a-z]+\.[a-z]+@[a-z.]+", "phone": r"\d{3}-\d{3}-\d{4}", "ip": r"(\d{1,3}\.){3}\d{1,3}"}
    seen = Counter()
    for document in of("personal"):
        for kind, start, end in document.metadata["spans"]:
            assert re.fullmatch(looks[kind], document.text[start:end])
            seen[kind] += 1
    assert set(seen) == set(looks)


def test_leaked_items_are_there_and_nowhere_else():
    questions = items(1)
    assert len(set(questions)) == 20
    for document in MADE:
        inside = [number for number, question in enumerate(questions) if question in document.text]
        assert inside == ([document.metadata["item"]] if document.metadata.get("planted") == "leaked" else [])


def test_shares_that_make_no_sense():
    with pytest.raises(ValueError, match="no fault is called 'spam'"):
        next(planted(1, shares={"spam": 0.1}))
    with pytest.raises(ValueError, match="at most 1 in all"):
        next(planted(1, shares=0.2))
    assert {document.metadata.get("planted") for document in planted(20, shares={"short": 1.0})} == {"short"}


def test_what_is_planted_on_demand_is_where_it_is_said_to_be():
    made = list(planted(400, seed=2, shares={"paragraph": 0.1, "passage": 0.1, "visited": 0.1}))
    by_id, seen = {document.id: document for document in made}, Counter()
    for document in made:
        fault, text = document.metadata.get("planted"), document.text
        seen[fault] += 1
        if fault == "paragraph":
            ((_, start, end),) = document.metadata["spans"]
            assert text[start:end] in notices(2)
            assert text[start:end] in text.split("\n")
        elif fault == "passage":
            ((_, start, end),) = document.metadata["spans"]
            assert end - start == PASSAGE
            assert text[start:end] in by_id[document.metadata["of"]].text
        elif fault == "visited":
            address = by_id[document.metadata["of"]].metadata["url"]
            assert document.metadata["url"].split("://")[1] == address.split("://")[1]
            assert text != by_id[document.metadata["of"]].text
    assert all(20 < seen[fault] < 65 for fault in MORE)
    assert len({document.metadata["url"].split("://")[1] for document in made}) == 400 - seen["visited"]
    assert "url" not in next(planted(1)).metadata
