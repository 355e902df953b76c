"""Statements about themselves whose truth can be checked, each with a false twin: made here, or a copy of one's own.

    This sentence has exactly | six words.   True, for it is
    This sentence has exactly | nine words.  False

A statement speaks of its words, its letters, its first or last word, a comma, capitals, its language or its last mark;
``holds`` reads off the text alone whether it is right. The same is said of another, quoted sentence, as a control,
where the two continuations can be as true and as false of one.

"I am a Strange Dataset" (Thrush et al. 2024) is published encrypted, with the request that a person decrypts it and
trains no model on it. Nothing here decrypts; ``read`` takes a plain copy that a person has prepared.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from trivium.core import seeds
from trivium.data import splits


@dataclass(frozen=True)
class Statement:
    """A beginning with a continuation that makes it true and one that makes it false.

    ``control``: a beginning that speaks of something else, with the same two continuations; "" where there is none.
    ``kind``: what is claimed. Raises ValueError for a part that is missing, or continuations that are alike.
    """

    id: str
    beginning: str
    true: str
    false: str
    control: str = ""
    kind: str = ""

    def __post_init__(self) -> None:
        for name in ("beginning", "true", "false"):
            if not getattr(self, name).strip():
                part = name if name == "beginning" else f"{name} continuation"
                raise ValueError(f"statement {self.id!r} has no {part}; complete it or leave it out")
        if self.true == self.false:
            raise ValueError(f"both continuations of statement {self.id!r} are {self.true!r}")


NUMBERS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
]
SUBJECTS = (
    "This sentence",
    "This very sentence",
    "The sentence that you are reading",
    "This short sentence",
    "The present sentence",
    "This one sentence",
    "This plain sentence",
    "The sentence in front of you",
)
LEADS = ("", "Clearly ", "Perhaps ", "Of course ", "In fact ", "As it happens ", "Oddly enough ", "Strange to say ")
TAILS = ("as you can see", "somewhere in the middle", "or so it seems", "before its end", "if you look", "for once")
ENDINGS = ["table", "garden", "river", "window", "letter", "morning", "music", "winter", "silver", "bread"]
MORE = ["today", "again", "here", "indeed", "alone"]
TONGUES = ["French", "Spanish", "German", "Italian", "Latin", "Greek"]
QUOTED = (
    "Birds sing", "It was raining", "We left before noon", "The old man sleeps in his chair", "Nobody came that day",
    "Three ships passed the harbour at night", "A small dog barked at the moon for an hour",
    "My sister sold her house and moved to the coast last year", "Everything was quiet in the village that evening",
    "The children who live next door have found a nest with four blue eggs in it",
    "Snow fell", "He never answers letters", "She opened the door and looked into the dark and empty hall",
    "The train from the north is late again because of the heavy snow",
    "On Monday the baker closed his little shop near the bridge for good",
)  # fmt: skip
"""Sentences to speak of, without their full stops."""


def words(text: str) -> list[str]:
    """The words of a text, without marks."""
    return re.findall(r"[A-Za-z']+", text)


def _number(word: str) -> int:
    return NUMBERS.index(word)


MARKS = {"a question mark": "?", "an exclamation mark": "!", "a full stop": "."}
CLAIMS: Mapping[str, tuple[str, Callable[[re.Match[str], str], bool]]] = {
    "words": (r"has exactly (\w+) words?\.$", lambda found, text: len(words(text)) == _number(found[1])),
    "letter": (
        r"has the letter (\w) in it exactly (\w+) times?\.$",
        lambda found, text: text.lower().count(found[1]) == _number(found[2]),
    ),
    "first": (r"begins with the word '(\w+)'\.$", lambda found, text: words(text)[0].lower() == found[1].lower()),
    "last": (r"ends with the word (\w+)(?: \w+)?\.$", lambda found, text: words(text)[-1] == found[1]),
    "comma": (r"has a comma in it\W", lambda found, text: "," in text),
    "no comma": (r"has no comma in it\W", lambda found, text: "," not in text),
    "capitals": (
        r"has a word in capitals \w+\.$",
        lambda found, text: any(len(word) > 1 and word.isupper() for word in words(text)),
    ),
    "language": (r"is written in (\w+)\.$", lambda found, text: found[1] == "English"),
    "mark": (
        r"ends with (a question mark|an exclamation mark|a full stop)[.?!]$",
        lambda found, text: text[-1:] == MARKS[found[1]],
    ),
}


def holds(text: str) -> bool:
    """Whether what a statement of our own says is so, of itself or of the sentence it quotes.

    Raises ValueError for a text that says nothing of the kind.
    """
    quoted = re.search(r'"([^"]*)"', text)
    about = quoted[1] if quoted else text
    for pattern, check in CLAIMS.values():
        found = re.search(pattern, text)
        if found:
            return check(found, about)
    raise ValueError(f"{text!r} claims nothing that can be checked here")


# Statements of our own ------------------------------------------------------------------------------------------------


@cache
def made(split: str, count: int = 60) -> tuple[Statement, ...]:
    """So many statements of our own, kinds in turn; no text of one split is in the other."""
    splits.check(split)
    if not 1 <= count <= MOST:
        raise ValueError(f"count must be 1 to {MOST} statements, got {count}")
    generator = seeds.numpy_generator(0, "self-reference")
    found: dict[str, list[Statement]] = {"test": [], "validation": []}
    seen: set[str] = set()
    for kind in (kind for _ in range(100 * count) for kind in MAKERS):
        one = MAKERS[kind](generator)
        if one is None or one[0] + one[1] in seen:
            continue
        seen.add(one[0] + one[1])
        part = "validation" if len(seen) % 4 == 0 else "test"
        found[part].append(Statement(f"{part}-{len(found[part]):04d}", *one, kind))
        if len(found[split]) == count:
            return tuple(found[split])
    raise ValueError(f"there are only {len(found[split])} different statements for {split}; lower the number of items")


MOST = 1500
Parts = tuple[str, str, str, str]
"""Beginning, true and false continuation, and the beginning of the control."""
Generator = np.random.Generator


def _pick(generator: Generator, of: Sequence[str]) -> str:
    return of[int(generator.integers(len(of)))]


def _subject(generator: Generator) -> str:
    lead, subject = _pick(generator, LEADS), _pick(generator, SUBJECTS)
    return lead + subject[0].lower() + subject[1:] if lead else subject


def _settled(
    generator: Generator, beginning: str, options: Sequence[str], suits: Callable[[str], bool]
) -> Parts | None:
    """A true and a false continuation among the options, by the checker, and a quoted sentence of which the first is
    true and the second false. None where there are none."""
    order = [options[int(at)] for at in generator.permutation(len(options))]
    true = next((option for option in order if holds(beginning + option)), None)
    false = next((option for option in order if not holds(beginning + option)), None)
    if true is None or false is None:
        return None
    predicate = beginning[beginning.index(" has ") if " has " in beginning else _verb(beginning) :]
    quoted = [
        f'The sentence "{sentence}"{predicate}'
        for sentence in (f"{sentence}{end}" for sentence in QUOTED for end in (".", "?", "!"))
        if suits(sentence)
    ]
    fitting = [begin for begin in quoted if holds(begin + true) and not holds(begin + false)]
    return beginning, true, false, _pick(generator, fitting) if fitting else ""


def _verb(beginning: str) -> int:
    return re.search(r" (?:begins|ends|is written) ", beginning).start()  # type: ignore[union-attr]


def _plain(sentence: str) -> bool:
    return sentence.endswith(".")


def _words(generator: Generator) -> Parts | None:
    beginning = f"{_subject(generator)} has exactly"
    return _settled(generator, beginning, [f" {number} words." for number in NUMBERS[2:]], _plain)


def _letter(generator: Generator) -> Parts | None:
    beginning = f"{_subject(generator)} has the letter {_pick(generator, 'aehinorst')} in it exactly"
    return _settled(generator, beginning, [f" {number} times." for number in NUMBERS[2:]], _plain)


def _first(generator: Generator) -> Parts | None:
    subject = _subject(generator)
    options = [f" '{word.lower()}'." for word in dict.fromkeys(words(subject))]
    return _settled(generator, f"{subject} begins with the word", options, _plain)


def _last(generator: Generator) -> Parts | None:
    word, more = _pick(generator, ENDINGS), _pick(generator, MORE)
    return _settled(generator, f"{_subject(generator)} ends with the word", [f" {word}.", f" {word} {more}."], _plain)


def _comma(generator: Generator) -> Parts | None:
    claim, tail = _pick(generator, ("a comma", "no comma")), _pick(generator, TAILS)
    return _settled(generator, f"{_subject(generator)} has {claim} in it", [f", {tail}.", f" {tail}."], _plain)


def _capitals(generator: Generator) -> Parts | None:
    word = _pick(generator, MORE)
    return _settled(
        generator, f"{_subject(generator)} has a word in capitals", [f" {word}.", f" {word.upper()}."], _plain
    )


def _language(generator: Generator) -> Parts | None:
    options = [" English.", f" {_pick(generator, TONGUES)}."]
    return _settled(generator, f"{_subject(generator)} is written in", options, _plain)


def _ending(generator: Generator) -> Parts | None:
    mark = _pick(generator, ("a question mark", "an exclamation mark", "a full stop"))
    return _settled(generator, f"{_subject(generator)} ends with {mark}", [".", "?", "!"], lambda sentence: True)


MAKERS: Mapping[str, Callable[[Generator], Parts | None]] = {
    "words": _words,
    "letter": _letter,
    "first": _first,
    "last": _last,
    "comma": _comma,
    "capitals": _capitals,
    "language": _language,
    "mark": _ending,
}


# A copy of one's own --------------------------------------------------------------------------------------------------

PARTS = ("beginning", "true_continuation", "false_continuation")
CONTROL = "non_self_referential_beginning"
SEALED = (b"Salted__", b"U2FsdGVk", b"-----BEGIN PGP", b"age-encryption.org", b"PK\x03\x04", b"gAAAAA", b"\x1f\x8b")


def read(path: str | Path) -> tuple[Statement, ...]:
    """A plain copy that a person has prepared: JSON lines, or CSV with headings, with the fields beginning,
    true_continuation, false_continuation and, where there is one, non_self_referential_beginning.

    Raises ValueError for a file that is encrypted or packed, and with the number of a line that lacks a part.
    """
    path = Path(path)
    data = path.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    if text is None or data.startswith(SEALED) or "\0" in text:
        raise ValueError(
            f"{path} is encrypted or packed and nothing here opens it. The authors of the data set ask that a person "
            "does, and trains no model on it: follow their instructions and give the path of the plain file"
        )
    rows = _json_rows(path, text) if text.lstrip()[:1] in ("{", "[") else _csv_rows(path, text)
    found = []
    for number, row in rows:
        for name in PARTS:
            if not isinstance(row.get(name), str) or not row[name].strip():
                raise ValueError(f"{path}, line {number} has no {name}; complete it or leave the line out")
        try:
            begin, true, false = (row[name] for name in PARTS)
            found.append(Statement(f"{path.stem}-{number:05d}", begin, true, false, str(row.get(CONTROL) or "")))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    if not found:
        raise ValueError(f"{path} holds no statement")
    return tuple(found)


def _json_rows(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number} is no JSON: {error}; write one statement a line") from None
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number} is no object with fields, but {line[:40]!r}")
        found.append((number, row))
    return found


def _csv_rows(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if not set(PARTS) <= set(reader.fieldnames or ()):
        raise ValueError(f"{path} is neither JSON lines nor CSV with the headings {', '.join(PARTS)}")
    return [(reader.line_num, row) for row in reader]
