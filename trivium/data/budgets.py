"""A fixed number of words to learn from, as in the BabyLM challenge: each source its share, whole documents, once each.

    WordBudget(10_000_000, BABYLM_2023)

Documents are taken in a random order; one that does not fit into what is left of its source's quota is passed over. So
the budget is never exceeded, and no document that is left out would have fitted. The budget of a challenge counts all
text that any part of a system saw, that of its tokenizer and teachers too; here only what a run gives is counted.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trivium.data.choosing import Group, named, summing
from trivium.data.orders import Draws
from trivium.data.shares import capped, tempered

BABYLM_2023 = {
    "open_subtitles": 0.30, "simple_wikipedia": 0.15, "bnc_spoken": 0.10, "gutenberg": 0.10, "qed": 0.10,
    "wikipedia": 0.10, "cbt": 0.06, "aochildes": 0.04, "children_stories": 0.04, "switchboard": 0.01,
}  # fmt: skip
"""Shares of the first challenge (Warstadt et al. 2023), by the names of its files."""
PIECE = 4096
SHARES = {"babylm_2023": BABYLM_2023}


@dataclass(frozen=True)
class WordBudget:
    """So many words of each group, each document at most once."""

    words: int
    """In all; what stands between white space is a word."""
    shares: Mapping[str, float] | str | None = None
    """Group -> share, for all groups, summing to 1; or a name, babylm_2023. By default in proportion to their words."""
    rebalance: bool = False
    """Where a group has less than its share, take all of it and the rest of the others; else it is an error."""
    by: str = "source"
    """What groups documents: source, metadata.NAME, or a method that gives scores, such as language."""
    seed: int = 0

    rule = "word budget"
    unit = "words"

    def __post_init__(self) -> None:
        if self.words < 1:
            raise ValueError(f"words must be at least 1, got {self.words}")
        if isinstance(self.shares, str) and self.shares not in SHARES:
            raise ValueError(f"no shares are called {self.shares!r}; there are {', '.join(SHARES)}")
        if self._given is not None:
            summing(self._given, "the shares")

    def choose(self, groups: Sequence[Group]) -> list[Draws]:
        """What is taken of each group. Raises ValueError where there is too little."""
        sizes = {group.name: group.size for group in groups}
        wanted = tempered(sizes) if self._given is None else self._named(sizes)
        short = {name: share * self.words - sizes.get(name, 0) for name, share in wanted.items()}
        worst = max(short, key=lambda name: short[name])
        if short[worst] > 1e-6 * self.words and not self.rebalance:
            raise ValueError(
                f"{worst!r} has {sizes.get(worst, 0):,} of the {wanted[worst] * self.words:,.0f} words it is to give, "
                f"{short[worst]:,.0f} too few; ask for fewer words, or set rebalance=True"
            )
        try:
            shares = capped(wanted, {name: sizes.get(name, 0) / self.words for name in wanted})
        except ValueError as error:
            there = sum(size for name, size in sizes.items() if wanted[name])
            raise ValueError(f"there are {there:,} words to take, {self.words:,} are asked for") from error
        found = []
        for group in groups:
            taken = fitting(group.sizes, math.floor(shares[group.name] * self.words + 1e-6))
            found.append(Draws(group.name, group.numbers[taken], int(taken.sum())))
        return found

    @property
    def _given(self) -> Mapping[str, float] | None:
        return SHARES[self.shares] if isinstance(self.shares, str) else self.shares

    def _named(self, sizes: Mapping[str, int]) -> dict[str, float]:
        assert self._given is not None
        named(self._given, sizes, self.by, "the shares")
        return {name: share for name, share in self._given.items() if share or name in sizes}


def fitting(sizes: NDArray[np.int64], room: int) -> NDArray[np.bool_]:
    """(n,) bool: those that are taken where each is that still fits into the room, in order."""
    taken = np.zeros(len(sizes), bool)
    at = 0
    while at < len(sizes):
        sums = np.cumsum(sizes[at : at + PIECE])
        fit = int(np.searchsorted(sums, room, "right"))
        taken[at : at + fit] = True
        room -= int(sums[fit - 1]) if fit else 0
        at += fit + (fit < len(sums))  # past the one that does not fit
    return taken
