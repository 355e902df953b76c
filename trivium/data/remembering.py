"""What a run of curation knows of its documents, for later runs: the sketches of its shards, or a filter made of them.

    remember("runs/old", "exact_copies", "old.bloom")      # then ExactCopies(known="old.bloom")
    for match in matches(ExactCopies(), sketches("runs/old", "exact_copies"), [ExactCopies().sketch(texts)]):
        print(match.document, "is in", match.kept)

A filter is small and says only that something is known, by mistake at its rate. Sketches say which document it is, and
that without mistake beyond the method's own: whatever an earlier run has seen stays there, and its copies in the new
documents go.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trivium.data import tables
from trivium.data.bloom import Bloom
from trivium.data.curating import Gatherer, Sketch
from trivium.data.marks import Marks
from trivium.data.stages import Shelf


@runtime_checkable
class Chooser(Gatherer, Protocol):
    """A method that of several documents keeps one. Its sketches hold ``rank``, ``source`` and ``id``."""

    def keeps(self, sketches: Sequence[Sketch]) -> NDArray[np.int64]:
        """(documents of all shards,): for each the place of the one that stays for it."""
        ...


@dataclass(frozen=True)
class Match:
    """A document that goes, and the one that it is a copy of, each by source and id."""

    document: tuple[str, str]
    kept: tuple[str, str]
    earlier: bool
    """Whether that one is of an earlier run."""


def sketches(folder: str | Path, name: str) -> list[Sketch]:
    """Those of every whole shard that a run made for the method of this name. Raises ValueError where there is none."""
    return [sketch for _, sketch in _shards(folder, name)]


def _shards(folder: str | Path, name: str) -> list[tuple[str, Sketch]]:
    """Each with its fingerprint."""
    place = Path(folder) / "sketches" / name
    shelf = Shelf(place, f"sketches/{name}")
    found = [(made.fingerprint, made.name) for made in shelf.manifests() if shelf.find(made.name, made.fingerprint)]
    if not found:
        raise ValueError(f"{place} holds no sketches; name the folder of a run that had {name} among its methods")
    return [(of, tables.loaded(place / f"{shard}.npz")) for of, shard in found]


def remember(
    folder: str | Path, name: str, path: str | Path, *, rate: float = 1e-6, expected: int | None = None
) -> Bloom:
    """A filter of what a run's method compared, written to ``path``: addresses, documents or paragraphs. A filter that
    is there already is gone on with, and shards that it holds are left out.

    ``expected``: how much will go in with later runs; by default as much as this one has. Raises ValueError for a
    method that compares no hashes, Overfull where a filter that is there was made for less.
    """
    shards = _shards(folder, name)
    if any("digest" not in sketch for _, sketch in shards):
        raise ValueError(f"{name} does not compare texts by one hash each, so a filter could not tell what it knows")
    if Path(path).exists():
        bloom = Bloom.load(path, **({} if expected is None else {"expected": expected}))
    else:
        bloom = Bloom(expected or max(sum(len(sketch["digest"]) for _, sketch in shards), 1), rate)
    for of, sketch in shards:
        if of not in bloom.holding:
            bloom.add(sketch["digest"])
            bloom.holding = (*bloom.holding, of)
    bloom.save(path)
    return bloom


def against(method: Gatherer, old: Sequence[Sketch], new: Sequence[Sketch]) -> list[Marks]:
    """What is known of the new documents beside the old ones, which all stay where they are."""
    return method.gather([*_settled(old), *new])[len(old) :]


def matches(method: Chooser, old: Sequence[Sketch], new: Sequence[Sketch]) -> Iterator[Match]:
    """Of each new document that goes, which one it is a copy of."""
    every = [*_settled(old), *new]
    before = sum(len(sketch["id"]) for sketch in old)
    names = [pair for one in every for pair in zip(one["source"].tolist(), one["id"].tolist(), strict=True)]
    for place, kept in enumerate(method.keeps(every).tolist()):
        if place >= before and kept != place:
            yield Match(names[place], names[kept], kept < before)


def _settled(old: Sequence[Sketch]) -> list[Sketch]:
    """Before every other document, whatever source is preferred."""
    return [{**sketch, "rank": np.full(len(sketch["id"]), -1, np.int64)} for sketch in old]
