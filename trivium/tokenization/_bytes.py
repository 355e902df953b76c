"""Bytes to text and back, for every Python string and every run of bytes."""

import re

_SURROGATE = re.compile(rb"(\xed[\xa0-\xbf][\x80-\xbf])")


def bytes_of_text(text: str) -> bytes:
    """UTF-8; a lone surrogate, which strict UTF-8 refuses, as the three bytes of its code point."""
    return text.encode("utf-8", errors="surrogatepass")


def text_of_bytes(data: bytes) -> str:
    """The inverse of ``bytes_of_text``. Bytes that no text has, such as half a character, show as U+FFFD."""
    pieces = _SURROGATE.split(data)  # every second piece is a surrogate; the rest is UTF-8 or broken
    return "".join(
        piece.decode("utf-8", errors="surrogatepass" if index % 2 else "replace") for index, piece in enumerate(pieces)
    )


def without_surrogates(text: str) -> str:
    """Surrogate pairs joined to the character they stand for, lone ones replaced by U+FFFD."""
    return text.encode("utf-16-le", errors="surrogatepass").decode("utf-16-le", errors="replace")
