"""Documents and refused records: a reader gives one or the other for every record, so that nothing is lost unseen.

    for each in documents("pages/part-000.jsonl.gz"):
        match each:
            case Document(): ...
            case Refused(): ...  # goes to the quarantine, with its place and its bytes

A reader never raises for what stands in a file; only for a file that cannot be opened. What is done about refused
records is the policy's business.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from trivium.core.errors import TriviumError
from trivium.data.raw.lines import LONGEST, Fault, Line, lines, whole
from trivium.data.raw.web import main_text, warc

KEPT_BYTES = 1 << 20
"""Bytes of a refused record that the quarantine keeps."""


@dataclass(frozen=True)
class Document:
    """A text and where it comes from; (source, id) is its identity, ``place`` its line or number in the file."""

    id: str
    text: str
    source: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    place: int = 0


@dataclass(frozen=True)
class Refused:
    """A record that is no document: why, where, and its bytes."""

    reason: str
    detail: str
    place: int
    offset: int
    data: bytes = b""
    ends: bool = False
    """Whether nothing behind it in the file could be read."""


class BadRecords(TriviumError, ValueError):
    """More is wrong with the input than the policy allows."""


@dataclass(frozen=True)
class Policy:
    """What happens to what cannot be read. Whatever is chosen, nothing is dropped without a row that says so."""

    on_bad_record: Literal["quarantine", "fail"] = "quarantine"
    on_bad_file: Literal["fail", "quarantine"] = "fail"
    """Of a file that ends early or is damaged: stop, or go on with what could be read of it."""
    max_bad_fraction: float = 0.001
    """Share of the records of a file above which quarantine becomes failure."""
    on_duplicate_id: Literal["fail", "suffix"] = "fail"
    """'suffix' makes the second a#2, the third a#3, in the order of files and lines."""
    max_document_bytes: int = LONGEST

    def __post_init__(self) -> None:
        for name, words in (
            ("on_bad_record", ("quarantine", "fail")),
            ("on_bad_file", ("fail", "quarantine")),
            ("on_duplicate_id", ("fail", "suffix")),
        ):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} must be one of {', '.join(words)}; got {getattr(self, name)!r}")
        if not 0.0 <= self.max_bad_fraction <= 1.0:
            raise ValueError(f"max_bad_fraction is a share, so 0 to 1; got {self.max_bad_fraction}")
        if self.max_document_bytes < 1:
            raise ValueError(f"max_document_bytes must be at least 1, got {self.max_document_bytes}")

    def judge(self, file: str, refused: Refused) -> None:
        """Raises BadRecords where this one record, or the end of this file, must not go to the quarantine."""
        where = f"{file}, record {refused.place}, byte {refused.offset}"
        if refused.ends and self.on_bad_file == "fail":
            raise BadRecords(
                f"{where}: {refused.reason}, {refused.detail}. Fetch the file again, or set on_bad_file='quarantine' "
                "to go on with what could be read"
            )
        if not refused.ends and self.on_bad_record == "fail":
            raise BadRecords(f"{where}: {refused.reason}, {refused.detail}. Mend it, or set on_bad_record='quarantine'")

    def judge_file(self, file: str, read: int, refused: int) -> None:
        """Raises BadRecords where too many of the records of a file were refused."""
        if refused > self.max_bad_fraction * read:
            raise BadRecords(
                f"{file}: {refused} of {read} records were refused, more than max_bad_fraction="
                f"{self.max_bad_fraction}; see the quarantine for the reasons, mend the file or allow more"
            )


def documents(path: str | Path, *, source: str = "", longest: int = LONGEST) -> Iterator[Document | Refused]:
    """Every record of a file, which its name tells how to read: .jsonl, .json and .ndjson hold one a line, .parquet one
    a row, .warc answers of the web, .html a page, anything else is a text that is one document; .gz and .zst are
    unpacked. ``source`` stands for what a record does not say itself, by default the name of the folder."""
    path = Path(path)
    packed = path.suffix in (".gz", ".zst", ".zstd")
    kind = Path(path.stem).suffix if packed else path.suffix
    source = source or path.resolve().parent.name
    if kind in (".jsonl", ".json", ".ndjson"):
        for line in lines(path, longest=longest):
            if isinstance(line, Fault):
                yield Refused(line.reason, line.detail, line.number, line.offset, ends=line.ends)
            elif line.data.strip():
                yield record(line, source)
    elif kind == ".warc":
        yield from _pages(path, source, longest)
    elif kind == ".parquet":
        yield from _rows(path, source, longest)
    else:
        yield from _whole(path, source, longest)


