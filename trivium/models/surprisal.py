"""What the words of a text cost: tokens found again in the text by their bytes, and added up word by word.

    bits of a token  = - log2 p(token | all before it);    bits of a word = sum over the tokens that belong to it
    bits of a border = - log2 p(the next token begins with a space, or the text ends | all before it)

A token belongs to the word in which its first byte stands that is no space; one of spaces alone to the word behind it.
So every token belongs to one word, and the words of a text cost what the text does.

    corrected bits of a word = its bits + those of the border behind it - those of the border before it

for a vocabulary that writes a space at the beginning of a word: there p(word) should say that the word ends, and not
that the one before it has ended (Pimentel and Meister 2024, arXiv:2406.14561; Oh and Schuler 2024, arXiv:2406.10851).
The first word of a text has no border before it, so that all corrections together come to the last border.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from trivium.core.errors import NotFinite
from trivium.core.protocols import Tokenizer
from trivium.models.scoring import prefix
from trivium.models.system import System

Span = tuple[int, int]
LENGTH = 2048
"""Tokens that are looked back on at most, where the model takes more."""
SPACES = b" \t\n\r\x0b\x0c"


@dataclass(frozen=True)
class Surprisal:
    """The tokens of one text. ``spans``: where each stands in its UTF-8 bytes; ``bits`` (tokens,); ``borders``
    (tokens + 1,): before each token, and behind the last."""

    text: str
    ids: tuple[int, ...]
    spans: tuple[Span, ...]
    bits: Tensor
    borders: Tensor

    def words(self, words: Sequence[Span], *, corrected: bool = False) -> Tensor:
        """(words,) bits, of words that stand there in the text's characters, in order and spaces between them.

        Raises ValueError for a word that has no token of its own.
        """
        owner = torch.tensor(owners(self.text, self.spans, words))
        counts = torch.bincount(owner, minlength=len(words))
        if (counts == 0).any():
            at = int((counts == 0).nonzero()[0])
            raise ValueError(
                f"word {at}, {self.text[slice(*words[at])]!r}, has no token of its own; this tokenizer joins it with "
                "the word before, so give the two as one"
            )
        found = torch.zeros(len(words), dtype=torch.float64).index_add(0, owner, self.bits)
        if not corrected:
            return found
        last = counts.cumsum(0)
        behind, before = self.borders[last], self.borders[last - counts].clone()
        before[0] = 0.0
        return found + behind - before


def token_spans(tokenizer: Tokenizer, text: str, ids: Sequence[int]) -> tuple[Span, ...]:
    """Where each token stands in the text's bytes. Raises ValueError where the tokens do not spell the text."""
    pieces = [tokenizer.bytes_of(id) for id in ids]
    whole, said = text.encode("utf-8", "surrogatepass"), b"".join(pieces)
    extra = 1 if said == b" " + whole else 0  # some vocabularies put a space before every text
    if said[extra:] != whole:
        raise ValueError(f"these tokens spell {said[:40]!r}, not the text {whole[:40]!r}; its words cannot be told")
    spans, at = [], -extra
    for piece in pieces:
        spans.append((max(at, 0), max(at + len(piece), 0)))
        at += len(piece)
    return tuple(spans)


def in_bytes(text: str, spans: Sequence[Span]) -> list[Span]:
    """Places in characters as places in UTF-8 bytes."""
    ends = [0]
    for character in text:
        ends.append(ends[-1] + len(character.encode("utf-8", "surrogatepass")))
    return [(ends[start], ends[stop]) for start, stop in spans]


def owners(text: str, tokens: Sequence[Span], words: Sequence[Span]) -> list[int]:
    """Which word each token belongs to."""
    if not words:
        raise ValueError("there is no word to find tokens of; give where the words stand")
    whole, places = text.encode("utf-8", "surrogatepass"), in_bytes(text, words)
    found, at = [], 0
    for start, stop in tokens:
        piece = whole[start:stop]
        first = start + len(piece) - len(piece.lstrip(SPACES)) if piece.strip(SPACES) else start
        while at < len(places) - 1 and first >= places[at][1]:
            at += 1
        found.append(at)
    return found


def within(tokens: Sequence[Span], places: Sequence[Span], text: str) -> list[list[int]]:
    """For each place in the text's characters the tokens that have a part of it.

    Raises ValueError for a place that is empty, outside the text, or has none.
    """
    for start, stop in places:
        if not 0 <= start < stop <= len(text):
            raise ValueError(f"characters {start} to {stop} are no place in a text of {len(text)}")
    found = [
        [at for at, (begin, end) in enumerate(tokens) if begin < stop and end > start]
        for start, stop in in_bytes(text, places)
    ]
    for place, mine in zip(places, found, strict=True):
        if not mine:
            raise ValueError(f"{text[slice(*place)]!r} is in none of the text's tokens")
    return found


