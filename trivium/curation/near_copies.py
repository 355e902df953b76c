"""Near copies: documents that share most of their runs of words, found by MinHash in bands; of each cluster one stays.

Source
    Broder 1997, "On the resemblance and containment of documents"; the bands of 14 x 8 are those of Penedo et al. 2024,
    "The FineWeb Datasets", arXiv:2406.17557, section 3.4; those of 20 x 13 go back to Smith et al. 2022, "Using
    DeepSpeed and Megatron to Train Megatron-Turing NLG 530B", arXiv:2201.11990 (as NeMo Curator has them).
Equation
    sig_j = min over runs s of ((a_j h(s) + b_j) mod 2^64) >> 32;   candidates agree in all rows of some band
    P(candidate | Jaccard J) = 1 - (1 - J^rows)^bands;   clusters are the connected components of candidates
Shapes
    texts (documents,) -> per document: whether it stays, how many its cluster has, its likeness to the one that stays
Cost
    bands x rows products per distinct run of words; 4 bytes of signature for each, all documents' in memory.
Caveats
    A candidate may be alike by chance; with ``verify`` only pairs that agree in that share of their signatures join.
    Joining is transitive: two members of a chain may have nothing in common, which ``likeness`` shows. A text shorter
    than ``size`` words is one run, the whole of it. Languages without blanks between words want ``unit="characters"``
    with a size of about 24.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trivium.core.method import method
from trivium.curation._survivors import Columns, check_preference, chosen, dealt, identity, survivors, whole
from trivium.data.curating import Sketch
from trivium.data.marks import Marks, Texts
from trivium.data.near_duplicates import MinHash, agreement, candidate_pairs, components, normalised, shingles
from trivium.data.rules import Drop, Rules


@method(title="Near copies by MinHash", source="arXiv:2406.17557", year=2024)
@dataclass(frozen=True)
class NearCopies:
    """Documents that are nearly the same."""

    bands: int = 14
    """Documents that agree in a whole band are candidates: more bands find more, and more that are less alike."""
    rows: int = 8
    """Numbers of a band: more of them find less, and only what is more alike."""
    size: int = 5
    """Words, or characters, of a run."""
    unit: Literal["words", "characters"] = "words"
    """What a run is made of; a language without blanks between words wants characters."""
    verify: float | None = None
    """Share of two signatures that must agree besides; None takes every candidate."""
    prefer: tuple[str, ...] = ()
    """Sources from which a document is rather kept, best first; all others come behind them."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_preference(self.prefer)
        _ = self.hashing
        shingles("", self.size, self.unit)
        if self.verify is not None and not 0.0 < self.verify <= 1.0:
            raise ValueError(f"verify is a share of a signature, above 0 and at most 1; got {self.verify}")

    @property
    def hashing(self) -> MinHash:
        """How signatures are drawn, with the chance that two documents of a similarity become candidates."""
        return MinHash(self.bands, self.rows, self.seed)

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("stays", "copies", "likeness"))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset()

    @property
    def rules(self) -> Rules:
        return Rules((Drop("near_copies", "near_copies.stays == 0"),))

    def sketch(self, texts: Texts) -> Sketch:
        """The signature of each document beside its identity."""
        runs = [shingles(normalised(text), self.size, self.unit) for text in texts.texts]
        none = shingles("\0", 1, "characters")  # an empty document has no run: all of them are alike
        signatures = self.hashing.signatures([found if len(found) else none for found in runs])
        return {"signature": signatures, **identity(texts, self.prefer)}

    def keeps(self, sketches: Sequence[Sketch]) -> NDArray[np.int64]:
        """(documents of all shards,): for each the place of the one that stays of its cluster."""
        columns = whole(sketches)
        return survivors(self._clusters(columns), columns)

    def gather(self, sketches: Sequence[Sketch]) -> list[Marks]:
        """Candidates of all shards, joined to clusters."""
        columns = whole(sketches)
        if not len(columns.get("id", ())):
            return dealt({name: np.zeros(0) for name in self.measures}, sketches)
        group = self._clusters(columns)
        keeps = survivors(group, columns)
        likeness = agreement(columns["signature"], np.stack([np.arange(len(keeps)), keeps], 1))
        return dealt({**chosen(group, keeps), "likeness": likeness}, sketches)

    def _clusters(self, columns: Columns) -> NDArray[np.int64]:
        """(documents,): a number for each cluster."""
        signatures = columns["signature"]
        pairs = candidate_pairs(self.hashing.keys(signatures), every=self.verify is not None)
        if self.verify is not None:
            pairs = pairs[agreement(signatures, pairs) >= self.verify]
        return np.unique(components(len(signatures), pairs), return_inverse=True)[1]
