"""Rules of thumb for web text: what they measure in a document.

What is dropped for it is decided elsewhere, by ``data.rules``; the published bounds stand with the methods of the kind
curation. One rule means different things in different published toolkits; each reading has its own name here, and none
is the silent default.

Source
    Rae et al. 2021 (Gopher, arXiv:2112.11446, table A1), Raffel et al. 2020 (C4, arXiv:1910.10683), Soldaini et al.
    2024 (Dolma, arXiv:2402.00159) and Penedo et al. 2024 (FineWeb, arXiv:2406.17557), as the published code of Dolma
    1.2.1 and datatrove reads them.
Variants
    gopher_dolma_v1, gopher_dolma_v2: words between blanks; every copy of a repeated line or run counts; shares are of
        the characters that are not blank; v1 takes empty lines as lines, v2 does not. Shares above 1 occur.
    gopher_datatrove: words of a linguistic tokenizer, which the caller gives; only later copies count, and repeated
        runs without overlap; shares are of all characters.
    c4_dolma_v1, c4_dolma_v2: spans of lines and of whole documents; "javascript" is a word in v1, any part in v2.
    c4: the rules of the paper, where one brace anywhere drops the page.
    c4_datatrove: line by line in a fixed order, so that a brace on a line that fell before does not drop the page.
    fineweb, fineweb_first: lines that end in punctuation, short lines, repeated lines, line breaks; the first release
        also counted blank lines.
Caveats
    An empty document has every number at 0, where some published code raises. Offsets count code points of the text as
    given, where Dolma's second C4 tagger counts those of the lower-cased text. Sentences are counted by a pattern, not
    by a model, unless the caller counts them. Symbols are those of Unicode, FineWeb's end marks ``. ' " ! ?``, where
    datatrove has longer lists of its own. No list of bad words is shipped: without one, nobody has looked.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from trivium.core.errors import UnknownName, did_you_mean
from trivium.data._c4_rules import LINE_FAULTS, PAGE_FAULTS, Span, c4, c4_dolma, kept_lines, sentences
from trivium.data._gopher_rules import MOST_COMMON, REPEATED, fineweb, gopher_datatrove, gopher_dolma

__all__ = [
    "DECLARED",
    "LINE_FAULTS",
    "MOST_COMMON",
    "PAGE_FAULTS",
    "REPEATED",
    "Attributes",
    "Span",
    "kept_lines",
    "measure",
    "sentences",
]


@dataclass(frozen=True)
class Attributes:
    """What was measured in one document. A number that needs more words than there are is absent."""

    variant: str
    numbers: Mapping[str, float]
    spans: Mapping[str, tuple[Span, ...]]


_DOLMA = [
    "character_count",
    "word_count",
    "median_word_length",
    "symbol_to_word_ratio",
    "fraction_of_words_with_alpha_character",
    "required_word_count",
    "fraction_of_lines_starting_with_bullet_point",
    "fraction_of_lines_ending_with_ellipsis",
    "fraction_of_duplicate_lines",
    "fraction_of_characters_in_duplicate_lines",
    *(f"fraction_of_characters_in_most_common_{n}grams" for n in MOST_COMMON),
    *(f"fraction_of_characters_in_duplicate_{n}grams" for n in REPEATED),
]
_DATATROVE = [
    "n_words",
    "n_non_symbol_words",
    "mean_non_symbol_word_length",
    "hash_ratio",
    "ellipsis_ratio",
    "bullet_line_ratio",
    "ellipsis_line_ratio",
    "alpha_word_ratio",
    "distinct_stop_words",
    "dup_para_frac",
    "dup_para_char_frac",
    "dup_line_frac",
    "dup_line_char_frac",
    *(f"top_{n}_gram" for n in MOST_COMMON),
    *(f"duplicated_{n}_n_grams" for n in REPEATED),
]
_C4_DOLMA = [
    "line_count",
    "lines_with_no_ending_punctuation",
    "lines_with_too_few_words",
    "has_naughty_word",
    "has_javascript",
    "has_lorem_ipsum",
    "has_curly_brace",
]
_FINEWEB = ["line_count", "line_punct_ratio", "short_line_ratio", "char_dup_ratio", "list_ratio"]

DECLARED: dict[str, frozenset[str]] = {
    "gopher_dolma_v1": frozenset(_DOLMA),
    "gopher_dolma_v2": frozenset(_DOLMA),
    "gopher_datatrove": frozenset(_DATATROVE),
    "c4_dolma_v1": frozenset(_C4_DOLMA),
    "c4_dolma_v2": frozenset(_C4_DOLMA),
    "c4": frozenset(
        [
            "line_count",
            "sentences",
            "curly_brace",
            "lorem_ipsum",
            "bad_words",
            "no_terminal_punctuation",
            "too_few_words",
            "javascript",
        ]
    ),
    "c4_datatrove": frozenset(("line_count", "sentences", *LINE_FAULTS)),
    "fineweb": frozenset(_FINEWEB),
    "fineweb_first": frozenset(_FINEWEB),
}
"""Names that a variant measures. A rule about another one is an error, where published mixes let it never fire."""


def measure(
    text: str,
    variant: str,
    *,
    words: Sequence[str] | None = None,
    bad_words: Collection[str] | None = None,
    count: Callable[[str], int] = sentences,
) -> Attributes:
    """What this variant measures in the text.

    ``words``: as a linguistic tokenizer gives them, which "gopher_datatrove" insists on and "fineweb" takes words
    between blanks without. ``bad_words``: in small letters, for the C4 variants of Dolma and the paper. ``count``: of
    the sentences in a line. Raises UnknownName for a variant that is none, ValueError for missing words.
    """
    if variant not in DECLARED:
        raise UnknownName(f"no variant of quality rules named {variant!r}{did_you_mean(variant, DECLARED)}")
    numbers: dict[str, float] = {}
    spans: dict[str, list[Span]] = {}
    if variant == "gopher_datatrove":
        if words is None:
            raise ValueError("gopher_datatrove counts the words of a linguistic tokenizer; give them as words=")
        numbers = gopher_datatrove(text, words)
    elif variant.startswith("gopher"):
        numbers = gopher_dolma(text, text.split("\n") if variant.endswith("v1") else re.split(r"\n+", text))
    elif variant.startswith("c4_dolma"):
        spans = c4_dolma(text, variant.endswith("v2"), bad_words)
    elif variant.startswith("c4"):
        numbers, spans = c4(text, variant, bad_words, count)
    else:
        numbers = fineweb(text, text.split() if words is None else words, blank=variant == "fineweb_first")
    return Attributes(variant, numbers, {name: tuple(found) for name, found in spans.items()})
