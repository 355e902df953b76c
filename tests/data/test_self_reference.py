import json
import re
from collections import Counter

import pytest

from trivium.data.self_reference import MAKERS, NUMBERS, Statement, holds, made, read


def independent(kind, text):
    """Whether a statement of this kind is true, without a regular expression of the checker's."""
    about = text.split('"')[1] if '"' in text else text
    plain = "".join(c if c.isalpha() or c == "'" else " " for c in about).split()
    said = text.rstrip(".").split()
    if kind == "words":
        return len(plain) == NUMBERS.index(said[-2])
    if kind == "letter":
        letter = said[said.index("letter") + 1]
        return sum(c == letter for c in about.lower()) == NUMBERS.index(said[-2])
    if kind == "first":
        return plain[0].lower() == said[-1].strip("'")
    if kind == "last":
        return plain[-1] == said[len(said) - 1 - said[::-1].index("word") + 1]
    if kind == "comma":
        return ("," in about) == ("a comma" in text)
    if kind == "capitals":
        return any(word == word.upper() and len(word) > 1 for word in plain)
    if kind == "language":
        return said[-1] == "English"
    mark = {"question": "?", "exclamation": "!", "full": "."}[
        next(w for w in ("question", "exclamation", "full") if w in text)
    ]
    return about.endswith(mark)


def test_a_thousand_statements_are_as_true_as_somebody_else_finds():
    found = made("test", 1000)
    assert len({one.beginning + one.true for one in found}) == 1000
    assert Counter(one.kind for one in found).keys() == set(MAKERS)
    assert min(Counter(one.kind for one in found).values()) > 30
    assert sum(bool(one.control) for one in found) > 100
    for one in found:
        assert independent(one.kind, one.beginning + one.true)
        assert not independent(one.kind, one.beginning + one.false)
        assert holds(one.beginning + one.true)
        assert not holds(one.beginning + one.false)
        if one.control:
            assert independent(one.kind, one.control + one.true)
            assert not independent(one.kind, one.control + one.false)
            assert '"' in one.control


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("This sentence has exactly six words.", True),
        ("This sentence has exactly seven words.", False),
        ('The sentence "Birds sing." has exactly two words.', True),
        ("This sentence has the letter e in it exactly ten times.", True),
        ("This sentence has the letter e in it exactly nine times.", False),
        ("This sentence begins with the word 'this'.", True),
        ("Clearly this sentence begins with the word 'this'.", False),
        ("This sentence ends with the word table.", True),
        ("This sentence ends with the word table today.", False),
        ("This sentence has a comma in it, or so it seems.", True),
        ("This sentence has no comma in it, or so it seems.", False),
        ("This sentence has a word in capitals HERE.", True),
        ("This sentence is written in Latin.", False),
        ("This sentence ends with a question mark?", True),
        ("This sentence ends with a full stop!", False),
    ],
)
def test_the_checker_by_hand(text, truth):
    assert holds(text) == truth


def test_splits_share_nothing_and_more_items_begin_with_fewer():
    test, validation = made("test", 200), made("validation", 60)
    assert made("test", 50) == test[:50]
    texts = [{one.beginning + one.true for one in each} for each in (test, validation)]
    assert not texts[0] & texts[1]
    with pytest.raises(ValueError, match="claims nothing that can be checked"):
        holds("Birds sing.")
    for call, told in (
        (lambda: made("train"), "the splits are"),
        (lambda: made("test", 0), "count must be 1 to 1500 statements, got 0"),
    ):
        with pytest.raises(ValueError, match=told):
            call()


ROW = {"beginning": "This", "true_continuation": " is.", "false_continuation": " is not."}


def test_a_plain_copy(tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_text(json.dumps(ROW | {"non_self_referential_beginning": "That"}) + "\n\n" + json.dumps(ROW))
    assert read(path) == (
        Statement("some-00001", "This", " is.", " is not.", "That"),
        Statement("some-00003", "This", " is.", " is not."),
    )
    path = tmp_path / "some.csv"
    path.write_text('beginning,true_continuation,false_continuation\n"This, too,", is.," is\nnot."\n')
    assert read(path) == (Statement("some-00003", "This, too,", " is.", " is\nnot."),)


@pytest.mark.parametrize(
    "data",
    [
        b"Salted__\x01\x02",
        b"U2FsdGVkX19abc",
        b"-----BEGIN PGP MESSAGE-----",
        b"PK\x03\x04rest",
        b"\xff\xfe\x00",
        b"a\0b",
        b"\x1f\x8b",
    ],
)
def test_a_sealed_file_is_refused_and_never_opened(tmp_path, data):
    path = tmp_path / "data.zip"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"is encrypted or packed and nothing here opens it.*a person does"):
        read(path)
    assert path.read_bytes() == data
    assert [each.name for each in tmp_path.iterdir()] == ["data.zip"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            json.dumps(ROW) + "\n" + json.dumps({"beginning": "This", "true_continuation": "x"}),
            "line 2 has no false_continuation",
        ),
        (json.dumps(ROW | {"beginning": " "}), "line 1 has no beginning"),
        (json.dumps(ROW | {"true_continuation": 3}), "line 1 has no true_continuation"),
        (json.dumps(ROW | {"false_continuation": " is."}), "line 1: both continuations of statement"),
        ('{"half', "line 1 is no JSON"),
        ("[1]", "line 1 is no object with fields"),
        ("beginning,true\na,b", "is neither JSON lines nor CSV with the headings beginning, true_continuation"),
        ("beginning,true_continuation,false_continuation\na,b,\n", "line 2 has no false_continuation"),
        ("beginning,true_continuation,false_continuation\n", "holds no statement"),
    ],
)
def test_bad_files(tmp_path, text, told):
    path = tmp_path / "some.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(told)):
        read(path)


def test_bad_statements():
    for given, told in (
        (("", "a", "b"), "no beginning"),
        (("a", " ", "b"), "no true continuation"),
        (("a", "b", "b"), "both continuations"),
    ):
        with pytest.raises(ValueError, match=told):
            Statement("one", *given)
