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

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trivium.core.method import method
from trivium.curation._survivors import check_preference, dealt, identity, survivors, whole
from trivium.data.curating import Sketch
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

    def __post_init__(self) -> None:
        check_preference(self.prefer)

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
        digests = b"".join(map(self._digest, texts.texts))
        return {"digest": np.frombuffer(digests, "V16"), **identity(texts, self.prefer)}

    def gather(self, sketches: Sequence[Sketch]) -> list[Marks]:
        """Each set of equal hashes keeps one."""
        columns = whole(sketches)
        if not len(columns.get("id", ())):
            return dealt({name: np.zeros(0) for name in self.measures}, sketches)
        _, group = np.unique(columns["digest"].view("V16"), return_inverse=True)
        stays = survivors(group, columns) == np.arange(len(group))
        return dealt({"stays": stays.astype(float), "copies": np.bincount(group)[group].astype(float)}, sketches)

    def _digest(self, text: str) -> bytes:
        said = normalised(text, punctuation=True) if self.normalise else text
        return hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).digest()
