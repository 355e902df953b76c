"""Planted files: what is planted is there, where it is said to be, and depends on the seed alone."""

import ast
from collections import Counter

import pytest

from trivium.data.planted_code import FAULTS, SECRETS, planted_code


def test_shares_and_faults():
    found = Counter(document.metadata.get("planted", "") for document in planted_code(300, 1))
    assert found.keys() == {"", *FAULTS}
    assert found[""] > 120
    assert {document.metadata["planted"] for document in planted_code(5, shares={"bare": 1.0})} == {"bare"}


def test_the_same_seed_gives_the_same_files():
    assert list(planted_code(20, 4)) == list(planted_code(40, 4))[:20]
    assert [d.text for d in planted_code(5, 4)] != [d.text for d in planted_code(5, 5)]


def test_modules_are_python():
    for document in planted_code(60, 2, shares={"secret": 0.3, "lookalike": 0.3, "bare": 0.2}):
        ast.parse(document.text)


def test_spans_are_those_of_the_secrets():
    kinds = set()
    for document in planted_code(60, 2, shares={"secret": 1.0}):
        for kind, start, end in document.metadata["spans"]:
            kinds.add(kind)
            secret = document.text[start:end]
            assert len(secret) >= 10
            assert document.text.count(secret) == 1
            assert secret.strip("\"' ") == secret
    assert kinds == set(SECRETS)


def test_bad_shares():
    with pytest.raises(ValueError, match="no fault is called 'rust'"):
        list(planted_code(1, shares={"rust": 0.1}))
    with pytest.raises(ValueError, match="at most 1 in all"):
        list(planted_code(1, shares=0.2))
