"""Which documents are in a packed shard, as a table beside it."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from trivium.data.tables import packages


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
    pa, parquet = packages()
    text = pa.large_string()
    types = {"id": text, "source": text, "place": pa.int64(), "tokens": pa.int64(), "held_out": pa.bool_()}
    schema = pa.schema(types)
    columns = map(list, zip(*map(astuple, rows), strict=True)) if rows else [[] for _ in types]
    table = pa.table(dict(zip(types, columns, strict=True)), schema)
    parquet.write_table(table, path, compression="zstd")


def read_documents(path: Path) -> Iterator[PackedDocument]:
    """All of a shard, in order."""
    _, parquet = packages()
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches():
            yield from (PackedDocument(**row) for row in batch.to_pylist())
