"""A grammar of prompt formats that mean the same: casing, separators, spaces, and how items are numbered.

Source: Sclar et al. 2024, "Quantifying Language Models' Sensitivity to Spurious Features in Prompt Design",
arXiv:2310.11324, appendix A, with the values and the rules of the authors' code.

    field = casing(descriptor) + separator + text;   fields joined by one space
    item  = casing(descriptor) + inner space + wrapper(number) + separator + text;   items joined by their own space
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch

CASINGS = ("as it is", "Title", "UPPER", "lower")
SEPARATORS = ("", "::: ", ":: ", ": ", " \n\t", "\n    ", " : ", " - ", " ", "\n ", "\n\t", ":", "::", "- ", "\t")
SPACES = ("", " ", "\n", " \n", " -- ", "  ", "; \n", " || ", " <sep> ", ", ", " \n ", " , ", "\n ", ". ", " ,  ")
INNER = ("", " ", "  ", "\t")
WRAPPERS = ("(x)", "x.", "x)", "x )", "[x]", "<x>")
NUMBERS = ("1", "A", "a", "Ⅰ", "i", "I")
"""Kinds of numbers, by the first of each; the fourth is the Unicode characters from U+2160, of which there are 12."""
ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv", "xv", "xvi", "xvii",
         "xviii", "xix", "xx")  # fmt: skip
ENUMERABLE = 100_000
"""Assignments up to which all of them are gone through, so that a draw is without replacement."""


def cased(text: str, casing: str) -> str:
    """A descriptor in one of ``CASINGS``."""
    return {"as it is": str, "Title": str.title, "UPPER": str.upper, "lower": str.lower}[casing](text)


def numbered(place: int, kind: str) -> str:
    """The number of item ``place``, from 0. Raises ValueError for more items than the kind has numbers."""
    most = {"1": place + 1, "A": 26, "a": 26, "Ⅰ": 12}.get(kind, len(ROMAN))
    if not 0 <= place < most:
        raise ValueError(f"numbers like {kind!r} end at {most}, and item {place + 1} has none; take another kind")
    match kind:
        case "1":
            return str(place + 1)
        case "A" | "a" | "Ⅰ":
            return chr(ord(kind) + place)
        case _:
            return ROMAN[place] if kind == "i" else ROMAN[place].upper()


@dataclass(frozen=True)
class Field:
    """One text with its descriptor, such as "Question: ..."."""

    name: str
    """Of the item's field that holds the text."""
    descriptor: str


@dataclass(frozen=True)
class Items:
    """Several texts with one descriptor and numbers, such as "Sentence (1): ... Sentence (2): ..."."""

    names: tuple[str, ...]
    descriptor: str
    places: tuple[int, ...] = ()
    """The number of each, from 0, where not 0, 1, 2 ...."""
    choices: bool = False
    """The texts are the names themselves, and an answer is the number of the one that is chosen."""

    def __post_init__(self) -> None:
        if len(self.names) < 1 or (self.places and len(self.places) != len(self.names)):
            raise ValueError(
                f"{len(self.names)} items with {len(self.places)} numbers; give at least one, and each one"
            )
        if len(set(self.numbers)) < len(self.names):
            raise ValueError(f"two of the items have one number: {self.numbers}")

    @property
    def numbers(self) -> tuple[int, ...]:
        return self.places or tuple(range(len(self.names)))


@dataclass(frozen=True)
class Listing:
    """How the items of one enumeration are written."""

    wrapper: str = "(x)"
    number: str = "1"
    space: str = "\n"
    separator: str = " "
    inner: str = " "

    def label(self, place: int) -> str:
        """The number of an item in its wrapper."""
        return self.wrapper.replace("x", numbered(place, self.number))


