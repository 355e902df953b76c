"""What comes out of a run of curation: documents in the order in which they are to be read, from any place on.

    kept = Outcome.kept, or Kept(folder, names)
    for document in kept.documents(begin=1_000_000):
        ...
    kept.documents(begin, end)  # a stretch, for one of several workers

Without a mixer that is the order of files and lines. ``begin`` counts documents that come out, and where one begins
changes nothing: ``documents(k)`` is ``documents(0)`` without its first k.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trivium.data import tables
from trivium.data.raw.documents import Document
from trivium.data.stages import Manifest, fingerprint


@dataclass(frozen=True)
class Kept:
    """Documents on the shards of one stage."""

    folder: Path
    """Of the run."""
    shards: Sequence[Manifest]
    """Of the stage that was last, by name."""

    def __len__(self) -> int:
        return sum(made.counts.kept for made in self.shards)

    @property
    def fingerprint(self) -> str:
        """Of the documents and their order, for what is made of them."""
        return fingerprint("kept", of=[made.fingerprint for made in self.shards])

    def documents(self, begin: int = 0, end: int | None = None) -> Iterator[Document]:
        """From this place up to before the other one, or to the end. Raises ValueError for places outside."""
        end = len(self) if end is None else end
        if not 0 <= begin <= end <= len(self):
            raise ValueError(f"places {begin} to {end} do not lie among {len(self)} documents")
        return itertools.islice(self._from(begin), end - begin)

    def _from(self, begin: int) -> Iterator[Document]:
        for made in self.shards:
            if begin >= made.counts.kept:
                begin -= made.counts.kept
                continue
            yield from tables.rows(self.folder / made.stage / f"{made.name}.parquet", begin)
            begin = 0
