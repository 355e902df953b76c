"""A library of models to choose among, what each costs, and what each loses on texts.

Models are named as ``load`` takes them; ``ngrams:CORPUS`` is a model of the counted bytes of a corpus, its name or a
path. Losses are bits per byte, so that models of different vocabularies compare.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from trivium.core.errors import NotFinite
from trivium.core.nouns import Experts
from trivium.core.progress import Bar
from trivium.data.named import named
from trivium.models.ngrams import byte_ngrams
from trivium.models.scoring import prefix, rolling, score_pairs
from trivium.models.sources import load
from trivium.models.system import System

log = logging.getLogger(__name__)

COUNTED = "ngrams:"
BYTES = 500_000
"""Of a corpus, that are counted at most."""


@dataclass(frozen=True)
class Library:
    """Systems under names of their own. ``extra``: further costs beside "size", one number per system."""

    systems: tuple[System, ...]
    extra: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def experts(self) -> Experts:
        """Names and costs; the size is the decimal logarithm of the numbers that a model holds."""
        sizes = [math.log10(sum(p.numel() for p in one.model.parameters())) for one in self.systems]
        return Experts(tuple(one.name for one in self.systems), {"size": sizes, **self.extra})

    def losses(
        self, texts: Sequence[str], *, batch_size: int = 16, length: int = 512, bar: Bar | None = None
    ) -> Tensor:
        """(texts, experts) float64: bits per byte. NaN where a model gives no finite likelihood; a warning says how
        often. ``length``: tokens of a window, for models that take texts of any length. Raises ValueError for an empty
        text."""
        empty = [place for place, text in enumerate(texts) if not text]
        if empty or not texts:
            raise ValueError(f"texts {empty[:8]} are empty, or there is none; leave them out")
        sizes = torch.tensor([len(text.encode("utf-8", "surrogatepass")) for text in texts], dtype=torch.float64)
        found = torch.full((len(texts), len(self.systems)), math.nan, dtype=torch.float64)
        for column, system in enumerate(self.systems):
            prefix(system)
            window = system.model.max_positions or length
            pairs = [rolling(system, text, window) for text in texts]
            try:
                scored = iter(score_pairs(system, [pair for one in pairs for pair in one], batch_size=batch_size))
                nats = [[sum(next(scored).logprobs) for _ in one] for one in pairs]
            except NotFinite:  # of one text at least: find out of which
                nats = [self._alone(system, one) for one in pairs]
            found[:, column] = -torch.tensor([sum(one) for one in nats], dtype=torch.float64) / math.log(2) / sizes
            if bar is not None:
                bar.advance()
        if missing := int(found.isnan().sum()):
            log.warning("%d of %d losses are missing, where a model gave no finite likelihood", missing, found.numel())
        return found

    @staticmethod
    def _alone(system: System, pairs: Sequence) -> list[float]:
        try:
            return [sum(one.logprobs) for one in score_pairs(system, pairs)]
        except NotFinite:
            return [math.nan]


def expert(name: str, *, dtype: str = "float32", device: str = "cpu") -> System:
    """A model by its name; models of counted bytes are made from the training split of their corpus."""
    if not name.startswith(COUNTED):
        return load(name, dtype=dtype, device=device)  # type: ignore[arg-type]
    return _counted(name.removeprefix(COUNTED))


@lru_cache(maxsize=16)
def _counted(corpus: str) -> System:
    texts, size = [], 0
    for text in named(corpus)["train"]:
        texts.append(text)
        size += len(text)
        if size > BYTES:
            break
    return byte_ngrams(texts, COUNTED + corpus)


def library(names: Sequence[str], *, dtype: str = "float32", device: str = "cpu") -> Library:
    """The models of these names. Raises ValueError for fewer than two, or one that is named twice."""
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"a library needs at least two different models, got {list(names)}")
    return Library(tuple(expert(name, dtype=dtype, device=device) for name in names))
