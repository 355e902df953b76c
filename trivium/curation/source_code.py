"""Rules for source code: lengths of lines, letters, comments, XML, HTML without text, generated files, notices.

Source
    Six published readings. ``codeparrot``: Tunstall et al., the CodeParrot script, after Chen et al. 2021, "Codex",
    arXiv:2107.03374. ``redpajama``: RedPajama-Data 1, its GitHub scripts. ``santacoder``: Ben Allal et al. 2023,
    arXiv:2301.03988. ``starcoder``: Li et al. 2023, arXiv:2305.06161; both with the code of bigcode-dataset.
    ``deepseek_coder``: Guo et al. 2024, arXiv:2401.14196, section 2.1. ``dolma``: Soldaini et al. 2024,
    arXiv:2402.00159, its code taggers and the bounds of its mixing script.
Equation
    drop where  longest line > 1000  or  mean line > 100  or  letters and digits < 0.25 of the characters,
    and by reading  letters / words < 1.5,  "<?xml version=" among the first 100 characters,
    characters in comments <= 0.01 or > 0.8 (Python, Java, JavaScript),  text that HTML shows <= 0.2 of it
Shapes
    texts (documents,) -> a number per document and measure, spans of the notice that a text begins with
Cost
    A few passes over a text, and of Python, Java and JavaScript one by the lexer of pygments. What would take a lexer
    long is not lexed, and its share of comments is missing: more than a million characters, a line of more than 10,000,
    more than 100 comments that are begun and never ended.
Caveats
    The language is what the metadata say (``language`` or ``lang``, else the end of ``ext``, ``path`` or the document's
    id, which of a plain file is its name), else what is given; where nobody says, rules about a language drop nothing.
    The bounds of the codes were checked there; of StarCoder's paper, that XSLT may be XML and data may have 50
    characters (its script: 100) is as others report it. Left out: StarCoder's other bounds for single extensions,
    stars, and characters per token of a tokenizer. The tokens of RedPajama's tokenizer are words and runs of signs
    here, as Dolma's are, which counts one more. Comments are what the lexer calls so, with docstrings; the published
    code parses Python instead. ``opening`` is the run of comments and empty lines a text begins with, whatever they
    say: that ``#include`` lines and the line of the interpreter go too is as published. Dolma's tagger ends it too
    early, by a character a line; not so here. Numbers are those of the text before it is cut.
"""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
from pygments.lexer import Lexer
from pygments.lexers import find_lexer_class_by_name, find_lexer_class_for_filename
from pygments.token import Comment, String
from pygments.util import ClassNotFound

from trivium.core.method import method
from trivium.curation._bounds import Bound, drops
from trivium.data.marks import Marks, Span, Texts
from trivium.data.rules import Cut, Drop, Rules

LEXED, LONGEST_LINE, UNENDED = 1_000_000, 10_000, 100
"""Characters of a text, characters of a line and comments without an end above which a text is not lexed."""
COMMENTED, DATA = ("Python", "Java", "JavaScript"), ("JSON", "YAML")
"""Languages whose comments are judged, and whose files are mostly data; as pygments calls them."""
TOP = 5
"""Lines in which a generated file says so."""

