"""HTML that is safe by construction: text is escaped unless it was built here.

Strings in a report come from models, files and command lines. ``element`` escapes every child and attribute that is
not already an ``Html``, so that the only way to markup is to build it.
"""

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from typing import Any

from trivium.core.text import DIRECTIONS, printable

_VOID = frozenset({"br", "hr", "input", "link", "meta", "wbr"})


class Html(str):
    """A string that is markup already."""

    __slots__ = ()


def escape(text: object) -> Html:
    """Text for use between tags or inside a quoted attribute."""
    plain = printable(text).translate(DIRECTIONS)
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


class Fragment(HTMLParser):
    """A piece of HTML as a tree of plain data: a node is a text, or [tag, attributes, styles, nodes].

    Only what an attribution is made of is taken over: a few tags, attributes that tell, styles that colour and space.
    Scripts, links, handlers, classes and identifiers are left behind; of other tags the text stays.
    """

    TAGS = frozenset({"b", "bdi", "br", "div", "i", "p", "small", "span"})
    ATTRIBUTES = frozenset({"aria-label", "dir", "role", "title"})
    STYLES = frozenset(
        {"background", "border-radius", "color", "display", "font-weight", "height", "line-height", "margin"}
        | {"overflow-wrap", "padding", "white-space"}
    )
    VALUE = re.compile(r"(?!.*(url|image|var|expression))[\w\s.,%#()-]+", re.IGNORECASE)

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.nodes: list[Any] = []
        self._open: list[tuple[str, list[Any]]] = [("", self.nodes)]
        self._hidden = ""
        self.feed(printable(html))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style"):
            self._hidden = tag
        if tag not in self.TAGS:
            return
        given = {name: value or "" for name, value in attrs if name in self.ATTRIBUTES}
        rules = [rule.partition(":") for rule in (dict(attrs).get("style") or "").split(";")]
        styles = {name.strip(): value.strip() for name, _, value in rules}
        safe = {name: value for name, value in styles.items() if name in self.STYLES and self.VALUE.fullmatch(value)}
        children: list[Any] = []
        self._open[-1][1].append([tag, given, safe, children])
        if tag != "br":
            self._open.append((tag, children))

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = ""
        if tag in (name for name, _ in self._open[1:]):
            while self._open.pop()[0] != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._open[-1][1].append(data)


def _finite(data: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if isinstance(data, dict):
        return {printable(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return printable(data) if isinstance(data, str) else data
