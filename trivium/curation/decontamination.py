"""Decontamination: text of evaluation sets is cut from documents, or drops them, and it is said which items were there.

Source
    Brown et al. 2020 (GPT-3), arXiv:2005.14165, appendix C, which Smith et al. 2022 (Megatron-Turing NLG),
    arXiv:2201.11990, follow; datatrove 0.10.1; Soldaini et al. 2024 (Dolma), arXiv:2402.00159. From memory of these.
Equation
    an item is found where a run of n of its words, or all of it where it has fewer, stands in a document
    gpt3       n = 13; the run and 200 characters on either side are cut, pieces below 200 characters too; a document in
               more than 10 pieces is dropped; runs in more than 10 documents are nobody's
    datatrove  n = 12, runs that touch the answer; a document with one is dropped
    dolma      whole paragraphs of 13 words and more, as they are written; a document with one is dropped
Shapes
    texts (documents,) -> spans of what is found and of what is cut around it, numbers of hits, items and pieces
Cost
    Per document and length of run some ten operations a word; of all shards only the hits are held.
Caveats
    Words are compared in small letters, composed (NFC) and without punctuation, so line breaks hide nothing; a
    paraphrase is not found. Items of fewer than ``least_words`` words are not checked and reported as that. Pieces stay
    in one document, with an empty line between them, where GPT-3's became documents. datatrove takes words of a
    linguistic tokenizer. Dolma's paragraphs went into a Bloom filter of rate 1e-15; here they are compared themselves,
    as evaluation sets are small. Common runs are counted over all documents given, so a larger corpus spares more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trivium.core.method import method
from trivium.curation._survivors import dealt, whole
from trivium.data.benchmark_items import read
from trivium.data.contamination import Item, Report, Wanted, frequent, reports
from trivium.data.curating import Sketch
from trivium.data.marks import Marks, Span, Texts
from trivium.data.rules import Cut, Drop, Rules
from trivium.data.stages import fingerprint

WINDOW, SHORTEST, PIECES = 200, 200, 10
"""Characters that go on either side of a hit, characters of a piece that stays, and pieces of a document at most."""


class _How(NamedTuple):
    length: int
    question_alone: bool
    paragraphs: bool
    cuts: bool
    cap: float


_VARIANTS = {
    "gpt3": _How(13, True, False, True, 10),
    "datatrove": _How(12, False, False, False, np.inf),
    "dolma": _How(13, True, True, False, np.inf),
}


@method(title="Decontamination", source="arXiv:2005.14165", year=2020)
@dataclass(frozen=True)
class Decontamination:
    """Text of evaluation sets in training documents."""

    sets: tuple[str, ...] = ("planted",)
    """Evaluation sets: FORM=PATH as in ``arc=arc/test.jsonl``, a task file of lm-evaluation-harness, or a file of lines
    with "question" and "answer"; ``planted`` stands for the items that ``data.planted`` puts into its documents."""
    variant: Literal["gpt3", "datatrove", "dolma"] = "gpt3"
    """Whose reading of what contamination is and what is done about it."""
    least_words: int = 8
    """Items of fewer words are not checked; of the variant dolma, paragraphs of fewer than 13 never are."""

    def __post_init__(self) -> None:
        if not self.sets:
            raise ValueError("sets names no evaluation set, so there is nothing to check; give the path of one")
        if self.variant not in _VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(_VARIANTS)}; got {self.variant!r}")
        if self.least_words < 1:
            raise ValueError(f"least_words must be at least 1, got {self.least_words}")

    @property
    def wanted(self) -> Wanted:
        """What is looked for, read from the sets. Raises ValueError where there is nothing to look for in one."""
        how = _VARIANTS[self.variant]
        items = tuple(item for said in self.sets for item in read(said))
        least = max(self.least_words, how.length) if how.paragraphs else self.least_words
        return _made(items, how.length, how.question_alone, least, how.paragraphs)

    @property
    def depends(self) -> str:
        return fingerprint("items", of=self.wanted.runs)

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("hits", "items", "pieces", "left"))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset(("found", "around"))

    @property
    def rules(self) -> Rules:
        if not _VARIANTS[self.variant].cuts:
            return Rules((Drop("decontamination.found", "decontamination.hits > 0"),))
        many = Drop("decontamination.pieces", f"decontamination.pieces > {PIECES}")
        nothing = Drop("decontamination.nothing_left", "decontamination.hits > 0 and decontamination.left == 0")
        return Rules((many, nothing), (Cut("decontamination.around", by="\n\n"),))

    def sketch(self, texts: Texts) -> Sketch:
        """Every hit with its place; the size and identity of every document."""
        wanted = self.wanted
        found = [wanted.find(text) for text in texts.texts]
        flat = np.array([hit for hits, _ in found for hit in hits], np.int64).reshape(-1, 3)
        return {
            "run": flat[:, 0], "start": flat[:, 1], "end": flat[:, 2],
            "each": np.array([len(hits) for hits, _ in found], np.int64),
            "words": np.array([count for _, count in found], np.int64),
            "size": np.array([len(text) for text in texts.texts], np.int64),
            "source": np.array(list(texts.sources), str), "id": np.array(list(texts.ids), str),
        }  # fmt: skip

    def gather(self, sketches: Sequence[Sketch]) -> list[Marks]:
        """Hits of runs that are not common to many documents, and what goes with them."""
        columns = whole(sketches)
        count = len(columns.get("id", ()))
        rows: dict[str, list[list[Span]]] = {"found": [[] for _ in range(count)], "around": [[] for _ in range(count)]}
        numbers = {name: np.zeros(count) for name in self.measures}
        if not count:
            return dealt(numbers, sketches, rows)
        wanted, cuts = self.wanted, _VARIANTS[self.variant].cuts
        items_of: dict[int, list[int]] = {}
        for item, of in enumerate(wanted.of):
            for run in of:
                items_of.setdefault(run, []).append(item)
        hits = _hits(columns)
        rare = ~frequent(hits, len(wanted.runs), _VARIANTS[self.variant].cap)[hits[:, 0]]
        numbers["pieces"][:] = 1
        numbers["left"][:] = columns["size"]
        for place in np.unique(hits[rare, 1]).tolist():
            mine = rare & (hits[:, 1] == place)
            spans = list(zip(columns["start"][mine].tolist(), columns["end"][mine].tolist(), strict=True))
            rows["found"][place] = [(a, b, 1.0) for a, b in merged(spans, 0)]
            numbers["hits"][place] = len(spans)
            numbers["items"][place] = len({item for run in hits[mine, 0].tolist() for item in items_of[run]})
            if cuts:
                gone, pieces = around(spans, int(columns["size"][place]))
                rows["around"][place] = [(a, b, 1.0) for a, b in gone]
                numbers["pieces"][place] = pieces
                numbers["left"][place] -= sum(b - a for a, b in gone)
        return dealt(numbers, sketches, rows)

    def report(self, sketches: Sequence[Sketch], examples: int = 3) -> list[Report]:
        """Of each benchmark which items were found and which not: the split by which scores can be told apart. The
        sketches of a run are read by ``data.remembering.sketches``."""
        columns = whole(sketches)
        if not columns:
            raise ValueError("there are no sketches, so nothing was searched")
        named = list(zip(columns["source"].tolist(), columns["id"].tolist(), strict=True))
        cap = _VARIANTS[self.variant].cap
        total = int(columns["words"].sum())
        return reports(self.wanted, _hits(columns), named, total, cap=cap, examples=examples)


@lru_cache(4)
def _made(items: tuple[Item, ...], length: int, question_alone: bool, least: int, paragraphs: bool) -> Wanted:
    """Once for the same items, since it takes a while to index them."""
    return Wanted(items, length, question_alone, least, paragraphs)


def _hits(columns: Sketch) -> NDArray[np.int64]:
    """(hits, 2): run and document."""
    document = np.repeat(np.arange(len(columns["id"])), columns["each"])
    return np.stack([columns["run"], document], 1)


def merged(spans: Sequence[tuple[int, int]], apart: int) -> list[tuple[int, int]]:
    """In order; those with fewer than ``apart`` characters between them, or none, are one."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if found and start - found[-1][1] <= max(apart - 1, 0):
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def around(spans: Sequence[tuple[int, int]], size: int) -> tuple[list[tuple[int, int]], int]:
    """What goes with hits in a text of this size: windows, and pieces between them that are too short; and how many
    pieces the windows leave."""
    windows = merged([(max(a - WINDOW, 0), min(b + WINDOW, size)) for a, b in spans], 0)
    ends = [0, *(end for _, end in windows)], [*(start for start, _ in windows), size]
    pieces = sum(start > end for end, start in zip(*ends, strict=True))
    gone = merged(windows, SHORTEST)
    first, end = gone[0]
    gone[0] = (0 if first < SHORTEST else first, end)
    start, last = gone[-1]
    gone[-1] = (start, size if size - last < SHORTEST else last)
    return gone, pieces
