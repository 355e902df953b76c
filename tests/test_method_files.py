"""Every method file reads as one: five headings, a card, validated frozen fields, its test and its claim."""

import dataclasses

import pytest

from trivium.core.method import HEADINGS, PACKAGE, card_of, entry, find, kinds, names

ROOT = PACKAGE.parent
METHODS = [(kind, name) for kind in kinds() for name in names(kind)]


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_the_file_is_complete(kind, name):
    got = entry(kind, name)
    assert tuple(got.headings) == HEADINGS, f"headings are {tuple(got.headings)}"
    assert all(text.strip() for text in got.headings.values()), "an empty heading"
    assert got.card.title
    assert got.card.source
    assert got.card.year == 0 or 1940 < got.card.year < 2100
    for option in got.options:
        assert option.default, f"{option.name} has no default: a method works as it comes"
    lines = len((PACKAGE / kind / f"{name}.py").read_text(encoding="utf-8").splitlines())
    assert lines <= 400, f"{lines} lines; move what is shared to nn or to a private file of the kind"


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_the_class_is_a_frozen_dataclass_with_that_card(kind, name):
    cls = find(kind, name)
    assert dataclasses.is_dataclass(cls)
    assert cls.__dataclass_params__.frozen
    assert card_of(cls) == entry(kind, name).card
    assert cls() == cls()


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_it_has_a_test_and_a_claim(kind, name):
    assert (ROOT / "tests" / kind / f"test_{name}.py").is_file()
    assert (ROOT / "claims" / kind / f"{name}.py").is_file()
