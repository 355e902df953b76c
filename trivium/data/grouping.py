"""What documents are grouped by, and how long each is.

source            where they are from
metadata.NAME     what they say of themselves under that name
METHOD            the best of the numbers score_X that a method gives, X; as the method ``language`` does
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from trivium.data.marks import Marks, Texts
from trivium.data.shuffle import mixed

METADATA = "metadata."
NONE = "none told"
UNITS: Mapping[str, Callable[[str], int]] = {
    "words": lambda text: len(text.split()),
    "characters": len,
    "bytes": lambda text: len(text.encode("utf-8", "surrogatepass")),
    "documents": lambda text: 1,
}


def check(by: str, unit: str, measured: frozenset[str]) -> None:
    """Raises ValueError for what nothing can be grouped by or measured in, where this much is measured."""
    if unit not in UNITS:
        raise ValueError(f"nothing is measured in {unit!r}; the units are {', '.join(UNITS)}")
    if by == "source" or (by.startswith(METADATA) and by != METADATA):
        return
    if not any(name.startswith(f"{by}.score_") for name in measured):
        raise ValueError(
            f"documents are grouped by source, metadata.NAME or a method of the plan that gives scores, such as "
            f"language; got {by!r}"
        )


def groups_of(texts: Texts, marks: Marks | None, by: str) -> list[str]:
    """Of each document its group. Raises ValueError for one that does not say it."""
    if by == "source":
        return list(texts.sources)
    if by.startswith(METADATA):
        return [
            _said(*row, by.removeprefix(METADATA)) for row in zip(texts.ids, texts.sources, texts.metadata, strict=True)
        ]
    assert marks is not None
    found = np.full(len(texts), NONE, object)
    for name, here in best(marks, by):
        found[here] = name
    return found.tolist()


def _said(id: str, source: str, metadata: Mapping[str, object], name: str) -> str:
    value = metadata.get(name)
    if not isinstance(value, str | int | bool) or value == "":
        said = f"says {value!r}" if name in metadata else "says nothing"
        raise ValueError(
            f"the document {id!r} of {source!r} {said} under {name!r} in its metadata, so it belongs to no group; drop "
            "such documents, or group by something that all have"
        )
    return str(value)


def best(marks: Marks, method: str) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each X of the numbers score_X that the method gives, and all others together: documents where that is largest."""
    before, other = f"{method}.score_", f"{method}.other"
    names = sorted(name for name in marks.numbers if name.startswith(before))
    if not names:
        return
    names += [other] if other in marks.numbers else []
    table = np.nan_to_num(np.array([marks.numbers[name] for name in names]), nan=0.0)
    largest, none = table.argmax(0), table.max(0) <= 0
    for place, name in enumerate(names):
        yield name.removeprefix(before).removeprefix(f"{method}."), (largest == place) & ~none
    yield NONE, none


def keys(sources: Sequence[str], ids: Sequence[str]) -> NDArray[np.uint64]:
    """(n, 2): 128 bits of each document's identity."""
    rows = [f"{source}\0{id}".encode("utf-8", "surrogatepass") for source, id in zip(sources, ids, strict=True)]
    data = b"".join(hashlib.blake2b(row, digest_size=16).digest() for row in rows)
    return np.frombuffer(data, "<u8").reshape(-1, 2).astype(np.uint64)


def ranked(keys: NDArray[np.uint64], seed: int) -> NDArray[np.int64]:
    """(n,) places of documents in a random order of the seed and of their keys alone."""
    return np.lexsort((keys[:, 1], mixed(keys[:, 0] ^ np.uint64(seed))))
