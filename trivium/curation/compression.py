"""Compression: how much smaller zlib makes a text; what hardly shrinks is noise, what vanishes says one thing over.

Source
    The ratio and its upper bound as a sign of repetition are those of Radford et al. 2022, "Robust Speech Recognition
    via Large-Scale Weak Supervision" (Whisper), arXiv:2212.04356, section 4.5, there for transcripts of half a minute.
Equation
    ratio = bytes / sum over windows of bytes of zlib(window);   drop where  ratio < least  or  ratio > most
    windows are the fewest of one size, of at most ``window`` bytes
Shapes
    texts (documents,) -> a ratio per document
Cost
    One compression of the text, some ten megabytes a second.
Caveats
    The ratio of a whole text grows with its length, since more of it was said before; windows of like size make texts
    comparable, and hide repetition from further away: that is what ``near_copies`` and ``repetitions`` are for. Whisper
    drops above 2.4 and has no lower bound; both bounds here are ours, set on English. In UTF-8 other scripts have other
    ratios (Greek or Arabic a larger one, Chinese a smaller one): set bounds on clean text of yours. Under 512 bytes
    there is no ratio, and no rule holds. Other versions of zlib may find a few bytes more or less, so the version is
    part of what a run is known by.
"""

import math
import zlib
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from trivium.core.method import method
from trivium.curation._bounds import Bound, drops
from trivium.data.marks import Marks, Texts
from trivium.data.rules import Rules

SHORTEST = 512
"""Bytes below which the frame of zlib and a cold start weigh more than the text."""
LEVEL = 6


@method(title="Compression ratio", source="arXiv:2212.04356", year=2022)
@dataclass(frozen=True)
class Compression:
    """Documents that zlib makes smaller, but not too small."""

    least: float = 1.4
    """Below are random letters and what is packed or encrypted already."""
    most: float = 4.0
    """Above is one sentence over and over."""
    window: int = 1024
    """Bytes that are compressed at once, at most; 0 takes a text as one."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.least <= self.most:
            raise ValueError(f"bounds are 0 <= least <= most, got least={self.least} and most={self.most}")
        if self.window and self.window < SHORTEST:
            raise ValueError(f"a window has at least {SHORTEST} bytes, or 0 for all of a text; got {self.window}")

    @property
    def depends(self) -> str:
        """The version of zlib, which lengths depend on."""
        return f"zlib {zlib.ZLIB_RUNTIME_VERSION}"

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("ratio",))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset()

    @property
    def rules(self) -> Rules:
        return Rules(drops("compression", (Bound("ratio", self.least, self.most),)))

    def tag(self, texts: Texts) -> Marks:
        """The ratio of each text; of a short one it is missing."""
        return Marks(len(texts), {"ratio": np.array([self._ratio(text) for text in texts.texts], float)})

    def _ratio(self, text: str) -> float:
        data = text.encode("utf-8", "surrogatepass")
        if len(data) < SHORTEST:
            return math.nan
        parts = math.ceil(len(data) / self.window) if self.window else 1
        cuts = [len(data) * place // parts for place in range(parts + 1)]
        packed = sum(len(zlib.compress(data[a:b], LEVEL)) for a, b in pairwise(cuts))
        return len(data) / packed