@dataclass(frozen=True)
class Grammar:
    """What an item consists of, and the values that its formats may take; subsets of the paper's give fewer formats.

    Raises ValueError for a field that stands in it twice.
    """

    nodes: tuple[Field | Items, ...]
    answer: str = "Answer"
    """The descriptor of the answer, which comes last."""
    spaces: tuple[str, ...] = SPACES
    casings: tuple[str, ...] = CASINGS
    separators: tuple[str, ...] = SEPARATORS

    def __post_init__(self) -> None:
        names = [name for node in self.nodes for name in (node.names if isinstance(node, Items) else (node.name,))]
        twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
        if not names or twice is not None:
            raise ValueError("a grammar needs a field" if not names else f"the field {twice!r} stands in it twice")

    @property
    def lists(self) -> tuple[Items, ...]:
        return tuple(node for node in self.nodes if isinstance(node, Items))

    @property
    def original(self) -> "Format":
        """The format that people would write: descriptors as they are, a colon, each field on its line."""
        return Format(self, lists=tuple(Listing() for _ in self.lists))

    @property
    def size(self) -> int:
        """Assignments of values, valid or not."""
        each = len(WRAPPERS) * len(NUMBERS) * len(self.spaces) * len(self.separators) * len(INNER)
        return len(self.spaces) * len(self.casings) * len(self.separators) * each ** len(self.lists)

    def assignments(self) -> Iterator["Format"]:
        """Every one, valid or not, in the order of the values."""
        listings = [
            [Listing(*values) for values in itertools.product(WRAPPERS, NUMBERS, self.spaces, self.separators, INNER)]
            for _ in self.lists
        ]
        for space, casing, separator, *lists in itertools.product(
            self.spaces, self.casings, self.separators, *listings
        ):
            yield Format(self, space, casing, separator, tuple(lists))  # type: ignore[arg-type]

    def drawn(self, generator: torch.Generator) -> "Format":
        """One assignment, each value equally likely; it may be invalid."""

        def one(values: tuple[str, ...]) -> str:
            return values[int(torch.randint(len(values), (), generator=generator))]

        lists = tuple(
            Listing(one(WRAPPERS), one(NUMBERS), one(self.spaces), one(self.separators), one(INNER)) for _ in self.lists
        )
        return Format(self, one(self.spaces), one(self.casings), one(self.separators), lists)

    @cached_property
    def _valid(self) -> list[tuple[str, "Format"]]:
        """Every valid format with its pattern, of those that write the same the last."""
        return list({one.pattern: one for one in self.assignments() if one.valid}.items())

    def formats(self, count: int, generator: torch.Generator) -> list["Format"]:
        """At most so many valid formats, no two of which write the same: the original one, then others drawn evenly;
        all of them where there are no more. Raises ValueError where no format is valid."""
        if count < 1:
            raise ValueError(f"count must be at least 1 format, got {count}")
        found = {self.original.pattern: self.original}
        if self.size <= ENUMERABLE:
            every = self._valid
            if not every:
                raise ValueError(
                    f"none of the {self.size} formats is valid: an empty separator or space, or a line break within "
                    "fields that are on one line; allow more values"
                )
            for place in torch.randperm(len(every), generator=generator).tolist():
                found.setdefault(*every[place])
                if len(found) >= count:
                    break
            return list(found.values())[:count]
        misses = 0
        while len(found) < count and misses < ENUMERABLE:
            one = self.drawn(generator)
            known = len(found)
            if one.valid:
                found.setdefault(one.pattern, one)
            misses = 0 if len(found) > known else misses + 1
        if len(found) == 1 < count:
            raise ValueError(f"none of {misses} formats that were drawn is valid; allow more values")
        return list(found.values())


