"""Pages of the web: the main text of HTML, and the records of WARC files, with the place of what is broken.

Text is what resiliparse takes for the main content, without menus and notices; records are parsed by fastwarc, of the
same makers, which undoes chunks and compression of the transfer. Both come as wheels and are what recent corpora were
made with. Where a record begins is found here, so that a broken one costs itself alone: in a packed file reading goes
on at the next member that begins a record, in a plain one at the next line that does.

Only answers with status 200 and HTML or plain text become pages; requests, pictures and redirects are no documents. A
page without main text is an empty document, which rules may drop.
"""

import io
import mmap
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trivium.core.optional import require
from trivium.data.raw.lines import EXPANDS, EXPANDS_FROM, PIECE, Fault

MEMBER, RECORD = b"\x1f\x8b\x08", re.compile(rb"(?:\A|\n)(?=WARC/1\.)")
_LENGTH = re.compile(rb"^content-length:\s*(\d+)\s*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """The text of a page; ``id`` is what its record is called, empty where it has none."""

    id: str
    text: str
    metadata: dict[str, Any]
    number: int
    offset: int


def main_text(data: bytes, charset: str | None = None) -> str:
    """The main text of a page. It is read in UTF-8 where it is that, else in the encoding it was sent with where that
    fits, else in the likeliest one; what fits none is replaced."""
    encoding = require("resiliparse.parse.encoding", extra="data", why="it reads HTML")
    extract = require("resiliparse.extract.html2text", extra="data", why="it reads HTML").extract_plain_text
    for name in ("utf-8-sig", charset):
        try:
            page = data.decode(name) if name else None
        except (UnicodeDecodeError, LookupError):
            continue
        if page is not None:
            break
    else:
        page = None
    if page is None:
        page = encoding.bytes_to_str(data, encoding.detect_encoding(data))
    return extract(page.replace("\0", ""), main_content=True)


def warc(path: str | Path, *, longest: int) -> Iterator[Page | Fault]:
    """The pages of a WARC file, packed record by record or plain. Raises OSError for a file that cannot be opened,
    MissingExtra where nothing parses it."""
    parser = require("fastwarc.warc", extra="data", why="it reads WARC files").ArchiveIterator
    if not Path(path).stat().st_size:
        return
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        pieces = _members(data, longest) if data[:2] == MEMBER[:2] else iter([(0, data)])
        number = 0
        for at, piece in pieces:
            if isinstance(piece, Fault):
                number += 1
                yield Fault(piece.reason, number, at, piece.detail, piece.ends)
                continue
            for start, record in _records(piece, longest):
                number += 1
                place = at if piece is not data else start
                if isinstance(record, Fault):
                    yield Fault(record.reason, number, place, record.detail, record.ends and piece is data)
                    continue
                found = _page(parser, record, number, place)
                if found is not None:
                    yield found


def _members(data: Any, longest: int) -> Iterator[tuple[int, bytes | Fault]]:
    """Each member of a packed file, unpacked; behind a broken one, from the next that begins a record."""
    at, sound = 0, True
    while 0 <= at < len(data):
        made = _unpacked(data, at, longest)
        if isinstance(made, Fault):
            following = data.find(MEMBER, at + 1)
            if sound:
                yield at, Fault(made.reason, 0, at, made.detail, ends=following < 0)
            at, sound = following, False
            continue
        found, end = made
        if sound or found.startswith(b"WARC/1."):
            sound = True
            yield at, found
        at = end if sound else data.find(MEMBER, at + 1)
        while at < len(data) and data[at] == 0 and at >= 0:  # padding
            at += 1


def _unpacked(data: Any, at: int, longest: int) -> tuple[bytes, int] | Fault:
    """One member and where it ends, or what is wrong with it."""
    member, held, size, fed = zlib.decompressobj(wbits=31), [], 0, at
    try:
        while not member.eof and fed < len(data):
            piece = member.decompress(data[fed : fed + PIECE])
            fed = min(fed + PIECE, len(data))
            size += len(piece)
            if size > longest or (size > EXPANDS_FROM and size > EXPANDS * (fed - at)):
                return Fault("DocumentTooLarge", 0, at, f"a member of more than {size} bytes", ends=False)
            held.append(piece)
    except zlib.error as error:
        return Fault("BrokenStream", 0, at, str(error), ends=False)
    if not member.eof:
        return Fault("TruncatedStream", 0, at, f"the member ends early, at byte {len(data)}", ends=True)
    return b"".join(held), fed - len(member.unused_data)


def _records(data: Any, longest: int) -> Iterator[tuple[int, bytes | Fault]]:
    """Records one behind the other; behind a broken one, from the next line that begins one."""
    at = 0
    while at < len(data):
        head = data.find(b"\r\n\r\n", at)
        length = _LENGTH.search(data[at:head].replace(b"\r", b"")) if head >= 0 else None
        begins = data[at : at + 7] == b"WARC/1."
        end = head + 4 + int(length[1]) if length else -1
        if begins and length and end <= len(data) and (end == len(data) or data[end : end + 2] == b"\r\n"):
            size = end - at
            bad = Fault("DocumentTooLarge", 0, at, f"a record of {size} bytes", ends=False)
            yield at, data[at:end] if size <= longest else bad
            at = end
            while data[at : at + 1] in (b"\r", b"\n"):
                at += 1
            continue
        following = RECORD.search(data, at + 1)
        why = "its length does not lead to another" if begins and length else "no header of a record with its length"
        yield at, Fault("MalformedRecord", 0, at, why, ends=following is None)
        if following is None:
            return
        at = following.end()


def _page(parser: Any, data: bytes, number: int, offset: int) -> Page | Fault | None:
    try:
        for one in parser(io.BytesIO(data + b"\r\n\r\n"), auto_decode="all"):
            if one.headers.get("WARC-Type") != "response" or one.http_headers is None:
                return None
            status, kind = one.http_headers.status_code, one.http_content_type or ""
            if status is None:
                return Fault("MalformedRecord", number, offset, "an answer without a status line", ends=False)
            if status != 200 or not kind.startswith(("text/html", "application/xhtml", "text/plain")):
                return None
            body = one.reader.read()
            text = main_text(body, one.http_charset)
            said = {"url": one.headers.get("WARC-Target-URI"), "date": one.headers.get("WARC-Date")}
            id = (one.headers.get("WARC-Record-ID") or "").strip("<>").removeprefix("urn:uuid:")
            return Page(id, text, {name: value for name, value in said.items() if value}, number, offset)
    except OSError as error:
        return Fault("MalformedRecord", number, offset, str(error), ends=False)
    return None
