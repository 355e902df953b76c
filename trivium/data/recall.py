"""Made texts that can be continued rightly by recalling what stands before: pairs, induction, a needle in a haystack.

    mqar       aQcBbX..cBaQbX..        pairs of a key and a value; then the keys again in another order, each with its
                                       value (multi-query associative recall)
    induction  ..fKnw..fK              random letters in which the last but one has occurred once; the last one is what
                                       followed it there
    needle     stories .. The number of the fox is 4821. .. stories .. The number of the fox is 4821.

Each text says itself where its answers stand: ``answers`` cuts it into pieces.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from trivium.core.errors import UnknownName, did_you_mean
from trivium.core.seeds import numpy_generator
from trivium.data._teller import ANIMALS
from trivium.data.corpus import Corpus
from trivium.data.sentences import sentences
from trivium.data.stories import story

KEYS = "abcdefghijklmnop"
VALUES = "ABCDEFGHIJKLMNOP"
PAIRS = (4, 16)
"""Pairs in a text, bounds included."""
INDUCTION = (16, 64)
"""Letters of a text of the sort ``induction``."""
NEEDLE = 256
"""Characters of a text of the sort ``needle`` at most."""
STORIES = 200
"""From which the sentences around a needle are taken."""
NUMBER = re.compile(r"The number of the \w+ is (\d+)\.")


@dataclass(frozen=True)
class Piece:
    """A part of a text; ``answer`` where what stands before it decides it."""

    text: str
    answer: bool = False


def mqar(documents: int = 20_000, seed: int = 0, *, pairs: tuple[int, int] = PAIRS) -> Corpus:
    """Texts of 4 to 16 pairs of a small and a capital letter, drawn anew for each text."""
    if not 1 <= pairs[0] <= pairs[1] <= len(KEYS):
        raise ValueError(f"pairs must be two rising bounds of 1 to the {len(KEYS)} keys there are, got {pairs}")
    return _corpus("mqar", documents, seed, pairs == PAIRS, lambda draw: _pairs(draw, pairs))


def induction(documents: int = 20_000, seed: int = 0, *, length: tuple[int, int] = INDUCTION) -> Corpus:
    """Texts of 16 to 64 letters, drawn evenly but for the end."""
    if not 4 <= length[0] <= length[1]:
        raise ValueError(f"length must be two rising bounds of at least 4, got {length}")
    return _corpus("induction", documents, seed, length == INDUCTION, lambda draw: _induction(draw, length))


def needle(documents: int = 4000, seed: int = 0, *, length: int = NEEDLE) -> Corpus:
    """Sentences of stories, among them one that says a number, which is asked for at the end."""
    if length < 128:
        raise ValueError(f"length must be at least 128 characters, of which needle and question take 80; got {length}")
    return _corpus("needle", documents, seed, length == NEEDLE, lambda draw: _needle(draw, length))


def answers(sort: str, text: str) -> list[Piece]:
    """The pieces of a text of this sort, in turn; joined they are the text. Raises ValueError for another one."""
    if sort not in CUTS:
        raise UnknownName(f"no sort of recall is called {sort!r}{did_you_mean(sort, CUTS)}")
    spans = CUTS[sort](text)
    if not spans:
        raise ValueError(f"this is no text of the sort {sort!r}: {text[:60]!r}")
    pieces, done = [], 0
    for start, stop in spans:
        pieces += [Piece(text[done:start]), Piece(text[start:stop], True)]
        done = stop
    return [piece for piece in (*pieces, Piece(text[done:])) if piece.text]


def _corpus(sort: str, documents: int, seed: int, usual: bool, write: Callable[[np.random.Generator], str]) -> Corpus:
    """``usual``: with the settings that it comes with; others do not show in the name, but in ``Corpus.sha256``."""
    if documents < 1:
        raise ValueError(f"documents must be at least 1, got {documents}")
    draw = numpy_generator(seed, sort)
    name = f"{sort}-{documents}-{seed}" + ("" if usual else "-own")
    return Corpus.split(name, (write(draw) for _ in range(documents)))


def _pairs(draw: np.random.Generator, bounds: tuple[int, int]) -> str:
    count = int(draw.integers(bounds[0], bounds[1] + 1))
    keys = draw.permutation(len(KEYS))[:count].tolist()
    values = draw.integers(len(VALUES), size=count).tolist()
    order = draw.permutation(count).tolist()
    pairs = [KEYS[key] + VALUES[value] for key, value in zip(keys, values, strict=True)]
    return "".join(pairs) + "".join(pairs[at] for at in order)


def _induction(draw: np.random.Generator, bounds: tuple[int, int]) -> str:
    length = int(draw.integers(bounds[0], bounds[1] + 1))
    cue, letters = int(draw.integers(26)), draw.integers(25, size=length - 2)
    letters += letters >= cue  # all but the cue
    at = int(draw.integers(length - 3))  # something follows the cue, and it is not the cue's second occurrence
    letters[at] = cue
    return "".join(chr(ord("a") + letter) for letter in (*letters.tolist(), cue, int(letters[at + 1])))


def _needle(draw: np.random.Generator, length: int) -> str:
    said = f"The number of the {ANIMALS[draw.integers(len(ANIMALS))]} is {draw.integers(1000, 10_000)}."
    room, hay = length - 2 * (len(said) + 1), list[str]()
    filler = _sentences()
    while room > 0:
        sentence = filler[draw.integers(len(filler))]
        hay.append(sentence[:room] if len(sentence) > room else sentence)
        room -= len(sentence) + 1
    hay.insert(int(draw.integers(len(hay) + 1)), said)
    return " ".join((*hay, said))


@cache
def _sentences() -> list[str]:
    """Sentences of stories that hold no digit and no line break."""
    texts = [story(0, index) for index in range(STORIES)]
    found = [sentence.strip() for text in texts for sentence in sentences(text)]
    return sorted({sentence for sentence in found if "\n" not in sentence and not re.search(r"\d", sentence)})


def _values(text: str) -> list[tuple[int, int]]:
    """The capitals of the second half, in a text of pairs."""
    half, pairs = len(text) // 2, re.findall(f"[{KEYS}][{VALUES}]", text)
    fits = "".join(pairs) == text and sorted(pairs[: half // 2]) == sorted(pairs[half // 2 :])
    return [(at, at + 1) for at in range(half + 1, len(text), 2)] if fits else []


def _last(text: str) -> list[tuple[int, int]]:
    """The letter at the end, where it is what followed the one before it."""
    fits = len(text) >= 4 and text[-2] in text[:-3] and text[text.index(text[-2]) + 1] == text[-1]
    return [(len(text) - 1, len(text))] if fits else []


def _number(text: str) -> list[tuple[int, int]]:
    """The number that is asked for, at the end."""
    found = list(NUMBER.finditer(text))
    return [found[-1].span(1)] if len(found) == 2 and found[-1].end() == len(text) else []


CUTS: dict[str, Callable[[str], list[tuple[int, int]]]] = {"mqar": _values, "induction": _last, "needle": _number}


def depth(text: str) -> float:
    """Where the needle stands in a text of that sort: 0 at its beginning, 1 where the question is."""
    first, last = NUMBER.finditer(text)
    return first.start() / last.start()
