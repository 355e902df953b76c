"""Lines of files as bytes, plain or compressed, with the place of each; and what is wrong with a file, as a value.

Lines are split on the byte 0x0A before anything is decoded, so that a byte which is no text harms its own line
alone. A compressed file may hold several members, all of which are read. Where it ends early or its checksum is
wrong, the complete lines before that place are still given, then a ``Fault`` that says where reading stopped. Memory is
bounded by the longest line allowed, also for a file that unpacks to far more than it is.
"""

import contextlib
import importlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from trivium.core.errors import MissingExtra

CHUNK, PIECE = 1 << 20, 1 << 16
"""Bytes of what is unpacked, and of what is packed, that are held at once."""
LONGEST = 256 << 20
"""Bytes of a line where nothing else is said."""
EXPANDS, EXPANDS_FROM = 400, 64 << 20
"""What unpacked to so many times its size, and to more than so many bytes, is taken for a bomb; text gains a tenth of
that at best."""


@dataclass(frozen=True)
class Line:
    """One line without its end: number from 1, and the offset of its first byte in the unpacked stream."""

    number: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Fault:
    """What could not be read, and where: the line's number, the offset in the unpacked stream."""

    reason: str
    """TruncatedStream, BrokenStream, ExpandsTooFar or DocumentTooLarge."""
    number: int
    offset: int
    detail: str
    ends: bool
    """Whether nothing behind it could be read."""


class _Broken(Exception):
    """Reading stops: reason and detail."""


def lines(path: str | Path, *, longest: int = LONGEST) -> Iterator[Line | Fault]:
    """Every line of a file; .gz and .zst are unpacked. A line of more than ``longest`` bytes becomes a Fault, without
    being held in memory. Raises OSError for a file that cannot be opened, MissingExtra where nothing unpacks .zst."""
    if longest < 1:
        raise ValueError(f"longest must be at least 1 byte, got {longest}")
    number, start, held, size = 1, 0, [], 0  # of the line that has begun

    def ended() -> Line | Fault:
        if size <= longest:
            return Line(number, start, b"".join(held))
        return Fault("DocumentTooLarge", number, start, f"a line of {size} bytes, more than {longest}", ends=False)

    try:
        for chunk in _unpacked(Path(path)):
            first, *rest = chunk.split(b"\n")
            for place, piece in enumerate((first, *rest)):
                if place:
                    yield ended()
                    number, start, held, size = number + 1, start + size + 1, [], 0
                size += len(piece)
                if size <= longest:
                    held.append(piece)
                else:
                    held.clear()
    except _Broken as stopped:
        reason, detail = stopped.args
        yield Fault(reason, number, start + size, f"{detail}; {number - 1} whole lines before it were read", ends=True)
        return
    if size:
        yield ended()


def whole(path: str | Path, *, longest: int = LONGEST) -> bytes | Fault:
    """A file's unpacked content, or what is wrong with it."""
    held: list[bytes] = []
    size = 0
    try:
        for chunk in _unpacked(Path(path)):
            size += len(chunk)
            if size > longest:
                return Fault("DocumentTooLarge", 1, 0, f"a text of more than {longest} bytes", ends=False)
            held.append(chunk)
    except _Broken as stopped:
        reason, detail = stopped.args
        return Fault(reason, 1, size, detail, ends=True)
    return b"".join(held)


def _unpacked(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        match path.suffix:
            case ".gz":
                yield from _members(file, _Gzip)
            case ".zst" | ".zstd":
                yield from _members(file, _zstd().ZstdDecompressor)
            case _:
                while chunk := file.read(CHUNK):
                    yield chunk


class _Gzip:
    """A member of a gzip file, with the interface of the other decompressors of the standard library."""

    def __init__(self) -> None:
        self._member, self._left = zlib.decompressobj(wbits=31), b""

    def decompress(self, data: bytes, most: int) -> bytes:
        found = self._member.decompress(self._left + data, most)
        self._left = self._member.unconsumed_tail
        return found

    @property
    def needs_input(self) -> bool:
        return not self._left and not self.eof

    @property
    def eof(self) -> bool:
        return self._member.eof

    @property
    def unused_data(self) -> bytes:
        return self._member.unused_data


def _zstd() -> Any:
    """In the standard library from Python 3.14 on."""
    for name in ("compression.zstd", "backports.zstd"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    raise MissingExtra("reading .zst needs the package backports.zstd: pip install 'trivium[data]'")


def _members(file: IO[bytes], begin: Callable[[], Any]) -> Iterator[bytes]:
    """Unpack member after member, in pieces that stay small however far they expand.

    What a damaged piece unpacks to before the damage is lost with the error, so that piece is fed again byte by byte.
    """
    given, doubtful = 0, -1  # bytes given out; where the piece begins in which the damage is
    while True:
        file.seek(0)
        passed = 0
        try:
            for piece in _pieces(file, begin, doubtful):
                passed += len(piece)
                if passed > given:
                    yield piece[len(piece) - (passed - given) :]
                    given = passed
            return
        except _Damaged as error:
            if doubtful >= 0:
                raise _Broken("BrokenStream", f"packed data is damaged near byte {error.at} ({error})") from error
            doubtful = error.at


class _Damaged(Exception):
    def __init__(self, at: int, why: object) -> None:
        super().__init__(str(why))
        self.at = at


def _pieces(file: IO[bytes], begin: Callable[[], Any], doubtful: int) -> Iterator[bytes]:
    """From the beginning of a file; from byte ``doubtful`` on, if that is not negative, fed byte by byte."""
    packed = unpacked = 0
    member, fed = begin(), False
    while chunk := file.read(1 if 0 <= doubtful <= packed else PIECE):
        at, packed = packed, packed + len(chunk)
        while True:
            if member.eof:
                chunk = member.unused_data or chunk
                if not chunk.strip(b"\0"):  # padding behind the last member, as some tools leave it
                    break
                member, fed = begin(), False
            fed = True
            try:
                piece = member.decompress(chunk, CHUNK)
            except Exception as error:  # each format has an error of its own
                raise _Damaged(at, error) from error
            chunk, unpacked = b"", unpacked + len(piece)
            if unpacked > EXPANDS_FROM and unpacked > EXPANDS * packed:
                raise _Broken("ExpandsTooFar", f"{packed} bytes unpacked to more than {unpacked}")
            if piece:
                yield piece
            if member.needs_input or (member.eof and not member.unused_data):
                break
    if fed and not member.eof:
        raise _Broken("TruncatedStream", f"packed data ends early, at byte {packed}")
