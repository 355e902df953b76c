"""Use of context: what text costs by its place in a window, within the length of training and beyond it.

Source
    Kaplan et al. 2020, "Scaling Laws for Neural Language Models", arXiv:2001.08361, appendix D.5 (loss by position);
    Press, Smith and Lewis 2022, "Train Short, Test Long", arXiv:2108.12409 (beyond the length of training). Windows,
    cuts and the two differences are ours.
Equation
    cost(a, b) = - sum over tokens a <= t < b of log2 p(x[t] | x[< t])  /  sum of the UTF-8 bytes of these tokens
    context_gain = cost(1, L / 16) - cost(3 L / 4, L);   beyond = cost(L, reach L) - cost(3 L / 4, L)
Shapes
    System and one window of text -> an Observation with the costs and both differences
Cost
    One forward pass over reach L tokens a window.
Caveats
    A window begins with a document and goes on with the ones after it, an empty line between, so late tokens know no
    more of their own document than its length allows. The first token is not predicted. Costs are per byte, so that
    vocabularies compare; L counts tokens. A model that takes fewer positions than the windows have is refused rather
    than read in pieces, for pieces would hide what is asked here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F

from trivium.core.errors import NotFinite
from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data.corpus import Corpus
from trivium.data.named import named
from trivium.models.system import System

LARGEST_TOKEN = 8
"""Bytes of text that are kept for each token of a window; what is too much is cut off after tokenising."""


@method(title="Use of context", source="arXiv:2001.08361", year=2020, needs=["causal"])
@dataclass(frozen=True)
class ContextUse:
    """Windows longer than those of training, and what their parts cost."""

    corpus: Corpus | str = "stories"
    """A corpus, its name, or the path of text to read."""
    windows: int = 32
    """How many, each from another document on."""
    length: int = 128
    """L: tokens of a row in training."""
    reach: int = 4
    """Windows are so many times as long."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("late", "Bits per byte late in the length of training", False, "bits/byte"),
        Measure("context_gain", "Bits per byte that the context saves", True, "bits/byte"),
        Measure("beyond", "Bits per byte more beyond the length of training", False, "bits/byte"),
    )

    def __post_init__(self) -> None:
        for name, least in (("windows", 1), ("length", 32), ("reach", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    @cached_property
    def text(self) -> Corpus:
        """The corpus itself."""
        return named(self.corpus) if isinstance(self.corpus, str) else self.corpus

    def examples(self, split: str) -> list[Example]:
        """Windows that begin with the first, the second, ... document, as text long enough for any tokenizer."""
        documents, wanted = self.text[split], self.reach * self.length * LARGEST_TOKEN
        made = []
        for first in range(min(self.windows, len(documents))):
            text, at = documents[first], first + 1
            while len(text) < wanted and at < first + len(documents):
                text += "\n\n" + documents[at % len(documents)]
                at += 1
            made.append(Example(f"{split}-{first:05d}", text[:wanted]))
        return made

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts. Raises ValueError for a text of too few tokens or a model of too few positions."""
        whole, model = self.reach * self.length, system.model
        if model.max_positions is not None and model.max_positions < whole:
            raise ValueError(
                f"{system.name} takes {model.max_positions} positions, windows are {self.reach} x {self.length} "
                "tokens; lower length or reach, or build the model with more context"
            )
        ids = system.prompt(example.text)[:, :whole]
        if ids.shape[1] < whole:
            raise ValueError(
                f"{example.id} has {ids.shape[1]} tokens of {whole}; give a longer corpus, or lower length or reach"
            )
        with torch.no_grad():
            logits = model(ids).logits[0, :-1]
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        bits = F.cross_entropy(wide, ids[0, 1:], reduction="none").double().cpu() / math.log(2)
        if not bits.isfinite().all():
            raise NotFinite(f"{system.name} gives likelihoods that are not finite ({example.id})")
        sizes = torch.tensor([len(system.tokenizer.bytes_of(id)) for id in ids[0, 1:].tolist()], dtype=torch.float64)

        def cost(start: int, stop: int) -> float:
            """Tokens from ``start`` to ``stop`` of the window, the first being 0."""
            part = slice(start - 1, stop - 1)
            return float(bits[part].sum() / sizes[part].sum())

        early, late = cost(1, self.length // 16), cost(3 * self.length // 4, self.length)
        beyond = cost(self.length, whole)
        doubled = (self.length * 2**n // 16 for n in range(int(math.log2(16 * self.reach)) + 1))
        edges = sorted({1, *doubled, whole})
        by_place = {f"{a} to {b - 1}": round(cost(a, b), 4) for a, b in pairwise(edges)}
        return Observation(
            {"late": late, "context_gain": early - late, "beyond": beyond - late, "early": early},
            {"bits per byte by place": by_place},
        )
