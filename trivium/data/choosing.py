"""What a mixer is: it says how much is drawn of each group of the documents that stayed after curation.

Documents are grouped by something that is known of them (``by``) and measured in some unit. Of each group the mixer
gets the sizes of its documents in the order of their first epoch, a random one that depends on the seed and on each
document's source and id alone; so a choice depends neither on files nor on their order, and a document that was drawn
stays drawn where there is room for more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from trivium.data.orders import Draws

Unit = Literal["words", "characters", "bytes", "documents"]
"""What documents are measured in: words are what stands between white space, bytes are those of UTF-8."""


@dataclass(frozen=True)
class Group:
    """The documents of one group, in the order of the first epoch."""

    name: str
    numbers: NDArray[np.int64]
    """(n,) numbers of the documents, from 0 among all that stayed."""
    sizes: NDArray[np.int64]
    """(n,) of each, in the unit of the mixer."""

    @property
    def size(self) -> int:
        """Of all together."""
        return int(self.sizes.sum())

    def fill(self, wanted: int, seed: int) -> Draws:
        """As many documents as fit into this size, epoch after epoch: the last one to begin ends before the first
        document that would exceed it."""
        n, size = len(self.numbers), self.size
        epochs, left = divmod(wanted, size) if size else (0, 0)
        if not left:
            return Draws(self.name, self.numbers, epochs * n)
        last = Draws(self.name, np.arange(n), (epochs + 1) * n).at(np.arange(epochs * n, (epochs + 1) * n), seed)
        fits = np.searchsorted(np.cumsum(self.sizes[last]), left, "right")
        return Draws(self.name, self.numbers, epochs * n + int(fits))


class Mixer(Protocol):
    """Says how often each document is drawn; a dataclass, whose fields are what a run is known by."""

    @property
    def by(self) -> str:
        """What groups documents: see ``grouping``."""
        ...

    @property
    def unit(self) -> Unit:
        """What documents are measured in."""
        ...

    @property
    def seed(self) -> int:
        """Of the order."""
        ...

    @property
    def rule(self) -> str:
        """The name under which documents are counted that are not drawn."""
        ...

    def choose(self, groups: Sequence[Group]) -> list[Draws]:
        """Of each group, in their order, what is drawn. Raises ValueError for what cannot be had."""
        ...


def named(given: Mapping[str, float], sizes: Mapping[str, int], by: str, what: str) -> dict[str, float]:
    """A number for each group that there is. Raises ValueError where one of them is not named."""
    if lacking := sorted(set(sizes) - set(given)):
        raise ValueError(f"{what} says nothing of {lacking[0]!r} ({by}); give it a number, 0 to leave it out")
    return {name: float(given[name]) for name in sizes}


def summing(shares: Mapping[str, float], what: str) -> None:
    """Raises ValueError for shares below 0, or that do not come to 1 within a millionth."""
    if bad := [name for name, share in shares.items() if not share >= 0]:
        raise ValueError(f"{what} of {bad[0]!r} is {shares[bad[0]]}; it cannot be less than 0")
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"{what} come to {sum(shares.values()):.6g}, not to 1: {dict(shares)}")
