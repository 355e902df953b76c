"""The grammar of formats: the authors' rules and texts, what is drawn, and reading back what was written."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trivium.data.formats import (
    CASINGS,
    INNER,
    NUMBERS,
    SEPARATORS,
    SPACES,
    WRAPPERS,
    Field,
    Format,
    Grammar,
    Items,
    Listing,
    numbered,
    without_answer,
)

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "formatspread.json"
ONE = Grammar((Field("text", "Sentence"),))
CHOICES = Grammar((Field("text", "Sentence"), Items(("cat", "dog"), "Option", choices=True)), "Answer")
GRAMMARS = {
    "one_text_field Sentence/Answer": ONE,
    "two_text_fields Passage/Question/Answer": Grammar((Field("p", "Passage"), Field("q", "Question"))),
    "task1612_": Grammar((Items(("a", "b"), "sentence"),)),
    "task065_": Grammar((Items(("a", "b", "c", "d"), "Sentence", (0, 2, 3, 4)), Items(("x", "y"), "Option"))),
    "task190_": Grammar((Items(("a", "b"), "Sentence"),)),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def assigned(grammar, ids, values):
    """A row of the vectors as our format: the space, five values per enumeration, casing, separator. Where a separator
    breaks the line and the space between the items does not, the authors' code keeps the separator it had, ': '."""
    spaces, separators = values["chosen_space"], values["chosen_separator"]
    space, *inner, casing, separator = ids
    lists = []
    for wrapper, number, between, one, gap in zip(*(inner[n::5] for n in range(5)), strict=True):
        kept = ": " if "\n" in separators[one] and "\n" not in spaces[between] else separators[one]
        gap = values["chosen_separator_text_and_option"][gap]
        lists.append(Listing(WRAPPERS[wrapper], NUMBERS[number], spaces[between], kept, gap))
    return Format(grammar, spaces[space], CASINGS[casing], separators[separator], tuple(lists))


@pytest.mark.skipif(not VECTORS.exists(), reason=f"{VECTORS} is not here")
def test_every_format_of_the_authors():
    told = json.loads(VECTORS.read_text())
    assert tuple(dict.fromkeys(told["value_lists"]["chosen_space"])) == SPACES
    assert tuple(told["value_lists"]["chosen_separator"]) == SEPARATORS
    assert tuple(told["value_lists"]["chosen_separator_text_and_option"]) == INNER
    for entry in told["grammars"]:
        for ids, valid, texts in entry["rows"]:
            made = assigned(GRAMMARS[entry["name"]], ids, told["value_lists"])
            assert made.valid == valid, (entry["name"], ids)
            if valid:
                assert [made.pattern, without_answer(made)] == texts, (entry["name"], ids)


def test_640_formats_of_one_field_are_valid():
    assert ONE.size == 900
    assert sum(one.valid for one in ONE.assignments()) == 640


@pytest.mark.parametrize(
    ("made", "valid"),
    [
        (Format(ONE), True),
        (Format(ONE, separator=""), False),
        (Format(ONE, space=""), False),
        (Format(ONE, space=" ", separator="\n\t"), False),
        (Format(ONE, space="\n", separator="\n\t"), True),
        (Format(CHOICES, lists=(Listing(space="", separator=""),)), True),
        (Format(CHOICES, lists=(Listing(space=" ", separator="\n "),)), False),
        (Format(CHOICES, space=" ", lists=(Listing(space="\n", separator="\n "),)), False),
        (Format(CHOICES, space="\n", lists=(Listing(space="\n", separator="\n "),)), True),
    ],
)
def test_what_is_valid(made, valid):
    assert made.valid is valid


