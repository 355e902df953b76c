"""Paragraph copies: of paragraphs that stand in several documents, or twice in one, all but one are cut.

Source
    Soldaini et al. 2024, "Dolma: an Open Corpus of Three Trillion Tokens for Language Model Pretraining Research",
    arXiv:2402.00159, section 5.3 and the published tool (1.2.1). Which copy stays is ours.
Equation
    paragraphs are what ``separator`` parts;   copies are equal;   the least (rank, source, id, place) stays
    memory="bloom": taken in that order, a paragraph goes where all bits of it are set already, else they are set
Shapes
    texts (documents,) -> spans of the copies with the break behind them, numbers of paragraphs, copies and words left
Cost
    A hash of 128 bits and two offsets per paragraph, about 32 bytes, of all shards at once. A filter spares sorting
    them: 4 bytes in place of some 40 each, and time.
Caveats
    The published tool keeps whichever copy came first, so that what stays depends on the order of files and on a race
    between threads, and its filter is seeded by chance; here it depends on the set of documents alone. A filter takes a
    paragraph for a copy by mistake at most at ``rate``; its size follows from the number of paragraphs, so it is never
    overfull. Common short lines, such as headings, go too unless ``least_words`` is raised. Its mode that compares runs
    of words within paragraphs is left out: see ``substring_copies``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trivium.core.method import method
from trivium.curation._remembered import Remembered, check_filter, filter_digest
from trivium.curation._survivors import Columns, alike, by_document, check_preference, dealt, identity, ordered, whole
from trivium.data.bloom import Bloom
from trivium.data.curating import Sketch
from trivium.data.digests import digests
from trivium.data.marks import Marks, Texts
from trivium.data.rules import Cut, Drop, Rules

BLOCK = 1 << 16
"""Paragraphs that are put to the filter at once; part of what it says, as within a block nothing is mistaken."""


@method(title="Paragraph copies", source="arXiv:2402.00159", year=2024)
@dataclass(frozen=True)
class ParagraphCopies:
    """Paragraphs that were said before."""

    separator: str = "\n"
    """What stands between paragraphs."""
    least_words: int = 1
    """Shorter paragraphs are never copies; with 0 even empty ones are."""
    memory: Literal["exact", "bloom"] = "exact"
    """Compare hashes of 128 bits, or put them through a Bloom filter, which takes less memory and errs at a rate."""
    rate: float = 1e-6
    """Share of new paragraphs that the filter may take for copies."""
    prefer: tuple[str, ...] = ()
    """Sources in which a paragraph is rather kept, best first; all others come behind them."""
    known: str = ""
    """A filter of the paragraphs of another corpus, in a file that ``data.remembering`` made; they all go."""

    def __post_init__(self) -> None:
        check_preference(self.prefer)
        check_filter(self.known)
        if not self.separator:
            raise ValueError("an empty separator parts no paragraphs; use '\\n' or '\\n\\n'")
        if self.least_words < 0:
            raise ValueError(f"least_words must be at least 0, got {self.least_words}")
        if self.memory not in ("exact", "bloom"):
            raise ValueError(f"memory must be exact or bloom, got {self.memory!r}")
        if not 0.0 < self.rate < 1.0:
            raise ValueError(f"rate is a share of paragraphs, above 0 and below 1; got {self.rate}")

    @property
    def depends(self) -> str:
        return filter_digest(self.known)

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("paragraphs", "copied", "words_left"))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset(("copies",))

    @property
    def rules(self) -> Rules:
        nothing = "paragraph_copies.words_left == 0 and paragraph_copies.copied > 0"
        return Rules((Drop("paragraph_copies.nothing_left", nothing),), (Cut("paragraph_copies.copies"),))

    def sketch(self, texts: Texts) -> Sketch:
        """A hash, a place and a number of words of each paragraph that could be a copy; how many of them a document
        has, and how many words besides."""
        every = [list(self._paragraphs(text)) for text in texts.texts]
        found = [[one for one in row if one[3] >= self.least_words] for row in every]
        flat = [one for row in found for one in row]
        spared = [sum(words for *_, words in row if words < self.least_words) for row in every]
        return {
            "digest": digests(said for said, *_ in flat),
            "start": np.array([start for _, start, _, _ in flat], np.int64),
            "end": np.array([end for _, _, end, _ in flat], np.int64),
            "words": np.array([words for *_, words in flat], np.int64),
            "each": np.array([len(row) for row in found], np.int64),
            "spared": np.array(spared, np.int64),
            **identity(texts, self.prefer),
        }

    def gather(self, sketches: Sequence[Sketch]) -> list[Marks]:
        """Of equal paragraphs all but one."""
        columns = whole(sketches)
        count = len(columns.get("id", ()))
        if not count:
            return dealt({name: np.zeros(0) for name in self.measures}, sketches, {"copies": []})
        document = np.repeat(np.arange(count), columns["each"])
        copies = self._copies(columns, document) | Remembered(self.known).holds(columns["digest"])
        left = columns["spared"] + np.bincount(document, np.where(copies, 0, columns["words"]), count)
        numbers = {
            "paragraphs": columns["each"].astype(float),
            "copied": np.bincount(document, copies, count).astype(float),
            "words_left": left.astype(float),
        }
        goes = copies & (columns["end"] > columns["start"])
        spans = by_document(count, document[goes], columns["start"][goes], columns["end"][goes])
        return dealt(numbers, sketches, {"copies": spans})

    def _copies(self, columns: Columns, document: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(paragraphs,): whether the same stands before, in the order of preference and within the document."""
        rank = np.empty(len(columns["id"]), np.int64)
        rank[ordered(columns)] = np.arange(len(rank))
        order = np.lexsort((columns["start"], rank[document]))
        said, copies = columns["digest"][order], np.zeros(len(order), bool)
        if self.memory == "exact":
            _, first = np.unique(alike(said), return_index=True)
            copies[order] = True
            copies[order[first]] = False
            return copies
        seen = Bloom(max(len(said), 1), self.rate)
        for at in range(0, len(said), BLOCK):
            copies[order[at : at + BLOCK]] = seen.add(said[at : at + BLOCK])
        return copies

    def _paragraphs(self, text: str) -> Iterator[tuple[str, int, int, int]]:
        """What each says, its ends with the break behind it, and how many words it has."""
        parts = text.split(self.separator)
        starts = [0, *accumulate(len(one) + len(self.separator) for one in parts)]
        starts[-1] = len(text)  # no break after the last
        for one, (start, end) in zip(parts, pairwise(starts), strict=True):
            yield one, start, end, len(one.split())
