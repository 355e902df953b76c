"""HTML that is safe by construction: text is escaped unless it was built here.

Strings in a report come from models, files and command lines. ``element`` escapes every child and attribute that is
not already an ``Html``, so that the only way to markup is to build it.
"""

import base64
import hashlib
import json
import math
import re
from typing import Any

_VOID = frozenset({"br", "hr", "input", "link", "meta", "wbr"})
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)} | {0x7F: 0x2421}
_CONTROL |= {code: 0xFFFD for code in range(0x80, 0xA0)} | {0xFFFE: 0xFFFD, 0xFFFF: 0xFFFD}


class Html(str):
    """A string that is markup already."""

    __slots__ = ()


def printable(text: object) -> str:
    """Any string as one that can be shown and written as UTF-8.

    Control characters become their pictures, so that a NUL or an escape sequence is seen rather than obeyed; lone
    surrogates become the replacement character. Line breaks and tabs stay.
    """
    plain = str(text).replace("\r\n", "\n").translate(_CONTROL)
    return _SURROGATE.sub("\ufffd", plain)


def escape(text: object) -> Html:
    """Text for use between tags or inside a quoted attribute."""
    plain = printable(text)
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;")):
        plain = plain.replace(character, entity)
    return Html(plain)


def join(*children: object) -> Html:
    """Children one after another: None is left out, a list is flattened, what is no Html is escaped."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, list | tuple):
            parts.append(join(*child))
        else:
            parts.append(child if isinstance(child, Html) else escape(child))
    return Html("".join(parts))


def element(name: str, /, *children: object, **attributes: object) -> Html:
    """``element("td", "a < b", class_="number", data_value=3)``. None and False leave an attribute out; True gives a
    bare one; a trailing underscore is dropped and the others become dashes."""
    given = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        given.append(f" {key}" if value is True else f' {key}="{escape(value)}"')
    start = f"<{name}{''.join(given)}>"
    return Html(start) if name in _VOID else Html(f"{start}{join(*children)}</{name}>")


def embedded(data: Any, name: str) -> Html:
    """Data for the script, as inert JSON that no content can break out of."""
    text = json.dumps(_finite(data), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json" id="{escape(name)}">{text}</script>')


def content_hash(text: str) -> str:
    """The source expression by which a content security policy allows exactly this inline text."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def _finite(data: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if isinstance(data, dict):
        return {printable(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return printable(data) if isinstance(data, str) else data
