"""Copies by address: of documents that were fetched from one URL, one stays.

Source
    Soldaini et al. 2024, "Dolma: an Open Corpus of Three Trillion Tokens for Language Model Pretraining Research",
    arXiv:2402.00159, section 5.3: the first and cheapest of its three passes.
Equation
    documents are copies where their addresses are equal;   of copies the least (rank, source, id) stays
Shapes
    metadata (documents,) -> per document: whether it stays, how many have its address, whether an address is known
Cost
    One hash of 128 bits per document; no text is looked at.
Caveats
    The published tool compares addresses as they stand, in a Bloom filter, and keeps whichever came first; here hashes
    are compared, and what ``normalise`` leaves out is ours: the scheme, the case of the host, its default port and the
    fragment. Parameters are kept, since they may say which page is meant, so that one with a session number in its
    address is missed. A page that changed between two visits is a copy too. A document whose address is not known
    stays; ``known`` tells of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from trivium.core.method import method
from trivium.curation._remembered import Remembered, check_filter, filter_digest
from trivium.curation._survivors import Columns, alike, check_preference, chosen, dealt, identity, survivors, whole
from trivium.data.curating import Sketch
from trivium.data.digests import digests
from trivium.data.marks import Marks, Texts
from trivium.data.rules import Drop, Rules

PORTS = {"http": ":80", "https": ":443"}


@method(title="Copies by URL", source="arXiv:2402.00159", year=2024)
@dataclass(frozen=True)
class UrlCopies:
    """Documents from the same place."""

    field: str = "url"
    """What of a document's metadata is its address."""
    normalise: bool = True
    """Take addresses for the same that differ in the scheme, the case of the host, a default port or the fragment."""
    prefer: tuple[str, ...] = ()
    """Sources from which a copy is rather kept, best first; all others come behind them."""
    known: str = ""
    """A filter of the addresses of another corpus, in a file that ``data.remembering`` made; they all go."""

    def __post_init__(self) -> None:
        check_preference(self.prefer)
        check_filter(self.known)
        if not self.field:
            raise ValueError("field names what of the metadata is the address, such as 'url'; got an empty text")

    @property
    def depends(self) -> str:
        return filter_digest(self.known)

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("stays", "copies", "known"))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset()

    @property
    def rules(self) -> Rules:
        return Rules((Drop("url_copies", "url_copies.stays == 0"),))

    def sketch(self, texts: Texts) -> Sketch:
        """A hash of each address beside the document's identity."""
        found = [self._address(row) for row in texts.metadata]
        return {
            "digest": digests(address or "" for address in found),
            "known": np.array([address is not None for address in found], bool),
            **identity(texts, self.prefer),
        }

    def keeps(self, sketches: Sequence[Sketch]) -> NDArray[np.int64]:
        """(documents of all shards,): for each the place of the one that stays of its address."""
        columns = whole(sketches)
        return survivors(self._groups(columns), columns)

    def gather(self, sketches: Sequence[Sketch]) -> list[Marks]:
        """Each set of equal addresses keeps one."""
        columns = whole(sketches)
        if not len(columns.get("id", ())):
            return dealt({name: np.zeros(0) for name in self.measures}, sketches)
        group, told = self._groups(columns), columns["known"]
        elsewhere = told & Remembered(self.known).holds(columns["digest"])
        return dealt({**chosen(group, survivors(group, columns), elsewhere), "known": told.astype(float)}, sketches)

    @staticmethod
    def _groups(columns: Columns) -> NDArray[np.int64]:
        """(documents,): a number for each address; a document without one is by itself."""
        group = alike(columns["digest"])
        return np.where(columns["known"], group, len(group) + np.arange(len(group)))

    def _address(self, metadata: Mapping[str, Any]) -> str | None:
        """None where there is none."""
        said = metadata.get(self.field)
        if not isinstance(said, str) or not said.strip():
            return None
        return normalised(said.strip()) if self.normalise else said


def normalised(url: str) -> str:
    """Without scheme, default port and fragment, the host in small letters; what is no address stays as it is."""
    try:
        found = urlsplit(url)
    except ValueError:
        return url
    if not found.netloc:
        return url
    host = found.netloc.lower().removesuffix(PORTS.get(found.scheme, "\0"))
    return host + (found.path or "/") + (f"?{found.query}" if found.query else "")
