"""Which documents are in a packed shard, as a table beside it."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from trivium.data import tables

TYPES = {"id": "large_string", "source": "large_string", "place": "int64", "tokens": "int64", "held_out": "bool"}


@dataclass(frozen=True)
class PackedDocument:
    """One of the documents of a shard, by the order in which they came."""

    id: str
    source: str
    place: int
    """Its line or number in its file."""
    tokens: int
    """With those that open and end it; 0 where none of it is packed."""
    held_out: bool


def write_documents(path: Path, rows: Sequence[PackedDocument]) -> None:
    """To Parquet."""
    tables.write_rows(path, TYPES, [astuple(row) for row in rows])


def read_documents(path: Path) -> Iterator[PackedDocument]:
    """All of a shard, in order."""
    return (PackedDocument(**row) for row in tables.read_rows(path))
