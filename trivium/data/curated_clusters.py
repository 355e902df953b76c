"""Clusters of documents that a method of curation took for copies: how many of which size, and one to look at."""

import hashlib
from collections import Counter
from typing import Any

import numpy as np

from trivium.data.curated_folder import CuratedFolder
from trivium.data.near_duplicates import agreement
from trivium.data.remembering import Chooser

MEMBERS, SHOWN = 4, 300
"""Documents of the cluster that is shown, and characters of each."""


def clusters(folder: CuratedFolder, name: str, method: Chooser) -> dict[str, Any]:
    """What the method of this name compared in a run, as plain data; the same whatever order the documents came in."""
    sketches = folder.sketches(name)
    keeps = method.keeps(sketches) if sketches else np.zeros(0, np.int64)
    sizes = np.bincount(keeps)
    kept = np.flatnonzero(sizes > 1)
    return {
        "documents": int(sizes[kept].sum()), "clusters": len(kept),
        "sizes": {str(size): count for size, count in sorted(Counter(sizes[kept].tolist()).items())},
        "example": _example(folder, sketches, keeps, kept.tolist()) if len(kept) else [],
    }  # fmt: skip


def _example(folder: CuratedFolder, sketches: Any, keeps: Any, kept: list[int]) -> list[dict[str, Any]]:
    """A document that stays, chosen by a hash of what it is called, and some that go for it."""
    names, ids = (np.concatenate([sketch[column] for sketch in sketches]).tolist() for column in ("source", "id"))

    def key(place: int) -> bytes:
        return hashlib.blake2b(f"{names[place]}\0{ids[place]}".encode("utf-8", "surrogatepass")).digest()

    first = min(kept, key=key)
    others = sorted(set(np.flatnonzero(keeps == first).tolist()) - {first}, key=key)
    shown = [first, *others[: MEMBERS - 1]]
    alike = [1.0] * len(shown)
    if "signature" in sketches[0]:
        signatures = np.concatenate([sketch["signature"] for sketch in sketches])
        alike = agreement(signatures, np.array([[place, first] for place in shown])).tolist()
    starts = np.cumsum([0, *(len(sketch["id"]) for sketch in sketches)])
    found = []
    for place, likeness in zip(shown, alike, strict=True):
        shard = int(np.searchsorted(starts, place, "right")) - 1
        one = folder.document(folder.shards[shard], int(place - starts[shard]))
        found.append({"id": one.id, "source": one.source, "likeness": likeness, "characters": len(one.text),
                      "text": one.text[:SHOWN]})  # fmt: skip
    return found
