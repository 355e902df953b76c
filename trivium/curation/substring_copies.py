"""Substring copies: of every passage of so many characters or words that stands twice, one copy stays, wherever it is.

Source
    Lee et al. 2022, "Deduplicating Training Data Makes Language Models Better", arXiv:2107.06499, section 4.1. Written
    from the description; how passages are found and which copy stays is ours.
Equation
    a run of ``length`` parts is repeated where the same run stands elsewhere;   a part goes where a repeated run
    covers it of which an earlier copy is there, and no first copy of a repeated run covers it
Shapes
    texts (documents,) -> spans of what goes, how many characters are left
Cost
    log2(length) products per character for the hash of the run that begins there, and one sort of these hashes; in
    memory 4 bytes of text and 16 of hashes for each character of all shards. Half as fast as a suffix array over bytes
    and as fast as one over characters; no package is needed.
Caveats
    A suffix array, which the paper sorts, finds the same runs: those of ``length`` that stand twice cover all that are
    longer. Hashes of 64 bits find them, and the parts themselves are compared then, so that no chance agreement counts.
    The published tool takes out every copy (``keep="none"``). The paper's length of 50 is in tokens of GPT-2, some 200
    characters. Words are what blanks part, and compared as they are written. Cuts go from anywhere to anywhere, so half
    a sentence may stay; no run reaches over the end of a document.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import regex
from numpy.typing import NDArray

from trivium.core.method import method
from trivium.curation._survivors import Columns, by_document, check_preference, dealt, identity, ordered, whole
from trivium.data.curating import Sketch
from trivium.data.marks import Marks, Texts
from trivium.data.near_duplicates import word_hashes
from trivium.data.rules import Cut, Drop, Rules
from trivium.data.shuffle import mixed

HELD = 1 << 26
"""Runs that are sorted at once; with more of them they are taken in so many turns, by their hashes."""
_TURN = np.uint64(0x9E3779B97F4A7C15)
_WORD = regex.compile(r"\S+")


@method(title="Substring copies", source="arXiv:2107.06499", year=2022)
@dataclass(frozen=True)
class SubstringCopies:
    """Passages that were said before."""

    length: int = 200
    """Characters, or words, of the shortest passage that counts."""
    unit: Literal["characters", "words"] = "characters"
    """What a passage is counted and compared in."""
    keep: Literal["one", "none"] = "one"
    """How many copies of a passage stay."""
    prefer: tuple[str, ...] = ()
    """Sources in which a passage is rather kept, best first; all others come behind them."""

    def __post_init__(self) -> None:
        check_preference(self.prefer)
        if self.length < 2:
            raise ValueError(f"a passage has at least 2 characters or words, got length {self.length}")
        if self.unit not in ("characters", "words"):
            raise ValueError(f"unit must be characters or words, got {self.unit!r}")
        if self.keep not in ("one", "none"):
            raise ValueError(f"keep must be one or none, got {self.keep!r}")

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("left",))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset(("copies",))

    @property
    def rules(self) -> Rules:
        nothing = "substring_copies.left == 0 and substring_copies.copies.count > 0"
        return Rules((Drop("substring_copies.nothing_left", nothing),), (Cut("substring_copies.copies"),))

    def sketch(self, texts: Texts) -> Sketch:
        """The parts of each document that is long enough to hold a passage, and where words begin and end."""
        found = [self._parts(text) for text in texts.texts]
        long = [one if len(one[0]) >= self.length else self._parts("") for one in found]
        parts, start, end = (np.concatenate(column) for column in zip(self._parts(""), *long, strict=True))
        return {
            "parts": parts,
            "start": start,
            "end": end,
            "each": np.array([len(parts) for parts, _, _ in long], np.int64),
            "size": np.array([len(parts) for parts, _, _ in found], np.int64),
            **identity(texts, self.prefer),
        }

    def gather(self, sketches: Sequence[Sketch]) -> list[Marks]:
        """Of every passage that is repeated what may go."""
        columns = whole(sketches)
        count = len(columns.get("id", ()))
        if not count:
            return dealt({name: np.zeros(0) for name in self.measures}, sketches, {"copies": []})
        document, start, end = self._gone(columns)
        left = columns["size"] - np.bincount(document, end - start, count)
        if self.unit == "words":
            before = np.cumsum(columns["each"]) - columns["each"]
            start, end = columns["start"][before[document] + start], columns["end"][before[document] + end - 1]
        return dealt({"left": left.astype(float)}, sketches, {"copies": by_document(count, document, start, end)})

    def _gone(self, columns: Columns) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """(stretches,) each: the document, the first part of it that goes and the one behind the last."""
        order, each = ordered(columns), columns["each"]
        ends = np.cumsum(each)
        parts = np.concatenate([columns["parts"][ends[at] - each[at] : ends[at]] for at in order])
        ends = np.cumsum(each[order])  # from here on in the order of preference
        begins = ends - each[order]
        later, first = repeated(parts, begins, ends, self.length)
        goes, stays = covered(later, self.length, len(parts)), covered(first, self.length, len(parts))
        goes = goes & ~stays if self.keep == "one" else goes | stays
        places = np.flatnonzero(goes)
        of = np.searchsorted(ends, places, "right")
        new = np.flatnonzero((np.diff(places, prepend=-2) > 1) | (np.diff(of, prepend=-1) > 0))
        last = np.append(new[1:], len(places)) - 1 if len(new) else new
        return order[of[new]], places[new] - begins[of[new]], places[last] + 1 - begins[of[new]]

    def _parts(self, text: str) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """Characters, whose places need not be told, or hashes of words with their places."""
        none = np.empty(0, np.int64)
        if self.unit == "characters":
            return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32), none, none
        words = list(_WORD.finditer(text))
        places = np.array([word.span() for word in words], np.int64).reshape(-1, 2)
        return word_hashes([word[0] for word in words]), places[:, 0], places[:, 1]


def run_hashes(parts: NDArray[Any], length: int) -> NDArray[np.uint64]:
    """Of every run of so many parts: two of one size, which may overlap, make one of the next."""
    found, size = mixed(parts.astype(np.uint64)), 1
    while size < length and len(found):
        step = min(size, length - size)
        found, size = mixed((found[:-step] * _TURN) ^ found[step:]), size + step
    return found


def repeated(
    parts: NDArray[Any], begins: NDArray[np.int64], ends: NDArray[np.int64], length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where a run begins that stands before, and where its first copy does; runs lie within begins and ends."""
    if len(parts) < length:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    hashes = run_hashes(parts, length)
    starts = np.concatenate([np.arange(a, max(b - length + 1, a)) for a, b in zip(begins, ends, strict=True)])
    turns = -(-len(starts) // HELD)
    found = [np.empty((0, 2), np.int64)]
    for turn in range(turns):
        mine = starts if turns == 1 else starts[hashes[starts] % np.uint64(turns) == turn]
        mine = mine[np.argsort(hashes[mine], kind="stable")]
        head = np.diff(hashes[mine], prepend=~hashes[mine[:1]]) != 0
        first = mine[np.flatnonzero(head)[np.cumsum(head) - 1]]
        found.append(np.stack([mine, first], 1)[~head])
    pairs = np.concatenate(found)
    pairs = pairs[np.argsort(pairs[:, 0])]
    return _compared(parts, pairs, length)


def _compared(
    parts: NDArray[Any], pairs: NDArray[np.int64], length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs (run, first run of the same hash) of which the parts are the same; others are told apart by them."""
    same = np.ones(len(pairs), bool)
    new = np.flatnonzero((np.diff(pairs, axis=0, prepend=[[-2, -2]]) != 1).any(1))  # neighbours are compared as one
    for at, upto in zip(new, np.append(new[1:], len(pairs)), strict=False):
        (one, other), size = pairs[at].tolist(), int(upto - at) + length - 1
        if not np.array_equal(parts[one : one + size], parts[other : other + size]):
            same[at:upto] = [np.array_equal(parts[a : a + length], parts[b : b + length]) for a, b in pairs[at:upto]]
    if same.all():
        return pairs[:, 0], np.unique(pairs[:, 1])
    mixed_up = np.isin(pairs[:, 1], pairs[~same, 1])
    told = list(_told_apart(parts, pairs[mixed_up], length))
    pairs = np.concatenate([pairs[~mixed_up], np.array(told, np.int64).reshape(-1, 2)])
    return pairs[:, 0], np.unique(pairs[:, 1])


def _told_apart(parts: NDArray[Any], pairs: NDArray[np.int64], length: int) -> Iterator[tuple[int, int]]:
    """(run, first run with the same parts) where hashes agreed by chance."""
    seen: dict[bytes, int] = {}
    for start in np.unique(pairs).tolist():
        first = seen.setdefault(parts[start : start + length].tobytes(), start)
        if first != start:
            yield start, first


def covered(starts: NDArray[np.int64], length: int, whole: int) -> NDArray[np.bool_]:
    """Which of ``whole`` places lie in a run of this length from one of the starts."""
    change = np.zeros(whole + 1, np.int64)
    np.add.at(change, starts, 1)
    np.add.at(change, starts + length, -1)
    return np.asarray(np.cumsum(change)[:-1] > 0)
