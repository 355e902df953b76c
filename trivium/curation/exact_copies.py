"""Exact copies: of documents that say the same, one stays, whichever file it came in.

Source
    As every published corpus does it, for example Soldaini et al. 2024 (Dolma), arXiv:2402.00159, section 5.3. That one
    stays by a declared order, and not whichever a race saw first, is ours.
Equation
    documents are copies where their normalised texts are equal;   of copies the least (rank, source, id) stays
Shapes
    texts (documents,) -> per document: whether it stays, how many copies there are
Cost
    One hash of 128 bits per document; all hashes and identities in memory, about 100 bytes a document.
Caveats
    Hashes stand for texts: two that differ collide with a chance of about n^2 / 2^129. Normalising lower-cases and
    collapses white space, so that copies may still differ in that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trivium.core.method import method
from trivium.curation._remembered import Remembered, check_filter, filter_digest
from trivium.curation._survivors import alike, check_preference, chosen, dealt, identity, survivors, whole
from trivium.data.curating import Sketch
from trivium.data.digests import digests
from trivium.data.marks import Marks, Texts
from trivium.data.near_duplicates import normalised
from trivium.data.rules import Drop, Rules


@method(title="Exact copies", source="arXiv:2402.00159", year=2024)
@dataclass(frozen=True)
class ExactCopies:
    """Documents with the same text."""

    normalise: bool = True
    """Take texts for the same that differ in case and white space alone."""
    prefer: tuple[str, ...] = ()
    """Sources from which a copy is rather kept, best first; all others come behind them."""
    known: str = ""
    """A filter of the documents of another corpus, in a file that ``data.remembering`` made; they all go."""

    def __post_init__(self) -> None:
        check_preference(self.prefer)
        check_filter(self.known)

    @property
    def depends(self) -> str:
        return filter_digest(self.known)

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("stays", "copies"))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset()

    @property
    def rules(self) -> Rules:
        return Rules((Drop("exact_copies", "exact_copies.stays == 0"),))

    def sketch(self, texts: Texts) -> Sketch:
        """A hash of each document beside its identity."""
        said = (normalised(text) for text in texts.texts) if self.normalise else texts.texts
        return {"digest": digests(said), **identity(texts, self.prefer)}

    def keeps(self, sketches: Sequence[Sketch]) -> NDArray[np.int64]:
        """(documents of all shards,): for each the place of its copy that stays."""
        columns = whole(sketches)
        return survivors(alike(columns["digest"]), columns)

    def gather(self, sketches: Sequence[Sketch]) -> list[Marks]:
        """Each set of equal hashes keeps one."""
        columns = whole(sketches)
        if not len(columns.get("id", ())):
            return dealt({name: np.zeros(0) for name in self.measures}, sketches)
        group, known = alike(columns["digest"]), Remembered(self.known).holds(columns["digest"])
        return dealt(chosen(group, survivors(group, columns), known), sketches)
