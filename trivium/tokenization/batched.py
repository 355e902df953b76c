"""Many texts to ids at once: the same ids as ``tokenizer.encode``, faster.

    encode = encoder(tokenizer)
    encode(["one text", "another"])  # an array of ids for each

A byte-level BPE merges within words alone, and most words of a text were met before: their ids are looked up. Where a
word surely begins is known for the ways of splitting in ``SPLITS``: at a space with no other white space at its sides,
for no pattern among them has a space anywhere but at the front of a match or in a run of white space. Whatever else
there is (other ways of splitting, texts that spell an added token) goes through the library, many texts at once.
"""

import json
import re
import unicodedata
from array import array
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trivium.core.protocols import Tokenizer
from trivium.tokenization._bytes import bytes_of_text, without_surrogates
from trivium.tokenization.byte import ByteTokenizer
from trivium.tokenization.huggingface import HuggingFaceTokenizer
from trivium.tokenization.transforms import ARITHMETIC, CaseTokenizer, mark_case

Ids = NDArray[np.uint32]
Encode = Callable[[Sequence[str]], list[Ids]]
"""Texts -> (tokens,) of each."""

REMEMBERED = 1 << 20
"""Words that are remembered; when there are more, all are forgotten."""
WORD = 48
"""Characters of the longest word that is remembered: longer ones hardly come again."""
SPLITS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
}
"""Patterns that begin a new match at every lone space."""
_LONE = re.compile("(?<![\\s\u180e]) (?![\\s\u180e])")
"""A space with no white space beside it; U+180E counted as such before Unicode 6.3."""


def encoder(tokenizer: Tokenizer) -> Encode:
    """The fastest way to encode many texts that gives what ``tokenizer.encode`` gives."""
    if isinstance(tokenizer, CaseTokenizer):
        below = encoder(tokenizer.below)
        return lambda texts: below([mark_case(text) for text in texts])
    if isinstance(tokenizer, ByteTokenizer):
        return lambda texts: [np.frombuffer(bytes_of_text(text), np.uint8).astype(np.uint32) for text in texts]
    backend = (
        getattr(tokenizer.inner, "backend_tokenizer", None) if isinstance(tokenizer, HuggingFaceTokenizer) else None
    )
    if backend is None:
        return lambda texts: [np.array(tokenizer.encode(text), np.uint32) for text in texts]
    plain = type(backend).from_str(backend.to_str())
    plain.no_truncation()
    plain.no_padding()
    plain.encode_special_tokens = backend.encode_special_tokens
    said = json.loads(backend.to_str())
    return _Words(plain, said) if splits_at_spaces(said) else lambda texts: _library(plain, texts)


def splits_at_spaces(said: dict[str, Any]) -> bool:
    """Whether a tokenizer, as its file says, is a byte-level BPE that begins a new word at every lone space."""
    model, normalizer = said["model"], said["normalizer"]
    if model.get("type") != "BPE" or model.get("dropout") or normalizer not in (None, {"type": "NFC"}):
        return False
    pre = said["pre_tokenizer"] or {}
    steps = pre["pretokenizers"] if pre.get("type") == "Sequence" else [pre]
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return False
    patterns = [_isolated(step) for step in steps[:-1] if step.get("type") != "Digits"]
    words = [pattern for pattern in patterns if pattern != ARITHMETIC]  # which, like Digits, cuts more, never less
    return bool(words or steps[-1].get("use_regex", True)) and all(pattern in SPLITS.values() for pattern in words)


def _isolated(step: dict[str, Any]) -> str | None:
    """The pattern whose matches a step makes words of; None where it does something else."""
    plain = step.get("type") == "Split" and step.get("behavior") == "Isolated" and not step.get("invert")
    return step.get("pattern", {}).get("Regex") if plain else None


def _library(backend: Any, texts: Sequence[str]) -> list[Ids]:
    if not texts:
        return []
    made = backend.encode_batch_fast([without_surrogates(text) for text in texts], add_special_tokens=False)
    return [np.array(one.ids, np.uint32) for one in made]


class _Words:
    """Word by word, those met before from memory."""

    def __init__(self, backend: Any, said: dict[str, Any]) -> None:
        self.backend, self.composed = backend, said["normalizer"] is not None
        self.added = [token["content"] for token in said["added_tokens"]]
        self.first: dict[str, bytes] = {}
        self.spaced: dict[str, bytes] = {}
        """Words by themselves, and words behind a space."""

    def __call__(self, texts: Sequence[str]) -> list[Ids]:
        split = {place: _LONE.split(text) for place, text in enumerate(texts) if self._plain(text)}
        long = self._learn(split.values())
        first, spaced = self.first.__getitem__, self.spaced.__getitem__
        found = {
            place: np.frombuffer(first(word) + b"".join(map(spaced, others)), np.uint32)
            for place, (word, *others) in split.items()
        }
        for known, word in long:
            del known[word]
        rest = [place for place in range(len(texts)) if place not in found]
        found |= zip(rest, _library(self.backend, [texts[place] for place in rest]), strict=True)
        return [found[place] for place in range(len(texts))]

    def _plain(self, text: str) -> bool:
        """Whether the text is made of words alone: no added token is spelt in it, and it is normal already."""
        if any(token in text for token in self.added):
            return False
        if self.composed and not unicodedata.is_normalized("NFC", text):
            return False
        return text.isascii() or without_surrogates(text) == text

    def _learn(self, split: Collection[Sequence[str]]) -> list[tuple[dict[str, bytes], str]]:
        """Encode the words that are new, all together; which of them are too long to be kept."""
        if len(self.first) + len(self.spaced) > REMEMBERED:
            self.first, self.spaced = {}, {}
        first = {words[0] for words in split} - self.first.keys()
        spaced = set().union(*(words[1:] for words in split)) - self.spaced.keys()
        new = [*((self.first, word, word) for word in first), *((self.spaced, word, f" {word}") for word in spaced)]
        made = self.backend.encode_batch_fast([text for *_, text in new], add_special_tokens=False) if new else []
        for (known, word, _), one in zip(new, made, strict=True):
            known[word] = array("I", one.ids).tobytes()
        return [(known, word) for known, word, _ in new if len(word) > WORD]
