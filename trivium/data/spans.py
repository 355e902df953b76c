"""Pieces of a text by their characters, and the tokens that hold them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from trivium.core.protocols import Tokenizer


class Speaking(Protocol):
    """Whatever has a tokenizer; every system does."""

    @property
    def tokenizer(self) -> Tokenizer: ...


@dataclass(frozen=True)
class Span:
    """Characters ``start`` to ``stop`` (excluded) of a text. Raises ValueError for a piece that is empty or outside."""

    text: str
    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop <= len(self.text):
            raise ValueError(
                f"characters {self.start} to {self.stop} are no piece of a text of {len(self.text)} characters"
            )

    @property
    def piece(self) -> str:
        return self.text[self.start : self.stop]

    def overlaps(self, other: "Span") -> bool:
        return self.start < other.stop and other.start < self.stop


def occurrences(text: str, piece: str) -> list[int]:
    """Where a piece begins in a text, overlapping places included."""
    if not piece:
        raise ValueError("an empty piece is found everywhere; give at least one character")
    return [place for place in range(len(text) - len(piece) + 1) if text.startswith(piece, place)]


def find_span(text: str, piece: str, *, which: int | None = None) -> Span:
    """Where a piece stands that occurs once in a text, or its ``which``-th occurrence, counted from 1.

    Raises ValueError where it does not occur, or occurs more than once and ``which`` does not say which one is meant.
    """
    found = occurrences(text, piece)
    if not found:
        shown = text if len(text) <= 80 else text[:79] + "…"
        raise ValueError(f"{piece!r} does not occur in {shown!r}")
    if which is None and len(found) > 1:
        places = ", ".join(str(place) for place in found)
        raise ValueError(
            f"{piece!r} occurs {len(found)} times, at characters {places}; give a longer piece, or say which one"
        )
    number = 1 if which is None else which
    if not 1 <= number <= len(found):
        raise ValueError(f"{piece!r} occurs {len(found)} times, at characters {found}; there is no number {number}")
    return Span(text, found[number - 1], found[number - 1] + len(piece))


def positions_of(system: Speaking, ids: Tensor | Sequence[int], span: Span) -> list[int]:
    """Positions of the tokens that hold a byte of the span, in order; ``ids`` (time,) are those of its whole text.

    Special tokens that the text does not spell, such as an opening one or padding, are passed over, and so are a space
    that the tokenizer puts before the text and white space behind it. A token that holds the end of one piece and the
    beginning of the next belongs to both. Raises ValueError where the tokens do not spell the text.
    """
    wanted = _bytes(span.text)
    start = len(_bytes(span.text[: span.start]))
    stop = start + len(_bytes(span.piece))
    found: list[int] = []
    at = 0
    for place, id in enumerate(ids):
        piece = system.tokenizer.bytes_of(int(id)) or _special(system.tokenizer, int(id), wanted[at:])
        if at == 0 and piece and not wanted.startswith(piece):
            piece = piece.removeprefix(b" ")
        if not wanted.startswith(piece, at) and (at < len(wanted) or piece.strip()):
            at = -1
            break
        if piece and at < stop and at + len(piece) > start:
            found.append(place)
        at += len(piece)
    if at < len(wanted):
        raise ValueError(f"the tokens spell {spelling(system, ids)!r}, not the text {span.text!r}")
    return found


def spelling(system: Speaking, ids: Tensor | Sequence[int]) -> str:
    """The text that the tokens spell, special ones left out."""
    return b"".join(system.tokenizer.bytes_of(int(id)) for id in ids).decode(errors="replace")


def _special(tokenizer: Tokenizer, id: int, rest: bytes) -> bytes:
    """How a special token is spelt in a text that goes on with it, as chat templates do; else nothing."""
    spelt = getattr(tokenizer, "spelt", None)
    special = b"" if spelt is None else _bytes(spelt([id]))
    return special if rest.startswith(special) else b""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")
