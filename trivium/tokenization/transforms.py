"""Reversible changes of text before it is cut into tokens, as in the tokenizer study of mGPT (arXiv:2204.07580).

    case        "The CAT" -> "^the ^^cat" with markers that no text has: a capitalised word and a word in capitals share
                the tokens of the word in small letters. A word that would not come back exactly stays as it is.
    arithmetic  every digit and sign of arithmetic is a token of its own; the text stays what it was

The markers are three code points of a private use area; where a text has one of them, a fourth escapes it.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from trivium.core import files
from trivium.core.protocols import Tokenizer

Transform = Literal["none", "case", "arithmetic", "combined"]

TITLE, UPPER, ESCAPE = "\ue0c1", "\ue0c2", "\ue0c3"
MARKERS = TITLE + UPPER + ESCAPE
ARITHMETIC = r"\p{Nd}|[+\-*/=<>^%×÷]"
"""What stands alone, in the syntax of the tokenizers library."""

_LETTERS = re.compile(r"[^\W\d_]+")
_MARKED = re.compile(rf"{ESCAPE}([{MARKERS}])|([{MARKERS}])([^\W\d_]*)")
_TO_MARK = re.compile(rf"[{MARKERS}]|[^\W\d_]+")


def check_transform(transform: str) -> None:
    """Raise ValueError for no transform."""
    if transform not in get_args(Transform):
        raise ValueError(f"transform must be one of {', '.join(get_args(Transform))}; got {transform!r}")


def mark_case(text: str) -> str:
    """Words in capitals, and words that begin with one, as markers and small letters."""

    def marked(match: re.Match[str]) -> str:
        word = match[0]
        if word in MARKERS:
            return ESCAPE + word
        if len(word) > 1 and word.isupper():
            return _kept(UPPER, word.lower(), word)
        if word[0].lower() != word[0] and word[1:] == word[1:].lower():
            return _kept(TITLE, word[0].lower() + word[1:], word)
        return word

    return _TO_MARK.sub(marked, text)


def _kept(marker: str, small: str, word: str) -> str:
    """The marked word, if it can be read back."""
    whole = _LETTERS.fullmatch(small) is not None
    return marker + small if whole and _raised(marker, small) == word else word


def _raised(marker: str, small: str) -> str:
    return small.upper() if marker == UPPER else small[:1].upper() + small[1:]


def unmark_case(text: str) -> str:
    """The inverse of ``mark_case``. A marker that marks nothing, as at the end of a text that is being written, is left
    out."""
    return _MARKED.sub(lambda match: match[1] or (_raised(match[2], match[3]) if match[3] else ""), text)


class CaseTokenizer:
    """A tokenizer behind ``mark_case``. The bytes of a token are those of its small letters, and a marker has none: the
    bytes of tokens add up to the text up to case."""

    def __init__(self, inner: Tokenizer) -> None:
        self.below: Any = inner
        self.vocab_size = inner.vocab_size
        self.bos, self.eos, self.pad = inner.bos, inner.eos, inner.pad

    @property
    def inner(self) -> Any:
        """The Hugging Face tokenizer below."""
        return self.below.inner

    @property
    def opening(self) -> tuple[int, ...]:
        return tuple(getattr(self.below, "opening", ()))

    def encode(self, text: str) -> list[int]:
        return self.below.encode(mark_case(text))

    def decode(self, ids: Sequence[int]) -> str:
        return unmark_case(self.below.decode(ids))

    def bytes_of(self, id: int) -> bytes:
        data = self.below.bytes_of(id)
        for marker in MARKERS:
            data = data.replace(marker.encode(), b"")
        return data

    def save(self, folder: str | Path) -> None:
        self.below.save(folder)
        path = Path(folder) / "tokenizer_config.json"
        said = json.loads(path.read_text(encoding="utf-8"))
        files.write(path, json.dumps(said | {"trivium_transform": "case"}, indent=2) + "\n")