@dataclass(frozen=True)
class Format:
    """One assignment of values: a ``Form`` that writes an item, and reads what it wrote."""

    grammar: Grammar
    space: str = "\n"
    casing: str = "as it is"
    separator: str = ": "
    lists: tuple[Listing, ...] = ()
    between: str = "\n\n"

    def __post_init__(self) -> None:
        if len(self.lists) != len(self.grammar.lists):
            raise ValueError(f"{len(self.grammar.lists)} enumerations need as many listings, got {len(self.lists)}")
        if self.casing not in CASINGS:
            raise ValueError(f"casing must be one of {', '.join(CASINGS)}; got {self.casing!r}")

    @property
    def valid(self) -> bool:
        """Whether every part can be told from its neighbours, by the rules of the authors' code."""
        if not self.separator or not self.space:
            return False
        if any("\n" in one.separator + one.inner and "\n" not in one.space for one in self.lists):
            return False
        return "\n" in self.space or "\n" not in self.separator + "".join(one.separator for one in self.lists)

    @cached_property
    def pieces(self) -> tuple[tuple[str, str], ...]:
        """What stands before each text, and the name of the text; the answer comes last, with the name ""."""
        found: list[tuple[str, str]] = []
        listings = iter(self.lists)
        for node in self.grammar.nodes:
            joint = self.space if found else ""
            if isinstance(node, Field):
                found.append((joint + cased(node.descriptor, self.casing) + self.separator, node.name))
                continue
            how, head = next(listings), cased(node.descriptor, self.casing)
            for name, place in zip(node.names, node.numbers, strict=True):
                found.append((f"{joint}{head}{how.inner}{how.label(place)}{how.separator}", name))
                joint = how.space
        found.append((self.space + cased(self.grammar.answer, self.casing) + self.separator, ""))
        return tuple(found)

    @cached_property
    def pattern(self) -> str:
        """The format as a text, with <|text|> where texts stand. Formats of one pattern write the same."""
        return "".join(f"{before}<|text|>" for before, _ in self.pieces) + "".join(
            how.label(place)
            for node, how in zip(self.grammar.lists, self.lists, strict=True)
            if node.choices
            for place in node.numbers
        )

    @cached_property
    def _choices(self) -> dict[str, str]:
        """What is written for a label that is one of listed choices."""
        return {
            name: how.label(place)
            for node, how in zip(self.grammar.lists, self.lists, strict=True)
            if node.choices
            for name, place in zip(node.names, node.numbers, strict=True)
        }

    @cached_property
    def _tail(self) -> str:
        """Spaces before the answer: they are scored with it, since tokens rarely end in them."""
        last = self.pieces[-1][0]
        return last[len(last.rstrip()) :]

    def ask(self, fields: Mapping[str, str]) -> str:
        """The item up to its answer, without the spaces before that."""
        return self._written(fields) + self.pieces[-1][0].rstrip()

    def reply(self, label: str) -> str:
        return self._tail + self._choices.get(label, label)

    def write(self, fields: Mapping[str, str], label: str) -> str:
        """The item with its answer."""
        return self.ask(fields) + self.reply(label)

    def _written(self, fields: Mapping[str, str]) -> str:
        missing = [name for _, name in self.pieces[:-1] if name not in fields and name not in self._choices]
        if missing:
            raise ValueError(f"the format asks for {missing[0]!r}, the item has {', '.join(fields) or 'no field'}")
        return "".join(before + (name if name in self._choices else fields[name]) for before, name in self.pieces[:-1])

    def parse(self, text: str) -> tuple[dict[str, str], str]:
        """The fields and the label of a text that ``write`` made. Raises ValueError where it is not of this format, or
        can be read in two ways because a text holds what separates texts."""
        body = "".join(f"{re.escape(before)}(.*{{lazy}})" for before, _ in self.pieces)
        readings = [re.fullmatch(body.replace("{lazy}", lazy), text, re.DOTALL) for lazy in ("?", "")]
        if readings[0] is None or readings[1] is None:
            raise ValueError(f"{text[:60]!r} is not written in the format {self.pattern!r}")
        if readings[0].groups() != readings[1].groups():
            raise ValueError(f"{text[:60]!r} can be read in two ways in the format {self.pattern!r}")
        *texts, label = readings[0].groups()
        names = [name for _, name in self.pieces[:-1]]
        back = {written: name for name, written in self._choices.items()}
        fields = {name: one for name, one in zip(names, texts, strict=True) if name not in self._choices}
        return fields, back.get(label, label)


def without_answer(form: Format) -> str:
    """The pattern of the fields alone."""
    return "".join(f"{before}<|text|>" for before, _ in form.pieces[:-1])


def relisted(form: Format, **changes: str) -> Format:
    """The format with other values of its first enumeration."""
    return replace(form, lists=(replace(form.lists[0], **changes), *form.lists[1:]))
