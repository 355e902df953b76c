"""Strings from models and files made fit to be shown: nothing in them is obeyed by a terminal or a page."""

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)} | {0x7F: 0x2421}
_CONTROL |= dict.fromkeys([*range(0x80, 0xA0), 0xFFFE, 0xFFFF], 0xFFFD)
DIRECTIONS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)


def printable(text: object) -> str:
    """Any string as one that can be shown and written as UTF-8.

    Control characters become their pictures, so that a NUL or an escape sequence is seen rather than obeyed; lone
    surrogates become the replacement character. Line breaks and tabs stay.
    """
    plain = str(text).replace("\r\n", "\n").translate(_CONTROL)
    return _SURROGATE.sub("\ufffd", plain)


def one_line(text: object) -> str:
    """A name, a title or a sentence that holds one: printable, on one line, and unable to turn what stands around it
    backwards. (Outputs of models keep their direction marks; each is isolated in a block of its own.)"""
    return " ".join(printable(text).translate(DIRECTIONS).split())


def size(text: str) -> int:
    """Bytes of a text in UTF-8; a lone surrogate, which has none, counts 3."""
    return len(text.encode("utf-8", errors="surrogatepass"))
