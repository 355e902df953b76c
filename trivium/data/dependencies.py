"""Sentences with the head of each word, as a treebank in CoNLL-U gives them (https://universaldependencies.org)."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trivium.data.languages import utf8


@dataclass(frozen=True)
class Dependencies:
    """``heads``: where in the sentence the head of each word stands, -1 for the root; ``spans``: where the words stand
    in the characters of the text, which words that are written as one share; ``counts``: False for punctuation.
    ``document``: sentences of one document are not independent.

    Raises ValueError for heads that make no tree.
    """

    id: str
    text: str
    spans: tuple[tuple[int, int], ...]
    heads: tuple[int, ...]
    counts: tuple[bool, ...]
    document: str = ""

    def __post_init__(self) -> None:
        n = len(self.heads)
        if not n or len(self.spans) != n or len(self.counts) != n:
            raise ValueError(f"sentence {self.id!r} must have a span, a head and a mark for each word, and some words")
        if [head for head in self.heads if not -1 <= head < n] or self.heads.count(-1) != 1:
            raise ValueError(f"sentence {self.id!r} must have one root and heads among its {n} words")
        for word in range(n):
            at, steps = word, 0
            while at >= 0 and steps <= n:
                at, steps = self.heads[at], steps + 1
            if at >= 0:
                raise ValueError(f"sentence {self.id!r}: from word {word} no root is reached, so this is no tree")


def dependencies(path: str | Path, *, least: int = 2, most: int = 40) -> tuple[Dependencies, ...]:
    """The sentences of a file in CoNLL-U with ``least`` to ``most`` words; words that are not said (empty nodes) are
    left out.

    Raises ValueError, with the line, for what is not of this form or whose words do not spell the text.
    """
    if not 1 <= least <= most:
        raise ValueError(f"least must be at least 1 and at most most, got {least} and {most}")
    found: list[Dependencies] = []
    told: dict[str, str] = {}
    rows: list[list[str]] = []
    document, lines = "", utf8(Path(path).read_bytes(), str(path)).splitlines()
    for number, line in enumerate([*lines, ""], 1):
        if line.startswith("#"):
            key, _, value = (part.strip() for part in line[1:].partition("="))
            document = value if key in ("newdoc id", "source") else document
            told[key] = value
        elif line.strip():
            cells = line.split("\t")
            if len(cells) != 10:
                raise ValueError(f"{path}, line {number} has {len(cells)} columns; CoNLL-U has ten")
            rows.append(cells)
        elif rows:
            name = told.get("sent_id", f"{len(found) + 1:05d}")
            try:
                if least <= sum(row[0].isdecimal() for row in rows) <= most:
                    found.append(_sentence(name, told.get("text", ""), rows, document or name))
            except ValueError as error:
                raise ValueError(f"{path}, the sentence before line {number}: {error}") from None
            told, rows = {}, []
    if not found:
        raise ValueError(f"{path} holds no sentence of {least} to {most} words in CoNLL-U")
    return tuple(found)


def _sentence(name: str, text: str, rows: list[list[str]], document: str) -> Dependencies:
    spans, heads, counts = [], [], []
    at, covered, shared = 0, 0, (0, 0)  # words up to ``covered`` are written as one
    for cells in rows:
        number, form = cells[0], cells[1]
        if "." in number:
            continue
        if "-" in number or int(number) > covered:
            start = text.find(form, at)
            if start < 0 or text[at:start].strip():
                raise ValueError(f"the word {form!r} is not what follows in the text {text!r} at {at}")
            shared, at = (start, start + len(form)), start + len(form)
        if "-" in number:
            covered = int(number.split("-")[1])
            continue
        spans.append(shared)
        if not cells[6].isdecimal():
            raise ValueError(f"the head of {form!r} is no number: {cells[6]!r}")
        heads.append(int(cells[6]) - 1)
        counts.append(cells[3] != "PUNCT")
    return Dependencies(name, text, tuple(spans), tuple(heads), tuple(counts), document)


def heads_of(sentences: tuple[Dependencies, ...] | list[Dependencies]) -> tuple[Tensor, Tensor]:
    """Sentences as a probe reads them: (words, 2) int64 with the head of each word and whether it counts, and (words,)
    which sentence each is of."""
    rows = [(head, int(real)) for one in sentences for head, real in zip(one.heads, one.counts, strict=True)]
    sizes = torch.tensor([len(one.heads) for one in sentences])
    return torch.tensor(rows), torch.arange(len(sentences)).repeat_interleave(sizes)
