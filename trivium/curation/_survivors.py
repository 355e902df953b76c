"""Which of a group stays: the least by (rank of its source, source, id), whatever order they came in."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trivium.data.curating import Sketch
from trivium.data.digests import Digests
from trivium.data.marks import Marks, Span, Texts

Columns = Mapping[str, NDArray[Any]]


def check_preference(prefer: Sequence[str]) -> None:
    """Raises ValueError for a source that is named twice."""
    if len(set(prefer)) < len(prefer):
        raise ValueError(f"prefer names a source twice: {', '.join(prefer)}")


def identity(texts: Texts, prefer: Sequence[str]) -> Sketch:
    """What a survivor is chosen by, in columns: rank of the source, source, id."""
    rank = {source: place for place, source in enumerate(prefer)}
    return {
        "rank": np.array([rank.get(source, len(rank)) for source in texts.sources], np.int64),
        "source": np.array(list(texts.sources), str),
        "id": np.array(list(texts.ids), str),
    }


def whole(sketches: Sequence[Sketch]) -> dict[str, NDArray[Any]]:
    """The sketches of all shards as one."""
    return {name: np.concatenate([sketch[name] for sketch in sketches]) for name in sketches[0]} if sketches else {}


def ordered(columns: Columns) -> NDArray[np.int64]:
    """(documents,): their places, the one that is rather kept first."""
    return np.lexsort((columns["id"], columns["source"], columns["rank"]))


def alike(digests: Digests) -> NDArray[np.int64]:
    """(digests,): a number for each, the same for the same."""
    return np.unique(digests.view("V16"), return_inverse=True)[1].reshape(-1)


def survivors(group: NDArray[np.int64], columns: Columns) -> NDArray[np.int64]:
    """(documents,): for each the place of the one that its group keeps. ``group`` (documents,) numbers the groups."""
    order = ordered(columns)
    order = order[np.argsort(group[order], kind="stable")]
    firsts = order[np.flatnonzero(np.diff(group[order], prepend=-1))]
    keeps = np.zeros(int(group.max(initial=-1)) + 1, np.int64)
    keeps[group[firsts]] = firsts
    return keeps[group]


def chosen(group: NDArray[np.int64], keeps: NDArray[np.int64], known: NDArray[np.bool_] | None = None) -> Sketch:
    """``stays`` and ``copies`` (documents,) of groups that keep these; of a group that is known elsewhere nothing
    stays."""
    stays = keeps == np.arange(len(keeps))
    stays = stays if known is None else stays & ~known
    return {"stays": stays.astype(float), "copies": np.bincount(group)[group].astype(float)}


def dealt(
    numbers: Mapping[str, NDArray[np.float64]],
    sketches: Sequence[Sketch],
    spans: Mapping[str, Sequence[Sequence[Span]]] | None = None,
) -> list[Marks]:
    """Columns over all documents, cut into the shards again."""
    sizes = [len(sketch["id"]) for sketch in sketches]
    ends = np.cumsum([0, *sizes]).tolist()
    return [
        Marks(
            size,
            {name: column[start : start + size] for name, column in numbers.items()},
            {name: rows[start : start + size] for name, rows in (spans or {}).items()},
        )
        for start, size in zip(ends, sizes, strict=False)
    ]


def by_document(
    count: int, document: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]
) -> list[list[Span]]:
    """Spans of score 1, each of the document whose place is given, as a list for each of ``count`` documents."""
    rows: list[list[Span]] = [[] for _ in range(count)]
    order = np.lexsort((end, start, document))
    for of, a, b in zip(document[order].tolist(), start[order].tolist(), end[order].tolist(), strict=True):
        rows[of].append((a, b, 1.0))
    return rows