_LINES = (Bound("max_line_length", most=1000), Bound("mean_line_length", most=100))
_ALPHANUMERIC = Bound("alphanumeric_share", 0.25)
_REDPAJAMA = (_LINES[0], Bound("characters_per_line", most=100), _ALPHANUMERIC, Bound("letters_per_word", 1.5))
_NO_XML_BUT_XSLT = ("xml_header", "{0}.xml_header > 0 and {0}.is_xslt < 1")
_RULES: Mapping[str, tuple[tuple[Bound, ...], tuple[tuple[str, str], ...]]] = {
    "codeparrot": ((*_LINES, _ALPHANUMERIC, Bound("generated", most=0)), ()),
    "redpajama": (_REDPAJAMA, ()),
    "santacoder": (
        (*_LINES, _ALPHANUMERIC),
        (("comment_share", "{0}.comment_share <= 0.01 or {0}.comment_share >= 0.8"),),
    ),
    "starcoder": (
        (*_LINES, _ALPHANUMERIC, Bound("visible_share", 0.2, touching=True),
         Bound("visible_characters", 100, touching=True)),
        (_NO_XML_BUT_XSLT, ("data_size", "{0}.is_data > 0 and ({0}.characters < 50 or {0}.characters > 5000)")),
    ),
    "deepseek_coder": (
        (*_LINES, Bound("alphabetic_share", 0.25), Bound("visible_share", 0.2), Bound("visible_characters", 100)),
        (_NO_XML_BUT_XSLT, ("data_size", "{0}.is_data > 0 and ({0}.characters < 50 or {0}.characters > 5000)")),
    ),
    "dolma": (
        (*_LINES, _ALPHANUMERIC, Bound("letters_per_word", 1.5), Bound("xml_header", most=0),
         Bound("visible_share", 0.2, touching=True), Bound("visible_characters", 100, touching=True)),
        (("comment_share", "{0}.comment_share <= 0.01 or {0}.comment_share > 0.8"),),
    ),
}  # fmt: skip
_CUT = ("redpajama", "dolma")
_WORDS = re.compile(r"\w+|[^\w\s]+")
_GENERATED = re.compile(r"auto-?generated|automatically generated", re.IGNORECASE)
_NOTICE = re.compile(r"copyright|licen[cs]e|spdx", re.IGNORECASE)
_UNSEEN = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1\s*+>|\Z)|<[/!?a-z][^>]*(?:>|\Z)", re.IGNORECASE | re.DOTALL
)
_BLANK = re.compile(r"^[^\S\n]+$", re.MULTILINE)
_NUMBERS = (
    "characters", "max_line_length", "mean_line_length", "characters_per_line", "alphanumeric_share",
    "alphabetic_share", "letters_per_word", "xml_header", "generated", "notice", "is_xslt", "is_data", "comment_share",
    "visible_share", "visible_characters",
)  # fmt: skip


@method(title="Rules for source code", source="arXiv:2402.00159", year=2024)
@dataclass(frozen=True)
class SourceCode:
    """Rules of thumb about files of code."""

    variant: Literal["codeparrot", "redpajama", "santacoder", "starcoder", "deepseek_coder", "dolma"] = "dolma"
    """Whose rules."""
    language: str = ""
    """What documents are written in whose metadata do not say, by a name that pygments knows, such as python."""

    def __post_init__(self) -> None:
        if self.variant not in _RULES:
            raise ValueError(f"variant must be one of {', '.join(_RULES)}; got {self.variant!r}")
        if self.language and _named(self.language) is None:
            raise ValueError(
                f"pygments knows no language {self.language!r}; run pygmentize -L lexers for those it knows, or leave "
                "language empty for documents whose metadata say"
            )

    @property
    def depends(self) -> str:
        """The lexers' package and version, which shares of comments depend on."""
        return f"pygments {version('pygments')}"

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(_NUMBERS)

    @property
    def marks(self) -> frozenset[str]:
        return frozenset(("copyright", "opening"))

    @property
    def rules(self) -> Rules:
        bounds, more = _RULES[self.variant]
        named = tuple(Drop(f"source_code.{name}", condition.format("source_code")) for name, condition in more)
        cuts = tuple(Cut(f"source_code.{name}") for name in sorted(self.marks)) if self.variant in _CUT else ()
        return Rules((*drops("source_code", bounds), *named), cuts)

    def tag(self, texts: Texts) -> Marks:
        """Numbers of a language that a text is not in, or that nobody names, are missing; those that say whether it is
        in one are 0 then. Shares of an empty text are 0."""
        rows, spans = [], {name: list[list[Span]]() for name in self.marks}
        for id, text, metadata in zip(texts.ids, texts.texts, texts.metadata, strict=True):
            block, opening = _header(text)
            spans["copyright"].append([(*span, 1.0) for span in block if "copyright" in text[slice(*span)].lower()])
            spans["opening"].append([(*span, 1.0) for span in opening])
            said = any(_NOTICE.search(text, *span) for span in (*block, *opening))
            rows.append(
                {**_plain(text), "notice": said, **_of_language(text, _language(id, metadata) or self.language)}
            )
        numbers = {name: np.array([row.get(name, np.nan) for row in rows], float) for name in _NUMBERS}
        return Marks(len(texts), numbers, spans)


