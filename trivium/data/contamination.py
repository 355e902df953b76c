"""Which test items a model may have seen: those that share a run of words with its training text.

After Brown et al. 2020 (arXiv:2005.14165), appendix C, from memory: the run is as long as the 5th percentile of the
items' lengths in words, at least 8 words and at most 13. ``Wanted`` looks for items of several benchmarks in many
documents and tells the places; hashes find a run, and its words are compared then, so that no chance agreement counts.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import regex
from numpy.typing import NDArray

from trivium.data.near_duplicates import run_hashes, word_hashes

LEAST, MOST = 8, 13
_WORD = regex.compile(r"\w[\w\p{M}]*")

Run = tuple[str, ...]
Hit = tuple[int, int, int]
"""Number of a run, first code point and the one after the last."""


def located(text: str) -> tuple[list[str], list[tuple[int, int]]]:
    """Words in small letters and composed (NFC), without what stands between them; where each begins and ends."""
    found = [(word[0], word.span()) for word in _WORD.finditer(text)]
    return [unicodedata.normalize("NFC", word.lower()) for word, _ in found], [span for _, span in found]


def words(text: str) -> list[str]:
    """In small letters, without what stands between them."""
    return located(text)[0]


def run_length(items: Sequence[str]) -> int:
    """How many words an item must share. Raises ValueError where there is no item."""
    if not items:
        raise ValueError("there is no item whose words could be counted")
    return int(np.clip(np.percentile([len(words(item)) for item in items], 5), LEAST, MOST))


def dirty(items: Sequence[str], training: Iterable[str], length: int | None = None) -> list[bool]:
    """Per item whether so many of its words in a row, or all of them where it has fewer, stand in a training text."""
    length = run_length(items) if length is None else length
    if length < 1:
        raise ValueError(f"a run has at least 1 word, got {length}")
    runs = [_runs(words(item), length) for item in items]
    by_length: dict[int, set[tuple[str, ...]]] = {}
    for found in runs:
        for run in found:
            by_length.setdefault(len(run), set()).add(run)
    seen: set[tuple[str, ...]] = set()
    for text in training:
        there = words(text)
        for size, wanted in by_length.items():
            seen |= wanted.intersection(zip(*(there[at:] for at in range(size)), strict=False))
    return [any(run in seen for run in found) for found in runs]


def _runs(of: Sequence[str], length: int) -> set[tuple[str, ...]]:
    size = min(length, len(of))
    return {tuple(of[at : at + size]) for at in range(len(of) - size + 1)} if size else set()


@dataclass(frozen=True)
class Item:
    """A test item; one without an answer is its text."""

    benchmark: str
    id: str
    question: str
    answer: str = ""


@dataclass(frozen=True)
class Wanted:
    """What is looked for: runs of words, or whole paragraphs, of items. Raises ValueError where a benchmark has nothing
    to look for, or an item is there twice."""

    items: tuple[Item, ...]
    length: int = MOST
    """Words of a run; an item of fewer is looked for as a whole."""
    question_alone: bool = True
    """Whether runs without a word of the answer count; without them an item has to have an answer to be checked."""
    least_words: int = LEAST
    """Shorter items, or paragraphs, are not checked."""
    paragraphs: bool = False
    """Look for whole paragraphs of items, as they are written, in place of runs."""

    def __post_init__(self) -> None:
        if self.length < 1 or self.least_words < 1:
            raise ValueError(
                f"a run and an item have at least 1 word, got length {self.length}, least_words {self.least_words}"
            )
        if not self.items:
            raise ValueError("there is no test item, so there is nothing to check; an empty set is no clean one")
        seen: set[tuple[str, str]] = set()
        for item in self.items:
            if (item.benchmark, item.id) in seen:
                name = f"item {item.id!r} of {item.benchmark!r}"
                raise ValueError(f"{name} is there twice; ids are unique in a benchmark")
            seen.add((item.benchmark, item.id))
        checked = {item.benchmark for item, runs in zip(self.items, self._each, strict=True) if runs}
        for item in self.items:
            if item.benchmark not in checked:
                what = "paragraph" if self.paragraphs else "item"
                raise ValueError(
                    f"nothing to check in {item.benchmark!r}: no {what} has {self.least_words} words"
                    + ("" if self.question_alone else " and an answer")
                    + "; lower least_words or check it by another method"
                )

    @cached_property
    def _each(self) -> list[set[Run]]:
        return [self._looked_for(item) for item in self.items]

    @cached_property
    def runs(self) -> list[Run]:
        """All that is looked for, in order; a hit names its place here."""
        return sorted(set().union(*self._each))

    @cached_property
    def of(self) -> list[list[int]]:
        """Item -> numbers of its runs; none where it is not checked."""
        number = {run: place for place, run in enumerate(self.runs)}
        return [sorted(number[run] for run in found) for found in self._each]

    def _looked_for(self, item: Item) -> set[Run]:
        if self.paragraphs:
            said = (line.strip() for text in (item.question, item.answer) for line in text.split("\n"))
            return {(line,) for line in said if len(words(line)) >= self.least_words}
        asked, told = words(item.question), words(item.answer)
        both = asked + told
        if len(both) < self.least_words or not (self.question_alone or told):
            return set()
        size = min(self.length, len(both))
        first = 0 if self.question_alone else max(len(asked) - size + 1, 0)
        return {tuple(both[at : at + size]) for at in range(first, len(both) - size + 1)}

    @cached_property
    def _index(self) -> Mapping[int, tuple[NDArray[np.uint64], NDArray[np.int64]]]:
        """Length of run -> sorted hashes and which run each is of."""
        found = {}
        for size in sorted({len(run) for run in self.runs}):
            places = np.array([place for place, run in enumerate(self.runs) if len(run) == size], np.int64)
            hashes = np.array([run_hashes(word_hashes(self.runs[place]), size)[0] for place in places], np.uint64)
            order = np.argsort(hashes, kind="stable")
            found[size] = hashes[order], places[order]
        return found

    @cached_property
    def _paragraph(self) -> Mapping[str, int]:
        return {run[0]: place for place, run in enumerate(self.runs)}

    def find(self, text: str) -> tuple[list[Hit], int]:
        """Where runs stand in a text, and how many words it has."""
        there, spans = located(text)
        if self.paragraphs:
            return self._find_paragraphs(text), len(there)
        parts, found = word_hashes(there), []
        for size, (hashes, places) in self._index.items():
            mine = run_hashes(parts, size)
            at = np.searchsorted(hashes, mine)
            for start in np.flatnonzero(hashes[np.minimum(at, len(hashes) - 1)] == mine).tolist():
                run = int(places[at[start]])
                if self.runs[run] == tuple(there[start : start + size]):
                    found.append((run, spans[start][0], spans[start + size - 1][1]))
        return sorted(found, key=lambda hit: hit[1:]), len(there)

    def _find_paragraphs(self, text: str) -> list[Hit]:
        found, at = [], 0
        for line in text.split("\n"):
            run = self._paragraph.get(bare := line.strip())
            if run is not None:
                start = at + line.index(bare)
                found.append((run, start, start + len(bare)))
            at += len(line) + 1
        return found


@dataclass(frozen=True)
class Report:
    """One benchmark against the training text: what of it a model that is trained on this may be judged by."""

    benchmark: str
    clean: tuple[str, ...]
    dirty: tuple[str, ...]
    unchecked: tuple[str, ...]
    """Items too short to say anything; in neither part of the split."""
    hits: int
    """How often a run of an item stands in the training text."""
    per_million: float
    """Hits per million words of training text."""
    common: int
    """Runs that stand in more documents than the cap allows, and so count as nobody's."""
    examples: tuple[tuple[str, str, str, str], ...] = ()
    """Item, source and id of the document, and the words they share: the first few of dirty items."""


