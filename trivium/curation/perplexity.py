"""Perplexity: documents by how well a model foresees them, ranked over the set: a band is kept, or a head or middle.

Source
    Liu et al. 2024, "POINTS: Improving Your Vision-language Model with Affordable Strategies", arXiv:2409.04828 (the
    lowest 20 %, by a model of the same family); the three buckets are those of Wenzek et al. 2020, "CCNet",
    arXiv:1911.00359, section 3.3.
Equation
    ppl = exp(-(1/N) sum_i log p(s_i | s_<i)),  N tokens, words or bytes
    percentile = 100 (rank + 1) / n;   keep  lowest < percentile <= highest;   bucket = 0, 1, 2 by thirds of the ranks
Shapes
    texts (documents,) -> perplexity per token, word and byte, tokens, percentile and bucket of each
Cost
    One pass of the model over every token, batched; 40 bytes of each document for the ranking.
Caveats
    The least perplexity is that of boilerplate and repetition, so that the lowest 2 % go too by default; POINTS has no
    such bound, and its share of 20 % is from memory. CCNet's thresholds are of each language and its n-gram model of
    Wikipedia: filter by language first. A model that has seen the candidates prefers those. Perplexity per token
    compares documents under one model only. Short texts scatter more: with ``groups`` documents of like length are
    ranked among themselves. What has no token, or no finite likelihood, has no perplexity and is dropped by name; of
    the latter more than 0.1 % is an error. The default model is one of counted bytes of our own stories.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from trivium.core.errors import NotFinite
from trivium.core.method import method
from trivium.curation._survivors import dealt, identity, whole
from trivium.data.curating import Sketch
from trivium.data.marks import Marks, Texts
from trivium.data.rules import Drop, Rules
from trivium.models.fingerprint import fingerprint
from trivium.models.library import expert
from trivium.models.scoring import rolling, score_pairs
from trivium.models.system import System

LOST = 0.001
"""Share of documents without a finite likelihood that is taken for a broken model."""
_UNITS = ("token", "word", "byte")


@method(title="Perplexity band", source="arXiv:2409.04828", year=2024)
@dataclass(frozen=True)
class PerplexityBand:
    """Documents that a model foresees well, but not too well."""

    model: str = "ngrams:stories"
    """A folder, a known name or a hub identifier; ngrams:CORPUS counts the bytes of a corpus."""
    lowest: float = 2.0
    """Percentile up to which documents are dropped: what is foreseen best is boilerplate."""
    highest: float = 20.0
    """Percentile above which documents are dropped."""
    per: Literal["token", "word", "byte"] = "token"
    """What perplexity is of where documents are ranked by it; all three are measured."""
    groups: int = 1
    """Groups of documents of like length that are ranked apart."""
    length: int = 512
    """Tokens of a window, for a model that takes texts of any length; a longer text is read window by window."""
    batch_size: int = 16
    """Windows per pass."""

    relative: ClassVar[bool] = True
    """What is said of a document is its place among the others, so that what stays is ranked anew."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.lowest < self.highest <= 100.0:
            raise ValueError(f"percentiles are 0 <= lowest < highest <= 100, got {self.lowest} and {self.highest}")
        if self.per not in _UNITS:
            raise ValueError(f"per must be one of {', '.join(_UNITS)}; got {self.per!r}")
        for name in ("groups", "length", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def depends(self) -> str:
        """The model's weights, whatever folder they lie in."""
        return fingerprint(_system(self.model).model)

    @property
    def measures(self) -> frozenset[str]:
        return frozenset((*_UNITS, "tokens", "percentile", "bucket"))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset()

    @property
    def rules(self) -> Rules:
        return Rules((
            Drop("perplexity.none", "missing(perplexity.token)"),
            Drop("perplexity.low", f"perplexity.percentile <= {self.lowest}"),
            Drop("perplexity.high", f"perplexity.percentile > {self.highest}"),
        ))  # fmt: skip

    def sketch(self, texts: Texts) -> Sketch:
        """What each document costs in nats, and its tokens, words and bytes, beside its identity."""
        system = _system(self.model)
        window = system.model.max_positions or self.length
        rows = [rolling(system, text, window) if text else [] for text in texts.texts]
        try:
            scored = iter(score_pairs(system, [pair for row in rows for pair in row], batch_size=self.batch_size))
            nats = [[value for _ in row for value in next(scored).logprobs] for row in rows]
        except NotFinite:  # of one document at least: find out of which
            nats = [self._alone(system, row) for row in rows]
        return {
            "nats": np.array([-math.fsum(row) for row in nats], float),
            "token": np.array([sum(len(pair.continuation) for pair in row) for row in rows], np.int64),
            "word": np.array([len(text.split()) for text in texts.texts], np.int64),
            "byte": np.array([len(text.encode("utf-8", "surrogatepass")) for text in texts.texts], np.int64),
            **identity(texts, ()),
        }

    def gather(self, sketches: Sequence[Sketch]) -> list[Marks]:
        """Perplexities and their ranks over all shards. Raises NotFinite for a model that fails on too many."""
        columns = whole(sketches)
        count = len(columns.get("id", ()))
        if not count:
            return dealt({name: np.zeros(0) for name in self.measures}, sketches)
        lost = int(np.isnan(columns["nats"]).sum())
        if lost > LOST * count:
            raise NotFinite(f"{self.model} gives no finite likelihood to {lost} of {count} documents; it is damaged")
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            found = {unit: np.exp(columns["nats"] / columns[unit]) for unit in _UNITS}
        found = {unit: np.where(np.isfinite(value), value, np.nan) for unit, value in found.items()}
        percentile, bucket = self._ranked(found[self.per], columns)
        found |= {"tokens": columns["token"].astype(float), "percentile": percentile, "bucket": bucket}
        return dealt(found, sketches)

    def _ranked(self, value: NDArray[np.float64], columns: Sketch) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Percentile and bucket of each within its group of like length, ties by (source, id); NaN where none."""
        percentile, bucket = np.full(len(value), np.nan), np.full(len(value), np.nan)
        known = np.flatnonzero(~np.isnan(value))
        order = (columns["id"][known], columns["source"][known])
        by_length = known[np.lexsort((*order, columns["token"][known]))]
        for group in np.array_split(by_length, self.groups):
            ranked = group[np.lexsort((columns["id"][group], columns["source"][group], value[group]))]
            place = np.arange(len(ranked))
            percentile[ranked] = 100.0 * (place + 1) / max(len(ranked), 1)
            bucket[ranked] = place * 3 // max(len(ranked), 1)
        return percentile, bucket

    @staticmethod
    def _alone(system: System, row: Sequence) -> list[float]:
        try:
            return [value for one in score_pairs(system, row) for value in one.logprobs]
        except NotFinite:
            return [math.nan]


@lru_cache(maxsize=2)
def _system(name: str) -> System:
    return expert(name)