def record(line: Line, source: str) -> Document | Refused:
    """A document from one line of JSON, with ``id`` and ``text``; whatever else it holds is metadata."""

    def refused(reason: str, detail: str) -> Refused:
        return Refused(reason, detail, line.number, line.offset, line.data[:KEPT_BYTES])

    data = line.data.removeprefix(b"\xef\xbb\xbf") if line.number == 1 else line.data
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return refused(_reason(data, str(error)), str(error))
    if not isinstance(found, dict):
        return refused("NotAnObject", f"expected an object with 'id' and 'text', got {type(found).__name__}")
    return _document(found, source, line.number, refused)


def _document(found: dict[str, Any], source: str, place: int, refused: Any) -> Document | Refused:
    id, text = found.pop("id", None), found.pop("text", None)
    if isinstance(id, int) and not isinstance(id, bool):
        id = str(id)
    if not isinstance(id, str) or not id:
        return refused("NoId", f"'id' must be a text that is not empty or a whole number, got {id!r:.60}")
    if not isinstance(text, str):
        return refused("NoText", f"'text' of {id!r:.60} must be a text, got {type(text).__name__}")
    own = found.pop("source", None)
    metadata = found.pop("metadata", None)
    more = metadata if isinstance(metadata, dict) else {} if metadata is None else {"metadata": metadata}
    return Document(id, text, own if isinstance(own, str) and own else source, {**found, **more}, place)


def _reason(data: bytes, said: str) -> str:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "InvalidUtf8"
    return "LoneSurrogate" if "surrogate" in said else "MalformedJson"


def _whole(path: Path, source: str, longest: int) -> Iterator[Document | Refused]:
    """A file as one document, called after the file."""
    data = whole(path, longest=longest)
    if isinstance(data, Fault):
        yield Refused(data.reason, data.detail, 1, data.offset, ends=data.ends)
        return
    if {".html", ".htm", ".xhtml"} & set(path.suffixes[-2:]):
        yield Document(path.name, main_text(data), source, {}, 1)
        return
    try:
        yield Document(path.name, data.decode("utf-8-sig"), source, {}, 1)
    except UnicodeDecodeError as error:
        yield Refused("InvalidUtf8", str(error), 1, error.start, data[:KEPT_BYTES])


def _pages(path: Path, source: str, longest: int) -> Iterator[Document | Refused]:
    """The pages of a WARC file, called after their records."""
    for one in warc(path, longest=longest):
        if isinstance(one, Fault):
            yield Refused(one.reason, one.detail, one.number, one.offset, ends=one.ends)
        else:
            yield Document(one.id or f"{path.name}:{one.number}", one.text, source, one.metadata, one.number)


def _rows(path: Path, source: str, longest: int) -> Iterator[Document | Refused]:
    from pyarrow import ArrowInvalid, parquet

    place = 0
    try:
        file = parquet.ParquetFile(path)
        for batch in file.iter_batches(batch_size=1024):
            names = batch.schema.names
            if not {"id", "text"} <= set(names):
                detail = f"columns 'id' and 'text' are wanted, the file has {', '.join(names)}"
                yield Refused("NoText", detail, place + 1, 0, ends=True)
                return
            for row in _plain(batch):
                place += 1
                refused = lambda reason, detail: Refused(reason, detail, place, 0)  # noqa: E731, B023
                if isinstance(row, UnicodeDecodeError):
                    yield Refused("InvalidUtf8", str(row), place, 0, bytes(row.object)[:KEPT_BYTES])
                    continue
                text = row.get("text")
                if isinstance(text, str) and len(text.encode("utf-8", "surrogatepass")) > longest:
                    yield refused("DocumentTooLarge", f"a text of more than {longest} bytes")
                else:
                    yield _document(row, source, place, refused)
    except (ArrowInvalid, OSError) as error:
        yield Refused("BrokenStream", str(error), place + 1, 0, ends=True)


def _plain(batch: Any) -> list[dict[str, Any] | UnicodeDecodeError]:
    """The rows of an Arrow batch; where one of them is no UTF-8, row by row, with the error in its place."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        found: list[dict[str, Any] | UnicodeDecodeError] = []
        for place in range(batch.num_rows):
            try:
                found += batch.slice(place, 1).to_pylist()
            except UnicodeDecodeError as error:
                found.append(error)
        return found
