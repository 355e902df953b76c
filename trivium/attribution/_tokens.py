"""Tokens as text that can be shown: every space, control character and half character is seen, none is obeyed."""

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from trivium.core.nouns import Attribution, Spelling, Target
from trivium.core.protocols import Tokenizer

LONGEST = 64
"""Characters of one token that are shown; the middle of a longer one is left out and counted."""

_MARKS = {" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍", "\u00a0": "⍽", "\u3000": "□"}
_JOINERS = {"\u200c", "\u200d"}
"""Characters without a shape of their own that scripts and emoji need between letters."""


def shown(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """One visible string per token, never empty; see ``visible`` and, for part of a character, its bytes: '⟨E2 80⟩'."""
    return [_token(tokenizer, id) for id in ids]


def spelling(tokenizer: Tokenizer, ids: Sequence[int], target: Target) -> Spelling:
    """How tokens read, together and each."""
    pieces = [_bytes(tokenizer, id) for id in ids]
    text = b"".join(pieces).decode("utf-8", "surrogateescape")
    widths = [len(character.encode("utf-8", "surrogateescape")) for character in text]
    of_byte = [place for place, width in enumerate(widths) for _ in range(width)]
    offsets, begin = [], 0
    for piece in pieces:
        end = begin + len(piece)
        nowhere = len(text) if begin == len(of_byte) else of_byte[begin]  # where a special token stands
        offsets.append((of_byte[begin], of_byte[end - 1] + 1) if piece else (nowhere, nowhere))
        begin = end
    answer, foil = (tuple(shown(tokenizer, tokens)) for tokens in (target.tokens, target.foils))
    return Spelling(text, tuple(offsets), tuple(shown(tokenizer, ids)), answer, foil)


def labelled(attribution: Attribution, tokenizer: Tokenizer | None) -> Attribution:
    """The attribution with its spelling, its own or by the tokenizer. Raises ValueError where there is neither."""
    if attribution.spelling is not None:
        return attribution
    if tokenizer is None:
        raise ValueError("how the tokens read is not known: give the tokenizer")
    return replace(attribution, spelling=spelling(tokenizer, attribution.ids.tolist(), attribution.target))


def visible(text: str) -> str:
    """Any string with its whitespace as marks, and what has no shape (controls, direction marks, lone surrogates) as
    pictures or code points, so that it reads the same wherever it is put."""
    out: list[str] = []
    for place, character in enumerate(text):
        if character in _MARKS:
            out.append(_MARKS[character])
        elif 0xDC80 <= ord(character) <= 0xDCFF:  # a byte that is no character, as decoded by surrogateescape
            byte = f"{ord(character) - 0xDC00:02X}"
            joined = place > 0 and 0xDC80 <= ord(text[place - 1]) <= 0xDCFF
            if joined:
                out[-1] = f"{out[-1][:-1]} {byte}⟩"
            else:
                out.append(f"⟨{byte}⟩")
        elif character in _JOINERS and 0 < place < len(text) - 1:
            out.append(character)
        elif ord(character) < 0x20:
            out.append(chr(0x2400 + ord(character)))
        else:
            kind = unicodedata.category(character)
            if kind[0] in "CZ":
                out.append(f"⟨U+{ord(character):04X}⟩")
            elif kind in ("Mn", "Me") and place == 0:  # a mark with nothing to sit on
                out.append("◌" + character)
            else:
                out.append(character)
    return "".join(out)


def clipped(text: str) -> str:
    """A long token with its middle left out: '[400 a]'-like tokens must not fill a page."""
    if len(text) <= LONGEST:
        return text
    head, tail = LONGEST * 2 // 3, LONGEST // 6
    return f"{text[:head]}⟨+{len(text) - head - tail}⟩{text[-tail:]}"


def direction(text: str) -> str:
    """'rtl' where the first letter with a direction runs from right to left, else 'ltr'."""
    for character in text:
        kind = unicodedata.bidirectional(character)
        if kind in ("L", "R", "AL"):
            return "ltr" if kind == "L" else "rtl"
    return "ltr"


def _token(tokenizer: Tokenizer, id: int) -> str:
    try:
        raw = tokenizer.bytes_of(id)
    except _UNKNOWN:
        return f"⟨id {id}⟩"
    spell = getattr(tokenizer, "spelt", tokenizer.decode)  # special tokens, too
    text = raw.decode("utf-8", "surrogateescape") if raw else spell([id])
    return clipped(visible(text)) or f"⟨special {id}⟩"


def _bytes(tokenizer: Tokenizer, id: int) -> bytes:
    try:
        return tokenizer.bytes_of(id)
    except _UNKNOWN:
        return b""


_UNKNOWN = (LookupError, ValueError, OverflowError)
"""What tokenizers raise for an id they lack: the model's vocabulary may be padded beyond the tokenizer's."""
