import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivium.data.keyboard import BESIDE
from trivium.data.perturbations import (
    PERTURBATIONS,
    Contractions,
    Dialect,
    Edit,
    Fillers,
    Gender,
    LowerCase,
    Misspelling,
    Mix,
    Names,
    Spaces,
    Synonyms,
    Typos,
    edited,
    mild,
    named,
)

TEXT = "John did not find his keys because HE IS tired. Where is John? It is under the big stone, he said himself."


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_pure_and_seeded(name):
    one = named(name)
    assert one.name == name
    assert one(TEXT, 3) == one(TEXT, 3)
    assert one("") == one("", 1)
    assert not one("").changed
    assert any(one(TEXT, seed).changed for seed in range(5))


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_what_is_left_alone_is_where_the_map_says(name):
    """Words that no edit touches are found again by their map, in whatever became of the text."""
    made = named(name)(TEXT, 5)
    assert made.span(0, len(TEXT))[1] == len(made.text)
    moved = 0
    for word in ("find", "tired", "under", "keys"):
        start = TEXT.index(word)
        a, b = made.span(start, start + len(word))
        touched = made.text[a:b].lower() != word.lower()
        moved += a != start
        if not any(table in name for table in ("typos", "misspelling", "synonyms", "mild", "dialect")):
            assert not touched, (name, word, made.text[a:b])
    if name in ("mild", "spaces", "contractions"):
        assert moved


def test_by_hand():
    assert LowerCase()("A Cat").text == "a cat"
    assert Contractions()("I do not know. IT IS late, It is.").text == "I don't know. IT'S late, It's."
    assert Gender()("He saw himself, and his dog saw him. The theory.").text == (
        "She saw herself, and her dog saw her. The theory."
    )
    assert Names()("Jack and jack's friend Emily met Jack.").text == "Deshawn and jack's friend Lakisha met Deshawn."
    assert Dialect()("That is the friend with them.").text == "Dat is da homie wit dem."
    assert Misspelling(1.0)("Because people believe").text == "Becuase poeple beleive"
    assert Synonyms(1.0)("A big house, quick").text == "A large home, fast"
    assert Spaces(1)("a b").text == "a b"


def test_shares():
    for kind in (Contractions, Misspelling, Synonyms, Dialect, Gender, Names, Typos, Fillers):
        assert kind(0.0)(TEXT).text == TEXT
        with pytest.raises(ValueError, match=r"share is a probability, so 0 to 1; got 1.5"):
            kind(1.5)
    long = "the quick brown fox jumps over the lazy dog " * 50
    changed = sum(a != b for a, b in zip(long, Typos(0.3)(long, 1).text, strict=True))
    letters = sum(letter.isalpha() for letter in long)
    assert 0.25 < changed / letters < 0.35
    assert all(a == b or b in BESIDE[a] for a, b in zip(long, Typos(0.3)(long, 1).text, strict=True))
    words = len(Fillers(0.2)(long, 1).text.split()) - len(long.split())
    assert 0.15 * 450 < words < 0.35 * 450  # some fillers are two words
    widths = {len(gap) for gap in re.findall(" +", Spaces(3)(long, 0).text)}
    assert widths == {1, 2, 3}


def test_a_name_is_one_throughout():
    texts = [Names(0.5)("John met John and Mary met John", seed).text for seed in range(20)]
    assert {text.count("Leroy") for text in texts} == {0, 3}


def test_meaning():
    assert Gender().changes_meaning
    assert not mild().changes_meaning
    assert Mix((LowerCase(), Names())).changes_meaning


@given(st.text(alphabet="ab c", max_size=12), st.data())
def test_the_map_against_a_slow_one(text, data):
    """Each letter carries its own mark through the edits; a span ends where the marks of its letters do."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=6)))
    edits = [
        Edit(cuts[n], cuts[n + 1], data.draw(st.text(alphabet="xyz", max_size=3)))
        for n in range(0, len(cuts) - 1, 2)
    ]  # fmt: skip
    edits = [e for n, e in enumerate(edits) if all(e.start > other.stop for other in edits[:n])]
    made = edited(text, edits)
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, len(text)))
    a, b = made.span(start, stop)
    assert 0 <= a <= b <= len(made.text)
    whole = all(e.stop <= start or e.start >= stop for e in edits)
    if whole and start < stop:
        assert made.text[a:b] == text[start:stop]


def test_spans_by_hand():
    made = edited("abcdef", [Edit(1, 3, "XXXX"), Edit(4, 4, "--")])
    assert made.text == "aXXXXd--ef"
    assert made.span(1, 3) == (1, 5)
    assert made.span(0, 2) == (0, 5)
    assert made.span(2, 4) == (1, 6)  # moves out to the end of what replaced it
    assert made.span(4, 6) == (8, 10)
    assert made.span(3, 5) == (5, 9)
    both = Mix((Contractions(), Spaces(3)))("It is a red cat", 1)
    start = "It is a red cat".index("red")
    a, b = both.span(start, start + 3)
    assert both.text[a:b] == "red"


def test_lower_case_may_lengthen():
    made = LowerCase()("Aİb red")  # the dotted capital I becomes two characters
    a, b = made.span(4, 7)
    assert made.text[a:b] == "red"


def test_bad_input():
    with pytest.raises(ValueError, match="edits overlap"):
        edited("abc", [Edit(0, 2, "x"), Edit(1, 3, "y")])
    with pytest.raises(ValueError, match="outside a text of 3 letters"):
        edited("abc", [Edit(2, 5, "x")])
    with pytest.raises(ValueError, match="must not end before it starts, got 2 to 1"):
        edited("abc", []).span(2, 1)
    with pytest.raises(ValueError, match="no perturbation is called 'noise'; there are mild, lower_case"):
        named("noise")
    with pytest.raises(ValueError, match="spaces has no share"):
        named("spaces 0.3")
    with pytest.raises(ValueError, match=r"a perturbation reads like 'typos 0.3', got 'typos many'"):
        named("typos many")
    assert named("typos 0.3") == Typos(0.3)
    with pytest.raises(ValueError, match="most must be at least 1"):
        Spaces(0)
    with pytest.raises(ValueError, match="a mix needs at least one"):
        Mix(())
