"""What comes out of a run of curation: documents in the order in which they are to be read, from any place on.

    kept = Outcome.kept, or Kept(folder, names)
    for document in kept.documents(begin=1_000_000):
        ...
    kept.documents(begin, end)  # a stretch, for one of several workers

Without a mixer that is the order of files and lines; with one, that of its draws, where documents may come again or not
at all. ``begin`` counts places, and where one begins changes nothing: ``documents(k)`` is ``documents(0)`` without its
first k. Of a shard no more is read than holds what is asked for.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
        return sum(made.facts.get("draws", made.counts.kept) for made in self.shards)

    @property
    def fingerprint(self) -> str:
        """Of the documents and their order, for what is made of them."""
        return fingerprint("kept", of=[made.fingerprint for made in self.shards])

    def documents(self, begin: int = 0, end: int | None = None) -> Iterator[Document]:
        """From this place up to before the other one, or to the end. Raises ValueError for places outside."""
        end = len(self) if end is None else end
        if not 0 <= begin <= end <= len(self):
            raise ValueError(f"places {begin} to {end} do not lie among {len(self)} documents")
        drawn = bool(self.shards) and self.shards[0].stage == "drawn"
        return itertools.islice((self._draws if drawn else self._from)(begin), end - begin)

    def _from(self, begin: int) -> Iterator[Document]:
        for made in self.shards:
            if begin >= made.counts.kept:
                begin -= made.counts.kept
                continue
            yield from tables.rows(self.folder / made.stage / f"{made.name}.parquet", begin)
            begin = 0

    def _draws(self, begin: int) -> Iterator[Document]:
        """Draws, a window of places at a time: each shard holds some of it, by their places."""
        window = self.shards[0].facts["window"]
        places = {made.name: tables.loaded(self.folder / "order" / f"{made.name}.npz")["at"] for made in self.shards}
        for start in range(begin - begin % window, len(self), window):
            found: dict[int, Document] = {}
            for name, at in places.items():
                first, last = np.searchsorted(at, [max(start, begin), start + window]).tolist()
                if first < last:
                    path = self.folder / "drawn" / f"{name}.parquet"
                    found.update(zip(at[first:last].tolist(), tables.rows(path, first, last), strict=True))
            yield from (found[place] for place in sorted(found))
