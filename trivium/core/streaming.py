"""Tokens as they are committed: a decoder tells, and whoever listens is told; nobody who does not pays for it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[int, Sequence[int]], None]
"""Called with a row of the batch and the tokens that have just become part of it, never to be taken back."""

_listener: ContextVar[Listener | None] = ContextVar("trivium_listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within the block, decoders tell ``listener`` each token that they commit, in order. Decoders that decide on a
    whole text at once, such as beam search, tell it at their end. An exception of the listener ends the decoding."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(row: int, tokens: Sequence[int]) -> None:
    """Called by decoders as tokens are committed."""
    listener = _listener.get()
    if listener is not None and tokens:
        listener(row, tokens)


class TextStream:
    """Turns tokens of one row into text as it becomes certain: the bytes of a character may be spread over tokens.

    ``decode``: ids -> text; ``hidden``: tokens that end a text and are not shown.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        show: Callable[[str], None],
        hidden: Sequence[int] = (),
        row: int = 0,
    ) -> None:
        self.decode, self.show, self.hidden, self.row = decode, show, frozenset(hidden), row
        self.ids: list[int] = []
        self.shown = ""

    def __call__(self, row: int, tokens: Sequence[int]) -> None:
        if row == self.row:
            self.ids.extend(token for token in tokens if token not in self.hidden)
            self._advance(self.decode(self.ids).rstrip("\ufffd"))

    def close(self) -> str:
        """Show what was held back because it might have gone on; returns the whole text."""
        self._advance(self.decode(self.ids))
        return self.shown

    def _advance(self, text: str) -> None:
        if text.startswith(self.shown) and len(text) > len(self.shown):
            self.show(text[len(self.shown) :])
            self.shown = text
