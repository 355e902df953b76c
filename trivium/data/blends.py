"""Blends: documents of several sources or languages in given shares, small ones seen more often than large ones.

    Blend("words", weights={"wikipedia": 0.3, "books": 0.2, "web": 0.5}, size=10**9)     as MT-NLG's, with epochs
    Blend("words", by="metadata.language", temperature=3, max_epochs=4)                  languages balanced

Of a total of T units a group with share w and n units is gone through e = w T / n times: whole epochs, and of the last
one as many documents as fit. Smith et al. 2022 (arXiv:2201.11990) see good sources 1.5 to 3 times and crawls less than
once. Shares hold to a document of each group. They are shares of a unit that must be named: weights that are meant of
words and taken of documents give sources of long documents more than they were to have.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trivium.data.choosing import Group, Unit, named, summing
from trivium.data.orders import Draws
from trivium.data.shares import capped, tempered

OFTEN = 4
"""Epochs from which repeating helps less and less than new text (Muennighoff et al. 2023, arXiv:2305.16264)."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Blend:
    """So much of each group, for shares that are given or come of the sizes."""

    unit: Unit
    """What shares and the size are meant of."""
    weights: Mapping[str, float] | None = None
    """Group -> share, for all groups; they sum to 1."""
    temperature: float = 1.0
    """Without weights, shares are in proportion to n^(1/temperature): 1 is as they are, inf gives all the same."""
    factors: Mapping[str, float] = field(default_factory=dict)
    """Without weights, what sizes are multiplied by first, for some groups."""
    max_epochs: float = math.inf
    """How often a group is gone through at most; what is cut goes to the others."""
    size: int | None = None
    """Units drawn in all. By default the largest at which no group reaches ``max_epochs``; as many as there are where
    that is not limited."""
    by: str = "source"
    """What groups documents: source, metadata.NAME, or a method that gives scores, such as language."""
    seed: int = 0

    rule = "blend"

    def __post_init__(self) -> None:
        if not self.temperature >= 1:
            raise ValueError(f"temperature must be at least 1 (proportional), got {self.temperature}")
        if self.weights is not None:
            if self.temperature != 1 or self.factors:
                raise ValueError("weights say it all; temperature and factors go without them")
            summing(self.weights, "the weights")
        if not self.max_epochs > 0 or any(not factor >= 0 for factor in self.factors.values()):
            raise ValueError(
                f"max_epochs must be positive and factors not negative; got {self.max_epochs}, {dict(self.factors)}"
            )
        if self.size is not None and self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}")

    def choose(self, groups: Sequence[Group]) -> list[Draws]:
        """What is drawn of each group. Raises ValueError for weights of groups that are not there or not all there,
        and where even ``max_epochs`` of all do not come to the size."""
        sizes = {group.name: group.size for group in groups}
        weights = self._weights(sizes)
        total = self._total(sizes, weights)
        limits = {name: self.max_epochs * size for name, size in sizes.items()}
        try:
            shares = capped(weights, {name: limit / total for name, limit in limits.items()})
        except ValueError as error:
            raise ValueError(
                f"{self.max_epochs} epochs of all that has a weight come to less than {total:,} {self.unit}; ask for "
                "less, or allow more epochs"
            ) from error
        found = []
        for group in groups:
            wanted = shares[group.name] * total
            most = math.floor(min(limits[group.name], wanted + 1) + 1e-6)
            found.append(group.fill(min(round(wanted), most), self.seed))
            if sizes[group.name] and wanted > OFTEN * sizes[group.name]:
                log.warning("%s is gone through %.1f times", group.name, wanted / sizes[group.name])
        return found

    def _weights(self, sizes: Mapping[str, int]) -> dict[str, float]:
        if self.weights is None:
            return tempered(sizes, self.temperature, self.factors)
        weights = named(self.weights, sizes, self.by, "the weights")
        for name, weight in self.weights.items():
            if weight and not sizes.get(name):
                there = ", ".join(sorted(sizes)) or "nothing"
                raise ValueError(f"{name!r} has the weight {weight} and no {self.unit} to give; there is {there}")
        return weights

    def _total(self, sizes: Mapping[str, int], weights: Mapping[str, float]) -> int:
        if self.size is not None:
            return self.size
        if math.isinf(self.max_epochs):
            return sum(sizes.values())
        return int(min(self.max_epochs * sizes[name] / weight for name, weight in weights.items() if weight) + 1e-6)
