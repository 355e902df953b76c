"""Which document of a group stays: the least by (rank of its source, source, id), whatever order they came in."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trivium.data.curating import Sketch
from trivium.data.marks import Marks, Texts


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


def survivors(group: NDArray[np.int64], columns: Sketch) -> NDArray[np.int64]:
    """(documents,): for each the place of the one that its group keeps. ``group`` (documents,) numbers the groups."""
    order = np.lexsort((columns["id"], columns["source"], columns["rank"], group))
    firsts = order[np.flatnonzero(np.diff(group[order], prepend=-1))]
    keeps = np.zeros(int(group.max(initial=-1)) + 1, np.int64)
    keeps[group[firsts]] = firsts
    return keeps[group]


def dealt(numbers: dict[str, NDArray[np.float64]], sketches: Sequence[Sketch]) -> list[Marks]:
    """Columns over all documents, cut into the shards again."""
    sizes = [len(sketch["id"]) for sketch in sketches]
    ends = np.cumsum([0, *sizes])
    return [
        Marks(size, {name: column[start : start + size] for name, column in numbers.items()})
        for start, size in zip(ends, sizes, strict=False)
    ]
