"""Passages: openings of real texts, each with how it really goes on."""

from collections.abc import Sequence
from dataclasses import dataclass

from trivium.data.corpus import Corpus
from trivium.data.named import named
from trivium.data.prompts import prompts

PROMPTS = "prompts"
"""The name under which the built-in prompts are a source; the longer of them are passages as they stand."""


@dataclass(frozen=True)
class Passage:
    """``opening`` and ``rest`` are one text; ``document`` numbers where it stands, ``source`` names what it is of."""

    source: str
    document: int
    number: int
    opening: str
    rest: str


def passages(source: Corpus | str, split: str, count: int, *, opening: int, rest: int) -> list[Passage]:
    """So many passages of a source: the first of every document, then the second of every document, and so on.

    Openings begin at a document's start or at a paragraph and end before a space, after ``opening`` characters or a
    little less; ``rest`` characters follow at least, up to the next passage of that document. Raises ValueError where
    the source has fewer.
    """
    if min(count, opening, rest) < 1:
        raise ValueError(f"count, opening and rest must be at least 1, got {count}, {opening} and {rest}")
    name, documents = _documents(source, split)
    cut = [_cut(document, opening, rest) for document in documents]
    found = [
        Passage(name, document, turn, *parts[turn])
        for turn in range(max(map(len, cut), default=0))
        for document, parts in enumerate(cut)
        if turn < len(parts)
    ]
    if len(found) < count:
        raise ValueError(
            f"the {split} split of {name} has {len(found)} passages of {opening} + {rest} characters, {count} were "
            "asked for; ask for fewer or for shorter ones"
        )
    return found[:count]


def _documents(source: Corpus | str, split: str) -> tuple[str, Sequence[str]]:
    if source == PROMPTS:
        return PROMPTS, [example.text for example in prompts(split)]
    corpus = named(source) if isinstance(source, str) else source
    return source if isinstance(source, str) else corpus.name, corpus[split]


def _cut(document: str, opening: int, rest: int) -> list[tuple[str, str]]:
    starts, at = [], 0
    while at >= 0 and len(document) - at >= opening + rest:
        starts.append(at)
        gap = document.find("\n\n", at + opening + rest)
        at = gap + 2 if gap >= 0 else -1
    parts = []
    for start, end in zip(starts, [*starts[1:], len(document)], strict=False):
        text = document[start:end]
        space = text.rfind(" ", 1, opening + 1)
        middle = space if space > opening // 2 else opening
        if text[:middle].strip() and text[middle:].strip():
            parts.append((text[:middle], text[middle:]))
    return parts
