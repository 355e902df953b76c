"""Shares of languages in a sample, such as the one a tokenizer is trained on.

By size, by temperature, by factors (Salamandra halves English and code and doubles some others), and with a limit to
how often a language is gone through: see ``data.shares``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from trivium.data.shares import capped, tempered


@dataclass(frozen=True)
class LanguageMix:
    """How much of each language is taken."""

    temperature: float = 1.0
    factors: Mapping[str, float] = field(default_factory=dict)
    epochs: float = math.inf
    """How often a language's text may be gone through at most."""

    def __post_init__(self) -> None:
        if self.temperature < 1:
            raise ValueError(f"temperature must be at least 1 (proportional), got {self.temperature}")
        if self.epochs <= 0 or any(factor < 0 for factor in self.factors.values()):
            raise ValueError(
                f"epochs must be positive and factors not negative; got {self.epochs}, {dict(self.factors)}"
            )

    def shares(self, sizes: Mapping[str, float], total: float = 0.0) -> dict[str, float]:
        """Of each language its share of ``total``, in the unit of the sizes; they sum to 1.

        Raises ValueError for a language with nothing, a factor for one that is not there, and where even all epochs of
        all languages do not make up the total.
        """
        weights = tempered(sizes, self.temperature, self.factors)
        if not total or math.isinf(self.epochs):
            return weights
        try:
            return capped(weights, {name: self.epochs * size / total for name, size in sizes.items()})
        except ValueError as error:
            raise ValueError(f"{self.epochs} epochs of all languages do not make {total}; ask for less") from error

    def sample(
        self, texts: Mapping[str, Sequence[str]], characters: int, *, generator: torch.Generator
    ) -> dict[str, list[str]]:
        """About so many characters of texts, whole ones in random order, each language to its share (and, where it has
        too little, gone through again). What is taken of a language ends with the text that fills its share."""
        if characters < 1:
            raise ValueError(f"characters must be at least 1, got {characters}")
        shares = self.shares({name: sum(map(len, some)) for name, some in texts.items()}, characters)
        taken: dict[str, list[str]] = {}
        for name in sorted(texts):
            wanted = shares[name] * characters
            order: list[int] = []
            taken[name] = []
            while wanted > 0:
                order = order or torch.randperm(len(texts[name]), generator=generator, device=generator.device).tolist()
                text = texts[name][order.pop()]
                wanted -= len(text)
                taken[name].append(text)
        return taken
