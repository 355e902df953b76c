"""Clusters of documents that a method of curation took for copies: how many of which size, and one to look at."""

import hashlib
from collections import Counter
from typing import Any

import numpy as np

from trivium.data.curated_folder import CuratedFolder, Part
from trivium.data.near_duplicates import agreement

MEMBERS, SHOWN = 4, 300
"""Documents of the cluster that is shown, and characters of each."""


class Clustered:
    """What a method that says which documents ``stays`` and how many ``copies`` there are of each knows of clusters."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.sizes: Counter[int] = Counter()
        self.documents = self._rows = 0
        self._stays: list[np.ndarray[Any, Any]] = []
        self._copies: list[np.ndarray[Any, Any]] = []
        self._where: list[tuple[int, str]] = []
        self._best: tuple[bytes, int] | None = None

    def add(self, shard: str, part: Part) -> None:
        """Take some documents in; they come in the order of shards and rows."""
        stays, copies = (np.asarray(part.marks.numbers[f"{self.method}.{name}"]) for name in ("stays", "copies"))
        if not self._where or self._where[-1][1] != shard:
            self._where.append((self._rows, shard))
        for row in np.flatnonzero((stays == 1) & (copies > 1)).tolist():
            self.sizes[int(copies[row])] += 1
            said = f"{part.texts.sources[row]}\0{part.texts.ids[row]}".encode("utf-8", "surrogatepass")
            key = (hashlib.blake2b(said, digest_size=12).digest(), self._rows + row)
            self._best = min(self._best or key, key)
        self.documents += int((copies > 1).sum())
        self._rows += len(stays)
        self._stays.append(stays.astype(np.float32))
        self._copies.append(copies.astype(np.float32))

    def told(self, folder: CuratedFolder) -> dict[str, Any]:
        """Plain data."""
        return {
            "documents": self.documents, "clusters": sum(self.sizes.values()),
            "sizes": {str(size): count for size, count in sorted(self.sizes.items())},
            "example": self._example(folder),
        }  # fmt: skip

    def _example(self, folder: CuratedFolder) -> list[dict[str, Any]]:
        """The one that stays of some cluster, and others of it; nothing where the method kept no sketches of a sort
        that is known."""
        columns = folder.sketches(self.method) if self._best else None
        if columns is None or self._best is None:
            return []
        first = self._best[1]
        stays, copies = np.concatenate(self._stays), np.concatenate(self._copies)
        fellows = np.flatnonzero((stays == 0) & (copies == copies[first]))
        if "signature" in columns:
            signature = columns["signature"]
            likeness = agreement(signature, np.stack([fellows, np.full_like(fellows, first)], 1))
            order = np.argsort(-likeness, kind="stable")[: int(copies[first]) - 1]
            rows = [(int(fellows[at]), float(likeness[at])) for at in order]
        elif "digest" in columns:
            digest = columns["digest"].view("V16")
            rows = [(int(row), 1.0) for row in fellows if digest[row] == digest[first]]
        else:
            return []
        return [self._member(folder, row, alike) for row, alike in [(first, 1.0), *rows[: MEMBERS - 1]]]

    def _member(self, folder: CuratedFolder, row: int, alike: float) -> dict[str, Any]:
        start, shard = max(where for where in self._where if where[0] <= row)
        one = folder.document(shard, row - start)
        return {"id": one.id, "source": one.source, "likeness": alike, "characters": len(one.text),
                "text": one.text[:SHOWN]}  # fmt: skip
