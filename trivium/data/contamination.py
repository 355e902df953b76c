"""Which test items a model may have seen: those that share a run of words with its training text.

After Brown et al. 2020 (arXiv:2005.14165), appendix C, from memory: the run is as long as the 5th percentile of the
items' lengths in words, at least 8 words and at most 13.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np

LEAST, MOST = 8, 13


def words(text: str) -> list[str]:
    """In small letters, without what stands between them."""
    return re.findall(r"\w+", text.lower())


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
