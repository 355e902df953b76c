"""Documents with planted faults: stories of our own, and among them what curation is there to find, noted in metadata.

What is planted, under ``metadata["planted"]``:

    short        a few words, as of a menu
    repeated     one sentence over and over
    symbols      tags and marks in place of words
    bullets      a list from end to end
    gibberish    words of random letters
    cookies      a story and, under it, lines about cookies and terms of use
    code         a story that runs into a script
    copy         another document word for word, but perhaps for case and white space
    near         another document with a few words changed
    personal     a story with addresses and numbers put in; their places are in ``metadata["spans"]``
    leaked       a story with an item of ``items()`` put in

and, where they are asked for by name,

    paragraph    a story with one of ``notices()`` put in, which others have too
    passage      a story with a passage of another document put in, from anywhere to anywhere
    visited      a story from the address of another document; every document has a ``metadata["url"]`` then

Copies of other documents name these in ``metadata["of"]``, and where something is put in, its places are in
``metadata["spans"]``. Everything else is clean. A document depends on nothing but its seed and the documents before it.
"""

import random
import string
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from trivium.core.seeds import derive
from trivium.data.raw.documents import Document
from trivium.data.stories import story

JUNK = ("short", "repeated", "symbols", "bullets", "gibberish")
"""Whole documents that nobody wants."""
FAULTS = (*JUNK, "cookies", "code", "copy", "near", "personal", "leaked")
MORE = ("paragraph", "passage", "visited")
"""Faults that are only planted where they are asked for by name."""
OF_OTHERS = ("copy", "near", "passage", "visited")
PASSAGE = 400
"""Characters of a passage that is put in."""
SOURCES = ("books", "web", "forum")
ITEMS = 20
NOTICES, NOTICE_WORDS = 20, 24

_MENU = ("Home", "About", "Contact", "Log in", "Search", "Terms", "Help", "News", "Back", "Next page")
_COOKIES = (
    "We use cookies to make this site better",
    "By going on you accept our terms of use and our privacy policy",
    "Click here to subscribe",
    "Share this",
    "Javascript must be enabled",
)
_MAIL = ("example.org", "mail.example.com", "post.example.net")


def planted(
    count: int, seed: int = 0, *, shares: Mapping[str, float] | float = 0.03, sources: tuple[str, ...] = SOURCES
) -> Iterator[Document]:
    """So many documents; of each fault its share, or of all of ``FAULTS`` the same. Raises ValueError for senseless
    shares."""
    each = {fault: shares for fault in FAULTS} if isinstance(shares, int | float) else dict(shares)
    if unknown := each.keys() - {*FAULTS, *MORE}:
        raise ValueError(f"no fault is called {min(unknown)!r}; there are {', '.join((*FAULTS, *MORE))}")
    if any(share < 0 for share in each.values()) or sum(each.values()) > 1:
        raise ValueError(f"shares are at least 0 and at most 1 in all, got {each}")
    clean: list[Document] = []
    for number in range(count):
        draw = random.Random(derive(seed, "planted", number))
        fault = draw.choices([*each, ""], [*each.values(), 1 - sum(each.values())])[0]
        source, id = draw.choice(sources), f"{seed}-{number:07d}"
        if fault in OF_OTHERS and not clean:
            fault = ""
        metadata: dict[str, Any] = {"planted": fault} if fault else {}
        text = "\n\n".join(story(seed, 2 * number + half) for half in range(2))
        if "visited" in each:
            metadata["url"] = f"http://example.org/{id}"
        if fault in OF_OTHERS:
            of = draw.choice(clean)
            metadata["of"] = of.id
            if fault in ("copy", "near"):
                text = (_copied if fault == "copy" else _changed)(draw, of.text)
            elif fault == "visited":
                metadata["url"] = draw.choice(["http", "https"]) + of.metadata["url"].removeprefix("http")
            else:
                text, metadata["spans"] = _passage(draw, text, of.text)
        elif fault == "paragraph":
            text, metadata["spans"] = _paragraph(draw, text, seed)
        elif fault == "personal":
            text, metadata["spans"] = _personal(draw, text)
        elif fault == "leaked":
            text, metadata["item"] = _leaked(draw, text, seed)
        elif fault:
            text = _FAULTS[fault](draw, text)
        made = Document(id, text, source, metadata)
        if not fault:
            clean = [*clean[-999:], made]
        yield made


def items(seed: int = 0) -> list[str]:
    """Questions with answers that stand in no story of this seed, as if of a test that nobody may train on."""
    draw = random.Random(derive(seed, "items"))
    names = [_word(draw, 6).capitalize() for _ in range(ITEMS)]
    places = [_word(draw, 7).capitalize() for _ in range(ITEMS)]
    return [
        f"In which town did the clockmaker {name} build the tower that strikes {hour} times at noon? It was in {place}."
        for name, place, hour in zip(names, places, [draw.randint(3, 99) for _ in range(ITEMS)], strict=True)
    ]


