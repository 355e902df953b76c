"""Tables of a curation on disk: documents with their places, measures beside them, sketches."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trivium.core.errors import MissingExtra
from trivium.data.marks import Marks, Texts
from trivium.data.raw.documents import Document

BATCH = 2048
"""Documents that are held at once."""


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("curation keeps its tables with pyarrow: pip install 'trivium[data]'") from error
    return pyarrow, parquet


class DocumentWriter:
    """Documents to Parquet, in groups of ``BATCH``."""

    def __init__(self, path: Path) -> None:
        self.arrow, parquet = _arrow()
        text = self.arrow.large_string()
        self.schema = self.arrow.schema(
            {"id": text, "text": text, "source": text, "metadata": text, "place": self.arrow.int64()}
        )
        self.out = parquet.ParquetWriter(path, self.schema, compression="zstd")
        self.rows: list[tuple[str, str, str, str, int]] = []

    def __enter__(self) -> "DocumentWriter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.flush()
        self.out.close()

    def add(self, one: Document) -> None:
        metadata = json.dumps(one.metadata, sort_keys=True, ensure_ascii=False, default=str)
        self.rows.append((one.id, one.text, one.source, metadata, one.place))
        if len(self.rows) == BATCH:
            self.flush()

    def flush(self) -> None:
        """End a group here."""
        if self.rows:
            columns = dict(zip(self.schema.names, map(list, zip(*self.rows, strict=True)), strict=True))
            self.out.write_table(self.arrow.table(columns, self.schema))
            self.rows.clear()


def batches(path: Path) -> Iterator[tuple[Texts, list[int]]]:
    """Documents of a shard with their places, as many at once as were written at once."""
    _, parquet = _arrow()
    with parquet.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group).to_pydict()
            metadata = [json.loads(row) for row in table["metadata"]]
            yield Texts(table["id"], table["text"], table["source"], metadata), table["place"]


def document(path: Path, row: int) -> Document:
    """One document of a shard, by its number from 0; only its row group is read. Raises IndexError."""
    _, parquet = _arrow()
    with parquet.ParquetFile(path) as file:
        at = row
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            if at < count:
                (one,) = file.read_row_group(group).slice(at, 1).to_pylist()
                return Document(one["id"], one["text"], one["source"], json.loads(one["metadata"]), one["place"])
            at -= count
    raise IndexError(f"{path} has no document {row}")


def rows(path: Path, begin: int = 0, end: int | None = None) -> Iterator[Document]:
    """Documents of a shard from one number up to before another, or to the end; groups outside are not read."""
    _, parquet = _arrow()
    with parquet.ParquetFile(path) as file:
        start = 0
        for group in range(file.num_row_groups):
            first, start = start, start + file.metadata.row_group(group).num_rows
            if start <= begin:
                continue
            if end is not None and first >= end:
                return
            table = file.read_row_group(group).slice(
                max(begin - first, 0), None if end is None else end - max(begin, first)
            )
            for one in table.to_pylist():
                yield Document(one["id"], one["text"], one["source"], json.loads(one["metadata"]), one["place"])


def identities(path: Path) -> Iterator[tuple[str, str, int]]:
    """Source, id and place of each document of a shard."""
    _, parquet = _arrow()
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["source", "id", "place"]):
            rows = batch.to_pydict()
            yield from zip(rows["source"], rows["id"], rows["place"], strict=True)


def write_marks(path: Path, parts: Any) -> None:
    """Measures to Parquet, a group per part."""
    arrow, parquet = _arrow()
    span = arrow.list_(arrow.struct({"start": arrow.int64(), "end": arrow.int64(), "score": arrow.float64()}))
    out = None
    for marks in parts:
        types = {**dict.fromkeys(sorted(marks.numbers), arrow.float64()), **dict.fromkeys(sorted(marks.spans), span)}
        columns: dict[str, Any] = {name: np.asarray(marks.numbers[name], np.float64) for name in marks.numbers}
        for name, rows in marks.spans.items():
            columns[name] = [[{"start": a, "end": b, "score": s} for a, b, s in row] for row in rows]
        schema = arrow.schema({"_": arrow.bool_(), **types})
        columns["_"] = np.ones(marks.count, bool)
        out = out or parquet.ParquetWriter(path, schema, compression="zstd")
        for start in range(0, max(marks.count, 1), BATCH):
            cut = {name: columns[name][start : start + BATCH] for name in schema.names}
            out.write_table(arrow.table(cut, schema))
    if out is None:
        out = parquet.ParquetWriter(path, arrow.schema({"_": arrow.bool_()}))
    out.close()


def read_marks(path: Path, method: str) -> Iterator[Marks]:
    """The measures of a shard, a batch of documents at a time, under the method's name."""
    _, parquet = _arrow()
    with parquet.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            numbers, spans = {}, {}
            for name in table.column_names[1:]:
                column = table.column(name)
                if str(column.type) == "double":
                    numbers[name] = column.to_numpy()
                else:
                    spans[name] = [[(s["start"], s["end"], s["score"]) for s in row] for row in column.to_pylist()]
            yield Marks(table.num_rows, numbers, spans).under(method)


def loaded(path: Path) -> dict[str, Any]:
    """The columns of a sketch."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def write_rows(path: Path, types: dict[str, str], rows: Sequence[tuple[Any, ...]]) -> None:
    """A table of these columns, whose types are called as in Arrow."""
    arrow, parquet = _arrow()
    schema = arrow.schema({name: arrow.type_for_alias(type) for name, type in types.items()})
    columns = map(list, zip(*rows, strict=True)) if rows else [[] for _ in types]
    parquet.write_table(arrow.table(dict(zip(types, columns, strict=True)), schema), path, compression="zstd")


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Its rows, in order."""
    _, parquet = _arrow()
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches():
            yield from batch.to_pylist()
