"""Lengths: how many characters, bytes, words, lines and paragraphs a document has, with bounds on one of them.

Source
    Soldaini et al. 2024, "Dolma", arXiv:2402.00159: the length taggers of the published code (Dolma 1.2.1); the bounds
    of 50 to 100,000 words are those of Rae et al. 2021 (Gopher), arXiv:2112.11446, table A1.
Equation
    drop where  n < least  or  n > most,   n the characters, bytes, words, lines or paragraphs
Shapes
    texts (documents,) -> five numbers per document, and the length of the longest line
Cost
    One pass over the text.
Caveats
    Characters are code points, bytes those of UTF-8, words stand between white space, so that a language that writes
    without blanks has hardly any: bound its characters. Lines hold something other than white space, and paragraphs
    are what blank lines part. Dolma's tagger of words counts runs of letters and of marks, and its number is one more
    than theirs, for its code splits at them; ours does not follow it. An empty document has 0 of everything.
"""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trivium.core.method import method
from trivium.curation._bounds import Bound, drops
from trivium.data.marks import Marks, Texts
from trivium.data.rules import Rules

UNITS = ("characters", "bytes", "words", "lines", "paragraphs")
_BLANK = re.compile(r"\n[^\S\n]*\n")


@method(title="Lengths", source="arXiv:2402.00159", year=2024)
@dataclass(frozen=True)
class Lengths:
    """Documents that are neither too short nor too long."""

    of: Literal["characters", "bytes", "words", "lines", "paragraphs"] = "words"
    """What the bounds are about; all of them are measured, for rules of your own."""
    least: int = 50
    most: int = 100_000

    def __post_init__(self) -> None:
        if self.of not in UNITS:
            raise ValueError(f"of must be one of {', '.join(UNITS)}; got {self.of!r}")
        if not 0 <= self.least <= self.most:
            raise ValueError(f"bounds are 0 <= least <= most, got least={self.least} and most={self.most}")

    @property
    def measures(self) -> frozenset[str]:
        return frozenset((*UNITS, "longest_line"))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset()

    @property
    def rules(self) -> Rules:
        return Rules(drops("lengths", (Bound(self.of, self.least, self.most),)))

    def tag(self, texts: Texts) -> Marks:
        """Six numbers of each document."""
        found = [_counted(text) for text in texts.texts]
        return Marks(len(texts), {name: np.array([row[name] for row in found], float) for name in self.measures})


def _counted(text: str) -> dict[str, int]:
    lines = [line for line in text.splitlines() if line.strip()]
    return {
        "characters": len(text),
        "bytes": len(text.encode("utf-8", "surrogatepass")),
        "words": len(text.split()),
        "lines": len(lines),
        "paragraphs": sum(bool(part.strip()) for part in _BLANK.split(text)),
        "longest_line": max(map(len, lines), default=0),
    }
