"""Everything kept: the raw documents as they are, against which any curation must show what it is good for.

Source
    None; the plain baseline of every study of data, such as the unfiltered rows of Rae et al. 2021, arXiv:2112.11446,
    and of Penedo et al. 2024, arXiv:2406.17557.
Equation
    kept = read
Shapes
    texts (documents,) -> nothing is measured
Cost
    None.
Caveats
    What a reader refuses, such as bytes that are no text, is not there to be kept.
"""

from dataclasses import dataclass

from trivium.core.method import method
from trivium.data.marks import Marks, Texts
from trivium.data.rules import Rules


@method(title="Everything kept", source="no paper: the plain baseline", year=0)
@dataclass(frozen=True)
class KeepAll:
    """No rule at all."""

    @property
    def measures(self) -> frozenset[str]:
        return frozenset()

    @property
    def marks(self) -> frozenset[str]:
        return frozenset()

    @property
    def rules(self) -> Rules:
        return Rules()

    def tag(self, texts: Texts) -> Marks:
        """Nothing is known of any document."""
        return Marks(len(texts))