def surprisals(system: System, texts: Sequence[str], *, length: int = LENGTH, batch_size: int = 4) -> list[Surprisal]:
    """What every token of each text costs, given all before it, or at least the last half of ``length`` tokens.

    Raises ValueError for an empty text, NotFinite where the model gives no likelihood.
    """
    if length < 2 or batch_size < 1:
        raise ValueError(f"length must be at least 2 and batch_size 1, got {length} and {batch_size}")
    most = system.model.max_positions
    length = length if most is None else min(length, most)
    opening = list(getattr(system.tokenizer, "opening", ()))
    rows: list[list[int]] = []
    for number, text in enumerate(texts):
        ids = system.tokenizer.encode(text)
        ids = ids[len(opening) :] if opening and ids[: len(opening)] == opening else ids
        if not ids:
            raise ValueError(f"text {number} is empty: {text!r}")
        rows.append([*(opening or [prefix(system)]), *ids])
    skip = max(len(opening), 1)
    # The last place of a text predicts no token, but says whether the text may end there.
    windows = [(row, *each) for row, ids in enumerate(rows) for each in _windows(len(ids), skip, length)]
    windows.sort(key=lambda window: window[1] - window[2])
    bits = [torch.zeros(len(ids) - skip, dtype=torch.float64) for ids in rows]
    borders = [torch.zeros(len(ids) - skip + 1, dtype=torch.float64) for ids in rows]
    ends = _ends(system)
    was = system.model.training
    system.model.eval()
    try:
        for begin in range(0, len(windows), batch_size):
            some = windows[begin : begin + batch_size]
            for (row, _, stop, first), (costs, border) in zip(some, _pass(system, rows, some, ends), strict=True):
                at = first - skip + 1
                bits[row][at : at + len(costs)] = costs
                borders[row][at : at + stop - first] = border
    finally:
        system.model.train(was)
    for row, each in enumerate(bits):
        if not (each.isfinite().all() and borders[row].isfinite().all()):
            raise NotFinite(f"{system.name} gives no finite likelihood to text {row}; its weights are damaged")
    return [
        Surprisal(
            text,
            tuple(rows[row][skip:]),
            token_spans(system.tokenizer, text, rows[row][skip:]),
            bits[row],
            borders[row],
        )
        for row, text in enumerate(texts)
    ]


Window = tuple[int, int, int]


def _windows(count: int, skip: int, length: int) -> list[Window]:
    """Start, stop and the first place that is read in it, so that each place from ``skip - 1`` on is read once."""
    stop = min(length, count)
    found, done = [(0, stop, skip - 1)], stop
    while done < count:
        stop = min(done + max(length // 2, 1), count)
        found.append((max(stop - length, 0), stop, done))
        done = stop
    return found


@torch.no_grad()
def _pass(
    system: System, rows: Sequence[list[int]], some: Sequence[tuple[int, int, int, int]], ends: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Of each window the bits of the tokens behind its places, and of the borders there."""
    model = system.model
    width = max(stop - start for _, start, stop, _ in some)
    ids = torch.tensor(
        [rows[row][start:stop] + [0] * (width - stop + start) for row, start, stop, _ in some], device=model.device
    )
    mask = None
    if any(stop - start < width for _, start, stop, _ in some):
        lengths = torch.tensor([stop - start for _, start, stop, _ in some], device=model.device)
        mask = torch.arange(width, device=model.device) < lengths[:, None]  # nothing sees what stands to the right
    logits = model(ids, mask=mask).logits
    found = []
    for place, (row, start, stop, first) in enumerate(some):
        wide = logits[place, first - start : stop - start]
        wide = wide.to(torch.promote_types(wide.dtype, torch.float32))
        mass = wide.logsumexp(-1)
        targets = torch.tensor(rows[row][first + 1 : stop + 1], device=model.device)
        costs = mass[: len(targets)] - wide[: len(targets)].gather(1, targets[:, None])[:, 0]
        border = mass - wide[:, ends.to(wide.device)].logsumexp(-1)
        found.append(tuple((each.double() / math.log(2)).clamp(min=0.0).cpu() for each in (costs, border)))
    return found


def _ends(system: System) -> Tensor:
    """The tokens after which a word has ended: those that begin with a space, and those that end a text."""
    return _spaced(system.tokenizer, tuple(system.stop.tokens))


@lru_cache(maxsize=4)
def _spaced(tokenizer: Tokenizer, stops: tuple[int, ...]) -> Tensor:
    spaced = [id for id in range(tokenizer.vocab_size) if tokenizer.bytes_of(id)[:1].strip(SPACES) == b""]
    spaced = [id for id in spaced if tokenizer.bytes_of(id)]
    if not spaced:
        raise ValueError("no token of this vocabulary begins with a space, so that no border of words can be told")
    return torch.tensor(sorted({*spaced, *stops}))
