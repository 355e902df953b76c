"""Shares of languages in a sample, such as the one a tokenizer is trained on.

proportional    p_l = n_l / sum n
temperature t   p_l in proportion to n_l^(1/t): 1 is proportional, infinity gives every language the same
factors         n_l is multiplied before anything else (Salamandra halves English and code and doubles some others)
epochs          no language gives more than so many times what it has; what is cut goes to the others, again and
                again until none has too much
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch


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
        if not sizes or min(sizes.values()) <= 0:
            raise ValueError(f"every language needs some text; got {dict(sizes)}")
        if strange := set(self.factors) - set(sizes):
            raise ValueError(f"factors are given for {sorted(strange)}, of which there is no text")
        power = 0.0 if math.isinf(self.temperature) else 1 / self.temperature
        weights = {name: (size * self.factors.get(name, 1.0)) ** power for name, size in sizes.items()}
        weights = {name: 0.0 if self.factors.get(name, 1.0) == 0 else weight for name, weight in weights.items()}
        if sum(weights.values()) == 0:
            raise ValueError("all factors are 0, so that nothing is taken")
        if not total or math.isinf(self.epochs):
            return {name: weight / sum(weights.values()) for name, weight in weights.items()}
        caps = {name: self.epochs * sizes[name] / total for name in sizes}
        if sum(caps[name] for name in weights if weights[name] > 0) < 1 - 1e-9:
            raise ValueError(f"{self.epochs} epochs of all languages do not make {total}; ask for less")
        full: set[str] = set()
        while True:
            left = 1 - sum(caps[name] for name in full)
            mass = sum(weight for name, weight in weights.items() if name not in full)
            shares = {
                name: caps[name] if name in full else weight / mass * left if mass else 0.0
                for name, weight in weights.items()
            }
            over = {name for name, share in shares.items() if share > caps[name] + 1e-12}
            if not over:
                return shares
            full |= over

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