def _plain(text: str) -> dict[str, float]:
    """What needs no language."""
    lines, count = text.splitlines(), max(len(text), 1)
    lengths, letters = [len(line) for line in lines], sum(map(str.isalpha, text))
    return {
        "characters": len(text),
        "max_line_length": max(lengths, default=0),
        "mean_line_length": sum(lengths) / max(len(lines), 1),
        "characters_per_line": len(text) / max(len(lines), 1),
        "alphanumeric_share": sum(map(str.isalnum, text)) / count,
        "alphabetic_share": letters / count,
        "letters_per_word": letters / max(sum(1 for _ in _WORDS.finditer(text)), 1),
        "xml_header": "<?xml version=" in text[:100],
        "generated": any(_GENERATED.search(line) for line in lines[:TOP]),
    }


def _of_language(text: str, language: str) -> dict[str, float]:
    lexer = _named(language) if language else None
    name = lexer.name if lexer else ""
    found: dict[str, float] = {"is_xslt": name == "XSLT", "is_data": name in DATA}
    if lexer and name in COMMENTED and _is_quick(text):
        found["comment_share"] = _commented(lexer, text) / max(len(text), 1)
    if name == "HTML":
        found["visible_characters"] = len(html.unescape(_UNSEEN.sub("", text)))
        found["visible_share"] = found["visible_characters"] / max(len(text), 1)
    return found


def _is_quick(text: str) -> bool:
    """Whether lexers, whose rules look ahead for ends that may not be there, take time in proportion to the text."""
    return (
        len(text) <= LEXED
        and max(map(len, text.split("\n"))) <= LONGEST_LINE
        and text.count("/*", text.rfind("*/") + 1) <= UNENDED
    )


def _commented(lexer: type[Lexer], text: str) -> int:
    """Characters of comments and docstrings."""
    text = _BLANK.sub("", text)  # each of many such lines would be looked at from every one before it
    return sum(
        len(value)
        for _, kind, value in lexer().get_tokens_unprocessed(text)  # type: ignore[attr-defined]
        if kind in String.Doc or (kind in Comment and kind not in Comment.Preproc and kind not in Comment.PreprocFile)
    )


def _language(id: str, metadata: Mapping[str, Any]) -> str:
    """As the metadata call it, or as the end of a name tells, or ""; a code of two letters is of a natural language."""
    for key in ("language", "lang"):
        said = metadata.get(key)
        if isinstance(said, str) and len(said) > 2 and _named(said):
            return said
    ext, path = metadata.get("ext"), metadata.get("path")
    for said, dot in ((ext, ""), (path, "."), (id, ".")):
        if isinstance(said, str) and dot in said and (found := _ending(said.rpartition(".")[2].lower())):
            return found
    return ""


@lru_cache(1024)
def _named(language: str) -> type[Lexer] | None:
    try:
        return find_lexer_class_by_name(language.strip().lower())
    except ClassNotFound:
        return None


@lru_cache(1024)
def _ending(ext: str) -> str:
    """The language of files that end so, by a name that ``_named`` knows."""
    lexer = find_lexer_class_for_filename(f"file.{ext}") if ext.isalnum() else None
    return lexer.aliases[0] if lexer and lexer.aliases else ""


def _header(text: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The first comment between /* and */; without any, the lines of comments and the empty ones at the top."""
    start = text.find("/*")
    end = text.find("*/", start + 2) if start >= 0 else -1
    if end >= 0:
        return [(start, end + 2)], []
    at = 0
    while at < len(text) and text.startswith(("//", "#", "--", "\n"), at):
        at = text.find("\n", at) + 1 or len(text)
    return [], [(0, at)] if at else []
