"""Which test items stand in the training text, which documents they stand in, and the split that both allow.

Source
    Brown et al. 2020 (arXiv:2005.14165) and Smith et al. 2022 (Megatron-Turing NLG, arXiv:2201.11990) for runs of 13
    words; the reading of answers is that of datatrove. Written from their descriptions.
Equation
    an item is dirty if a run of n of its words, or the whole of it where it has fewer, stands in a training document
Cost
    Per document and length of run some ten operations a word, in numpy; a lookup in the sorted hashes of the items.
Caveats
    Words are compared as ``contamination.words`` gives them, in small letters, NFC and without punctuation, so line
    breaks and commas hide nothing; a paraphrase is not found. Hashes find a run, and its words are compared then, so
    that no chance agreement counts. What is found is reported; nothing is taken out.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from trivium.data.contamination import LEAST, MOST, words
from trivium.data.near_duplicates import run_hashes, word_hashes


@dataclass(frozen=True)
class Item:
    """A test item; one without an answer is its text."""

    benchmark: str
    id: str
    question: str
    answer: str = ""


@dataclass(frozen=True)
class Report:
    """One benchmark against the training text."""

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
    shares: dict[int, float] = field(default_factory=dict)
    """Per place of a training document with a hit: which share of its words such runs cover."""
    examples: tuple[tuple[str, int, str], ...] = ()
    """Item, place of the document and the words they share: the first few of dirty items."""


def overlap(
    items: Sequence[Item],
    documents: Iterable[str],
    *,
    length: int = MOST,
    question_alone: bool = True,
    least_words: int = LEAST,
    cap: int | None = None,
    examples: int = 3,
) -> list[Report]:
    """A report per benchmark, in order of name; each is what it would be if there were no other benchmark.

    ``question_alone``: whether runs without a word of the answer count; without them an item has to have an answer to
    be checked. ``least_words``: shorter items are not checked. ``cap``: runs found in more documents are common
    property, a licence say. Raises ValueError where nothing is left to check in a benchmark, or an item is there twice.
    """
    if length < 1 or least_words < 1:
        raise ValueError(f"a run and an item have at least 1 word, got length {length}, least_words {least_words}")
    if not items:
        raise ValueError("there is no test item, so there is nothing to check; an empty set is no clean one")
    named = [(item.benchmark, item.id) for item in items]
    if twice := sorted({name for name in named if named.count(name) > 1} if len(set(named)) < len(named) else ()):
        raise ValueError(f"item {twice[0][1]!r} of {twice[0][0]!r} is there twice; ids are unique in a benchmark")
    runs = [_runs(item, length, question_alone, least_words) for item in items]
    for benchmark in sorted({item.benchmark for item in items}):
        if not any(found for item, found in zip(items, runs, strict=True) if item.benchmark == benchmark):
            raise ValueError(
                f"nothing to check in {benchmark!r}: no item has {least_words} words"
                + ("" if question_alone else " and an answer")
                + "; lower least_words or check it by another method"
            )

    known = {run: place for place, run in enumerate(sorted(set().union(*runs)))}
    found, total = _occurrences(list(known), documents)
    where = np.unique(found[:, :2], axis=0)  # (run, document)
    frequency = np.bincount(where[:, 0], minlength=len(known))
    common = frequency > (np.inf if cap is None else cap)
    return [
        _report(benchmark, items, runs, known, found, common, total, examples)
        for benchmark in sorted({item.benchmark for item in items})
    ]


Run = tuple[str, ...]


def _runs(item: Item, length: int, question_alone: bool, least: int) -> set[Run]:
    """What is looked for: runs of ``length`` words, or the whole item; those that touch the answer, if only those."""
    asked, told = (words(unicodedata.normalize("NFC", text)) for text in (item.question, item.answer))
    whole = asked + told
    if len(whole) < least:
        return set()
    size = min(length, len(whole))
    first = 0 if question_alone else max(len(asked) - size + 1, 0)
    if not question_alone and not told:
        return set()
    return {tuple(whole[at : at + size]) for at in range(first, len(whole) - size + 1)}


def _occurrences(runs: Sequence[Run], documents: Iterable[str]) -> tuple[np.ndarray, int]:
    """(hit, 4): run, document, first word and number of words in the document; and how many words there are."""
    by_size: dict[int, list[int]] = {}
    for place, run in enumerate(runs):
        by_size.setdefault(len(run), []).append(place)
    index = {}
    for size, places in by_size.items():
        hashes = np.array([run_hashes(word_hashes(runs[place]), size)[0] for place in places])
        order = np.argsort(hashes, kind="stable")
        index[size] = hashes[order], np.array(places)[order]
    found, total = [], 0
    for document, text in enumerate(documents):
        there = words(unicodedata.normalize("NFC", text))
        parts = word_hashes(there)
        total += len(there)
        for size, (hashes, places) in index.items():
            mine = run_hashes(parts, size)
            at = np.searchsorted(hashes, mine)
            hits = np.flatnonzero(hashes[np.minimum(at, len(hashes) - 1)] == mine)
            for start in hits.tolist():
                run = int(places[at[start]])
                if runs[run] == tuple(there[start : start + size]):
                    found.append((run, document, start, len(there)))
    return np.array(found, np.int64).reshape(-1, 4), total


def _report(
    benchmark: str,
    items: Sequence[Item],
    runs: Sequence[set[Run]],
    known: dict[Run, int],
    found: np.ndarray,
    common: np.ndarray,
    total: int,
    examples: int,
) -> Report:
    mine = sorted(
        (item.id, [known[run] for run in wanted])
        for item, wanted in zip(items, runs, strict=True)
        if item.benchmark == benchmark
    )
    wanted = np.zeros(len(known), bool)
    for _, places in mine:
        wanted[places] = True
    hits = found[(wanted & ~common)[found[:, 0]]]
    seen = np.zeros(len(known), bool)
    seen[hits[:, 0]] = True
    spelled = list(known)
    shown = []
    for name, places in mine:
        if len(shown) < examples and seen[places].any():
            run, document = hits[np.isin(hits[:, 0], places)][0, :2].tolist()
            shown.append((name, document, " ".join(spelled[run])))
    shares = {}
    for document in np.unique(hits[:, 1]).tolist():
        its = hits[hits[:, 1] == document]
        inside = {at for run, _, start, _ in its.tolist() for at in range(start, start + len(spelled[run]))}
        shares[document] = len(inside) / int(its[0, 3])
    return Report(
        benchmark,
        clean=tuple(name for name, places in mine if places and not seen[places].any()),
        dirty=tuple(name for name, places in mine if seen[places].any()),
        unchecked=tuple(name for name, places in mine if not places),
        hits=len(hits),
        per_million=1e6 * len(hits) / total if total else 0.0,
        common=int((wanted & common).sum()),
        shares=shares,
        examples=tuple(shown),
    )
