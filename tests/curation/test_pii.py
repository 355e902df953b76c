"""Addresses and numbers: found where they stand, at both ends of a text too, and nothing that only looks alike."""

import pytest

from trivium.curation.pii import PII, QUESTIONS
from trivium.data.curating import curated
from trivium.data.marks import Texts
from trivium.data.planted import planted


def found(text: str) -> dict[str, list[str]]:
    marks = PII().tag(Texts(["d"], [text], ["s"]))
    return {kind: [text[a:b] for a, b, _ in rows[0]] for kind, rows in marks.spans.items() if rows[0]}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a.b+c@mail.example.org", {"email": ["a.b+c@mail.example.org"]}),
        ("Write to x@y.org.", {"email": ["x@y.org"]}),
        ("🙂🙂 x@y.org 🙂", {"email": ["x@y.org"]}),
        ("not@home or @name or a@b", {}),
        ("call 555-123-4567", {"phone": ["555-123-4567"]}),
        ("(555) 123-4567 or 555.123.4567", {"phone": ["(555) 123-4567", "555.123.4567"]}),
        ("5551234567", {"phone": ["5551234567"]}),
        ("number 1555-123-45678", {}),
        ("ISBN 555-123-4567", {}),
        ("the server 192.168.0.1 answers", {"ip": ["192.168.0.1"]}),
        ("version 1.2.3.4.5 and 256.1.1.1", {}),
        ("see #12: 10.0.0.1", {}),
    ],
)
def test_what_is_found(text, wanted):
    assert found(text) == wanted


def test_all_planted_passages_are_found_and_nothing_else():
    documents = list(planted(400, seed=2, shares={"personal": 0.3}))
    marks = PII().tag(Texts.of(documents))
    for place, document in enumerate(documents):
        wanted = sorted((kind, start, end) for kind, start, end in document.metadata.get("spans", []))
        seen = sorted((kind, a, b) for kind, rows in marks.spans.items() for a, b, _ in rows[place])
        assert seen == wanted


def test_what_is_masked_holds_no_match_any_more():
    texts = Texts(["a", "b"], ["x@y.org", "call 555-123-4567 or x@y.org, 10.0.0.1"], ["s", "s"])
    kept = curated(PII(), texts).texts
    assert list(kept.texts) == [
        " |||EMAIL_ADDRESS||| ", "call  |||PHONE_NUMBER|||  or  |||EMAIL_ADDRESS||| ,  |||IP_ADDRESS||| "
    ]  # fmt: skip
    assert not any(rows for column in PII().tag(kept).spans.values() for rows in column)


def test_documents_full_of_addresses_are_dropped():
    many = " ".join(f"a{n}@b.org" for n in range(6))
    assert curated(PII(), Texts(["a"], [many], ["s"])).counts.dropped == {"pii.passages": 1}
    assert curated(PII(most=6), Texts(["a"], [many], ["s"])).counts.kept == 1


def test_a_text_that_would_take_long_says_so():
    marks = PII().tag(Texts(["a"], ["?" * (QUESTIONS + 1) + " x@y.org"], ["s"]))
    assert (marks.numbers["looked"][0], marks.numbers["passages"][0]) == (0, 0)


def test_bad_settings():
    with pytest.raises(ValueError, match="most must be at least 0, got -1"):
        PII(most=-1)