@cache
def notices(seed: int = 0) -> tuple[str, ...]:
    """Paragraphs that stand in no story, as if of a site that puts them under every page; longer than any line of a
    story is."""
    draw = random.Random(derive(seed, "notices"))
    said = [" ".join(_word(draw, draw.randint(3, 9)) for _ in range(NOTICE_WORDS)) for _ in range(NOTICES)]
    return tuple(one.capitalize() + "." for one in said)


def _short(draw: random.Random, text: str) -> str:
    return " | ".join(draw.sample(_MENU, draw.randint(3, 8)))


def _repeated(draw: random.Random, text: str) -> str:
    sentence = draw.choice([line for line in text.split("\n") if len(line) > 20])
    return draw.choice("\n ").join([sentence] * draw.randint(15, 60))


def _symbols(draw: random.Random, text: str) -> str:
    return " ".join(f"#{word}" if draw.random() < 0.5 else word for word in text.split())


def _bullets(draw: random.Random, text: str) -> str:
    words = text.split()
    return "\n".join(f"- {' '.join(words[at : at + 4])}" for at in range(0, len(words), 4))


def _gibberish(draw: random.Random, text: str) -> str:
    return " ".join(_word(draw, draw.randint(3, 9)) for _ in range(draw.randint(80, 200)))


def _cookies(draw: random.Random, text: str) -> str:
    return "\n".join([text, *draw.sample(_COOKIES, 4)])


def _code(draw: random.Random, text: str) -> str:
    name = _word(draw, 5)
    return f"{text}\nfunction {name}(x) {{ var {name}_{draw.randint(1, 9)} = x; return x; }}\n{name}(1);"


_FAULTS: Mapping[str, Callable[[random.Random, str], str]] = {
    "short": _short, "repeated": _repeated, "symbols": _symbols, "bullets": _bullets, "gibberish": _gibberish,
    "cookies": _cookies, "code": _code,
}  # fmt: skip


def _copied(draw: random.Random, text: str) -> str:
    return draw.choice([text, text.upper(), text.replace("\n", "\n\n"), f"  {text}\n"])


def _changed(draw: random.Random, text: str) -> str:
    """Two words in a hundred are others: of runs of five words about nine in ten stay."""
    words = text.split(" ")
    for place in draw.sample(range(len(words)), max(1, len(words) // 50)):
        words[place] = _word(draw, 6)
    return " ".join(words)


def _personal(draw: random.Random, text: str) -> tuple[str, list[list[Any]]]:
    """One to three passages at ends of sentences, each with [kind, start, end] in code points."""
    spans: list[list[Any]] = []
    for _ in range(draw.randint(1, 3)):
        kind = draw.choice(("email", "phone", "ip"))
        if kind == "email":
            said = f"{_word(draw, 6)}.{_word(draw, 5)}@{draw.choice(_MAIL)}"
        elif kind == "phone":
            said = f"{draw.randint(200, 999)}-{draw.randint(200, 999)}-{draw.randint(1000, 9999)}"
        else:
            said = ".".join(str(draw.randint(1, 254)) for _ in range(4))
        ends = [at + 2 for at in range(len(text) - 2) if text[at : at + 2] == ". "]
        at = draw.choice(ends or [0])
        put = f"Write to {said} today. "
        spans = [[k, start + len(put) * (start >= at), end + len(put) * (start >= at)] for k, start, end in spans]
        spans.append([kind, at + len("Write to "), at + len("Write to ") + len(said)])
        text = text[:at] + put + text[at:]
    return text, sorted(spans, key=lambda span: span[1])


def _leaked(draw: random.Random, text: str, seed: int) -> tuple[str, int]:
    number = draw.randrange(ITEMS)
    lines = text.split("\n")
    lines.insert(draw.randint(0, len(lines)), items(seed)[number])
    return "\n".join(lines), number


def _paragraph(draw: random.Random, text: str, seed: int) -> tuple[str, list[list[Any]]]:
    put, lines = draw.choice(notices(seed)), text.split("\n")
    at = draw.randint(0, len(lines))
    start = sum(len(line) + 1 for line in lines[:at])
    return "\n".join([*lines[:at], put, *lines[at:]]), [["paragraph", start, start + len(put)]]


def _passage(draw: random.Random, text: str, other: str) -> tuple[str, list[list[Any]]]:
    start = draw.randint(0, max(len(other) - PASSAGE, 0))
    put, at = other[start : start + PASSAGE], draw.randint(0, len(text))
    return text[:at] + put + text[at:], [["passage", at, at + len(put)]]


def _word(draw: random.Random, length: int) -> str:
    return "".join(draw.choices(string.ascii_lowercase, k=length))