def test_formats_are_drawn_evenly_without_doubles_the_original_first():
    some = ONE.formats(24, generator())
    assert some[0] == ONE.original
    assert len({one.pattern for one in some}) == 24
    assert all(one.valid for one in some)
    assert some == ONE.formats(24, generator())
    assert some != ONE.formats(24, generator(1))
    every = ONE.formats(10_000, generator())
    assert len(every) == 480  # "Sentence" is its own title case: three casings differ
    counts = torch.zeros(len(every))
    place = {one.pattern: n for n, one in enumerate(every)}
    for seed in range(100):
        for one in ONE.formats(97, generator(seed))[1:]:
            counts[place[one.pattern]] += 1
    others = counts[counts > 0]
    assert len(others) == 479
    assert abs(float(others.var()) / (100 * 96 / 479) - 0.8) < 0.25  # as of draws without replacement: n p (1 - p)
    wide = CHOICES.formats(50, generator())
    assert len({one.pattern for one in wide}) == 50
    assert all(one.valid for one in wide)
    assert len({one.lists[0].number for one in wide}) == 6


def test_few_values_and_none():
    few = Grammar((Field("text", "Sentence"),), spaces=("\n", " "), casings=("lower",), separators=(": ", "\n "))
    assert {one.pattern for one in few.formats(50, generator())} == {
        "Sentence: <|text|>\nAnswer: <|text|>",
        "sentence: <|text|>\nanswer: <|text|>",
        "sentence\n <|text|>\nanswer\n <|text|>",
        "sentence: <|text|> answer: <|text|>",
    }
    with pytest.raises(ValueError, match="none of the 60 formats is valid"):
        Grammar((Field("text", "S"),), separators=("",)).formats(3, generator())
    with pytest.raises(ValueError, match="count must be at least 1"):
        ONE.formats(0, generator())
    with pytest.raises(ValueError, match="field 'text' stands in it twice"):
        Grammar((Field("text", "A"), Field("text", "B")))
    with pytest.raises(ValueError, match="asks for 'text', the item has other"):
        ONE.original.ask({"other": "x"})
    with pytest.raises(ValueError, match="casing must be one of"):
        Format(ONE, casing="Camel")
    with pytest.raises(ValueError, match="1 enumerations need as many listings"):
        Format(CHOICES)


def test_numbers():
    assert [numbered(3, kind) for kind in NUMBERS] == ["4", "D", "d", "Ⅳ", "iv", "IV"]
    assert numbered(11, "Ⅰ") == "Ⅻ"
    with pytest.raises(ValueError, match="end at 12, and item 13 has none"):
        numbered(12, "Ⅰ")
    with pytest.raises(ValueError, match="two of the items have one number"):
        Items(("a", "b"), "Option", (1, 1))


def test_answers_are_in_the_format_of_the_choices():
    made = Format(CHOICES, lists=(Listing("[x]", "a"),))
    assert made.ask({"text": "it barks"}) == "Sentence: it barks\nOption [a] cat\nOption [b] dog\nAnswer:"
    assert [made.reply(label) for label in ("cat", "dog")] == [" [a]", " [b]"]
    assert made.parse(made.write({"text": "it barks"}, "dog")) == ({"text": "it barks"}, "dog")
    shout = Format(ONE, "\n ", "UPPER", "\n\t")
    assert shout.ask({"text": "Hi"}) == "SENTENCE\n\tHi\n ANSWER"
    assert shout.reply("yes") == "\n\tyes"


plain = st.text("abc xyz", min_size=1, max_size=12)


@given(seed=st.integers(0, 10_000), text=plain, label=st.sampled_from(["cat", "dog"]), listed=st.booleans())
def test_texts_stand_as_they_are_and_are_read_back(seed, text, label, listed):
    grammar = CHOICES if listed else ONE
    for made in grammar.formats(4, generator(seed)):
        written = made.write({"text": text}, label)
        assert text in written
        if any(piece in text for piece, _ in made.pieces):  # such as two spaces
            continue
        assert made.parse(written) == ({"text": text}, label)


def test_what_is_not_of_the_format_or_not_clear_is_refused():
    with pytest.raises(ValueError, match="is not written in the format"):
        ONE.original.parse("Passage: x\nAnswer: y")
    with pytest.raises(ValueError, match="can be read in two ways"):
        ONE.original.parse("Sentence: x\nAnswer: y\nAnswer: z")
