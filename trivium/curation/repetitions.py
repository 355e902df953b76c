"""Repetitions: runs of up to 13 words, or characters, that are said again and again without a break.

Source
    Soldaini et al. 2024, "Dolma", arXiv:2402.00159: the repetition taggers of the published code (Dolma 1.2.1), which
    find sequences that stand three times or more; 32 times as a bound is from OLMo 2, arXiv:2501.00656 (from memory).
Equation
    a run of period p is longest with  w[i] = w[i + p]  for all its i;   times = floor(length / p)
    drop where  times >= most  for some run with  p <= period
Shapes
    texts (documents,) -> spans of runs with how often each is said, the most often, the longest in characters
Cost
    One comparison of the text with itself for each period; about 10 million words a second and period.
Caveats
    Dolma's runs are of tokens of a model, ours of words between white space, so that a bound on times is one on words:
    a ruler of hyphens is one word. With ``unit="character"`` it is a run, and so are blanks that fill a table. A run
    that lies within one of a shorter period is not marked again. What is said again elsewhere, after something else, is
    no run: ``gopher`` counts that. Dolma's second tagger cuts texts at 100,000 characters, ours reads them whole.
"""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trivium.core.method import method
from trivium.data.marks import Marks, Span, Texts
from trivium.data.rules import Drop, Rules

FEWEST = 3
"""Times from which a run is marked: two alike are no pattern yet."""
_WORD = re.compile(r"\S+")


@method(title="Repetitions", source="arXiv:2402.00159", year=2024)
@dataclass(frozen=True)
class Repetitions:
    """Documents that are not stuck."""

    most: int = 32
    """Times from which on a document is dropped."""
    period: int = 13
    """Longest run of words, or characters, that may be the one that is said again."""
    unit: Literal["word", "character"] = "word"

    def __post_init__(self) -> None:
        if self.unit not in ("word", "character"):
            raise ValueError(f"unit must be one of word, character; got {self.unit!r}")
        if self.most < FEWEST:
            raise ValueError(f"most must be at least {FEWEST}, from which on runs are seen; got {self.most}")
        if self.period < 1:
            raise ValueError(f"period must be at least 1, got {self.period}")

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("times", "longest"))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset(("run",))

    @property
    def rules(self) -> Rules:
        return Rules((Drop("repetitions.times", f"repetitions.times >= {self.most}"),))

    def tag(self, texts: Texts) -> Marks:
        """Runs that stand three times or more, with how often; 0 where there is none."""
        spans = [self._spans(text) for text in texts.texts]
        times = [max((score for *_, score in row), default=0.0) for row in spans]
        longest = [max((end - start for start, end, _ in row), default=0) for row in spans]
        return Marks(len(texts), {"times": np.array(times, float), "longest": np.array(longest, float)}, {"run": spans})

    def _spans(self, text: str) -> list[Span]:
        if self.unit == "character":
            numbers = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
            return [(a, b, float(times)) for a, b, times in runs(numbers, self.period)]
        words = list(_WORD.finditer(text))
        known: dict[str, int] = {}
        numbers = np.array([known.setdefault(word.group(), len(known)) for word in words], np.uint32)
        return [(words[a].start(), words[b - 1].end(), float(n)) for a, b, n in runs(numbers, self.period)]


def runs(numbers: NDArray[np.uint32], period: int) -> list[tuple[int, int, int]]:
    """Longest stretches (start, end, times) of periods up to this one that stand at least three times, in order; none
    lies within one of a shorter period."""
    found: dict[tuple[int, int], int] = {}
    for p in range(1, min(period, len(numbers) // FEWEST) + 1):
        edges = np.diff(np.concatenate(([0], (numbers[p:] == numbers[:-p]).astype(np.int8), [0])))
        starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) + p
        long = ends - starts >= FEWEST * p
        for start, end in zip(starts[long].tolist(), ends[long].tolist(), strict=True):
            found.setdefault((start, end), (end - start) // p)  # one within a shorter period's has its very ends
    return sorted((start, end, times) for (start, end), times in found.items())
