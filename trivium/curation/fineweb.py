"""FineWeb's own rules: lines without an end mark, short lines, repeated lines, lists.

Source
    Penedo et al. 2024, "The FineWeb Datasets: Decanting the Web for the Finest Text Data at Scale", arXiv:2406.17557,
    section 3.6; the readings are those of the published code (datatrove 0.10.1) and of the first release.
Equation
    drop where  lines that end in punctuation <= 0.12,  or characters in repeated lines >= 0.1 (0.01 in the code),
    or lines shorter than 30 characters >= 0.67
Shapes
    texts (documents,) -> a number per document and measure
Cost
    One pass over the lines of a text.
Caveats
    The published code and the paper differ in bounds and in whether a value at the bound falls; ``variant`` says whose.
    The numbers of ``paper`` are from memory. End marks are ``. ' " ! ?``, where the code has a longer list.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from trivium.core.method import method
from trivium.curation._bounds import Bound, drops
from trivium.data.marks import Marks, Texts
from trivium.data.quality_rules import DECLARED, measure
from trivium.data.rules import Rules

_BOUNDS = {
    "datatrove": (
        Bound("line_count", 1),
        Bound("line_punct_ratio", 0.12),
        Bound("short_line_ratio", most=0.67),
        Bound("char_dup_ratio", most=0.01),
        Bound("list_ratio", most=0.3),
    ),
    "first": (
        Bound("line_punct_ratio", 0.12, touching=True),
        Bound("short_line_ratio", most=0.67, touching=True),
        Bound("char_dup_ratio", most=0.01, touching=True),
        Bound("list_ratio", most=0.3),
    ),
    "paper": (
        Bound("line_punct_ratio", 0.12, touching=True),
        Bound("char_dup_ratio", most=0.1, touching=True),
        Bound("short_line_ratio", most=0.67, touching=True),
    ),
}


@method(title="FineWeb rules", source="arXiv:2406.17557", year=2024)
@dataclass(frozen=True)
class FineWeb:
    """Rules of thumb about lines."""

    variant: Literal["datatrove", "first", "paper"] = "datatrove"
    """Whose bounds: the published code's, its first release's, the paper's."""

    def __post_init__(self) -> None:
        if self.variant not in _BOUNDS:
            raise ValueError(f"variant must be one of {', '.join(_BOUNDS)}; got {self.variant!r}")

    @property
    def _measured(self) -> str:
        return "fineweb_first" if self.variant == "first" else "fineweb"

    @property
    def measures(self) -> frozenset[str]:
        return DECLARED[self._measured]

    @property
    def marks(self) -> frozenset[str]:
        return frozenset()

    @property
    def rules(self) -> Rules:
        return Rules(drops("fineweb", _BOUNDS[self.variant]))

    def tag(self, texts: Texts) -> Marks:
        """Shares of lines and characters; 0 for an empty text."""
        found = [measure(text, self._measured).numbers for text in texts.texts]
        numbers = {name: np.array([row.get(name, np.nan) for row in found], float) for name in self.measures}
        return Marks(len(texts), numbers)