def reports(
    wanted: Wanted,
    hits: NDArray[np.int64],
    named: Sequence[tuple[str, str]],
    total: int,
    *,
    cap: float = np.inf,
    examples: int = 3,
) -> list[Report]:
    """A report per benchmark, in order of name; each is what it would be if there were no other benchmark.

    ``hits`` (hits, 2): run and place of the document. ``named``: source and id of each. ``total``: their words.
    ``cap``: runs found in more documents are common property, a licence say.
    """
    common = frequent(hits, len(wanted.runs), cap)
    where: dict[int, list[tuple[str, str]]] = {}
    for run, document in hits.tolist():
        where.setdefault(run, []).append(named[document])
    found = []
    for benchmark in sorted({item.benchmark for item in wanted.items}):
        mine = sorted((item.id, of) for item, of in zip(wanted.items, wanted.of, strict=True)
                      if item.benchmark == benchmark)  # fmt: skip
        its = {run for _, of in mine for run in of}
        seen = {name: [run for run in of if run in where and not common[run]] for name, of in mine}
        count = sum(len(where.get(run, ())) for run in its if not common[run])
        shown = [(name, *min(where[runs[0]]), " ".join(wanted.runs[runs[0]])) for name, runs in seen.items() if runs]
        found.append(
            Report(
                benchmark,
                clean=tuple(name for name, of in mine if of and not seen[name]),
                dirty=tuple(name for name, _ in mine if seen[name]),
                unchecked=tuple(name for name, of in mine if not of),
                hits=count,
                per_million=1e6 * count / total if total else 0.0,
                common=sum(bool(common[run]) for run in its),
                examples=tuple(shown[:examples]),
            )
        )
    return found


def frequent(hits: NDArray[np.int64], runs: int, cap: float) -> NDArray[np.bool_]:
    """(runs,): whether a run stands in more documents than this. ``hits`` (hits, 2): run and document."""
    once = np.unique(hits, axis=0)
    return np.bincount(once[:, 0], minlength=runs) > cap
