"""What occurs twice to the letter: documents, paragraphs and any long passage; and a filter that remembers roughly.

Source
    Lee et al. 2022, "Deduplicating Training Data Makes Language Models Better" (arXiv:2107.06499) for passages; Bloom
    1970; Soldaini et al. 2024 (Dolma, arXiv:2402.00159) for paragraphs. Written from their descriptions.
Equation
    A Bloom filter for n things at a false-positive rate p has m = ⌈-n ln p / (ln 2)²⌉ bits and k = round(m/n ln 2)
    bits a thing; after n things it answers yes by mistake with probability (1 - (1 - 1/m)^(k n))^k.
Cost
    Passages: log2(length) sorts of all code points, some 60 bytes each; the suffixes are sorted no further than the
    length asked for, which is why no whole suffix array is made.
Caveats
    Documents and paragraphs are the same when 128 bits of BLAKE2 agree. Of passages the first copy is kept whole, with
    documents in order of ``precedence``, so the published tool, which takes out every copy, takes out more. Spans count
    code points, so no character is ever cut.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from trivium.core.errors import TriviumError
from trivium.data.near_duplicates import Clusters, precedence, survivors
from trivium.data.shuffle import mixed

Span = tuple[int, int]
"""First code point and the one after the last."""


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def exact_duplicates(
    texts: Sequence[str],
    *,
    normalise: Callable[[str], str] = str,
    prefer: Sequence[tuple] | None = None,
) -> Clusters:
    """Clusters of texts that are the same after ``normalise``, and which of each is kept."""
    first: dict[bytes, int] = {}
    cluster = [first.setdefault(_digest(normalise(text)), place) for place, text in enumerate(texts)]
    return survivors(np.array(cluster, np.int64), texts, prefer)


def paragraph_duplicates(
    texts: Sequence[str],
    *,
    separator: str = "\n",
    least_words: int = 1,
    prefer: Sequence[tuple] | None = None,
) -> list[list[Span]]:
    """Per text the paragraphs that stood before, in the order of ``precedence`` and within the text, break included.

    ``least_words``: shorter ones are never duplicates, with 0 not even empty ones are spared. Raises ValueError for an
    empty separator.
    """
    if not separator:
        raise ValueError("an empty separator parts no paragraphs; use '\\n' or '\\n\\n'")
    seen: set[bytes] = set()
    found: list[list[Span]] = [[] for _ in texts]
    for place in sorted(range(len(texts)), key=precedence(texts, prefer).__getitem__):
        text = texts[place]
        paragraphs = text.split(separator)
        starts = [0, *accumulate(len(one) + len(separator) for one in paragraphs)]
        starts[-1] = len(text)  # no break after the last
        for one, span in zip(paragraphs, pairwise(starts), strict=True):
            if len(one.split()) < least_words:
                continue
            digest = _digest(one)
            if digest in seen and span[1] > span[0]:
                found[place].append(span)
            seen.add(digest)
    return found


def window_classes(values: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Per run of ``length`` values a number, the same for the same runs and in their order (prefix doubling)."""
    if length < 1:
        raise ValueError(f"a run has at least 1 value, got {length}")
    if len(values) < length:
        return np.empty(0, np.int64)
    classes, size = np.unique(values, return_inverse=True)[1].astype(np.int64), 1
    while size < length:
        step = min(size, length - size)  # two runs of this size, which may overlap, make one of the next
        pair = classes[:-step] * (classes.max() + 1) + classes[step:]
        classes, size = np.unique(pair, return_inverse=True)[1].astype(np.int64), size + step
    return classes


def repeated_passages(
    texts: Sequence[str], length: int = 200, *, prefer: Sequence[tuple] | None = None
) -> list[list[Span]]:
    """Per text what may go, as every ``length`` code points of it stand elsewhere in what stays.

    A run of ``length`` code points goes if the same run stands before it, with the texts in order of ``precedence``;
    what belongs to the first copy of a repeated run stays even so. No run reaches over the end of a text.
    """
    order = sorted(range(len(texts)), key=precedence(texts, prefer).__getitem__)
    codes = [np.frombuffer(texts[place].encode("utf-32-le", "surrogatepass"), np.uint32) for place in order]
    ends = np.cumsum([len(one) for one in codes], dtype=np.int64)
    found: list[list[Span]] = [[] for _ in texts]
    classes = window_classes(np.concatenate(codes).astype(np.int64) if codes else np.empty(0, np.int64), length)
    starts = np.arange(len(classes))
    inside = starts[starts + length <= ends[np.searchsorted(ends, starts, "right")]] if len(classes) else starts
    if not len(inside):
        return found
    _, first, which, count = np.unique(classes[inside], return_index=True, return_inverse=True, return_counts=True)
    later = np.arange(len(inside)) != first[which]
    goes = _covered(inside[later], length, int(ends[-1]))
    goes &= ~_covered(inside[first[count > 1]], length, int(ends[-1]))
    for place, end, one in zip(order, ends.tolist(), codes, strict=True):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], goes[end - len(one) : end].view(np.int8), [0]])))
        found[place] = [(start, stop) for start, stop in edges.reshape(-1, 2).tolist()]
    return found


def _covered(starts: NDArray[np.int64], length: int, whole: int) -> NDArray[np.bool_]:
    """Which of ``whole`` places lie in a run of this length from one of the starts."""
    change = np.zeros(whole + 1, np.int64)
    np.add.at(change, starts, 1)
    np.add.at(change, starts + length, -1)
    return np.asarray(np.cumsum(change)[:-1] > 0)


def without(text: str, spans: Iterable[Span]) -> str:
    """The text with these spans cut out; they may touch and overlap. Raises ValueError for one that is not in it."""
    kept, at = [], 0
    for start, end in sorted(spans):
        if not 0 <= start <= end <= len(text):
            raise ValueError(f"the span {start} to {end} does not lie in a text of {len(text)} characters")
        kept.append(text[at:start])
        at = max(at, end)
    return "".join([*kept, text[at:]])


class Overfull(TriviumError):
    """More was put into a Bloom filter than it was made for."""


class Bloom:
    """A set of texts in few bits, that never forgets one and sometimes claims one that it has not seen."""

    def __init__(self, expected: int, rate: float = 1e-6, seed: int = 0) -> None:
        if expected < 1 or not 0.0 < rate < 1.0:
            raise ValueError(f"a filter expects at least 1 text at a rate between 0 and 1, got {expected} at {rate}")
        self.expected, self.rate, self.seed = expected, rate, seed
        self.size = math.ceil(-expected * math.log(rate) / math.log(2) ** 2)
        self.hashes = max(round(self.size / expected * math.log(2)), 1)
        self.bits = np.zeros((self.size + 7) // 8, np.uint8)
        self.count = 0
        """Of the texts put in, less those that were thought to be there."""

    def projected(self, count: int | None = None) -> float:
        """False-positive rate after this many texts, or now, by the share of bits that are set.

        ``count`` alone would not tell: a text that was claimed by mistake has its bits set, and is not counted.
        """
        if count is None:
            return (int(np.bitwise_count(self.bits).sum()) / self.size) ** self.hashes
        return (-math.expm1(self.hashes * count * math.log1p(-1 / self.size))) ** self.hashes

    def _places(self, texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """(text, hash): which bits; and (text, 2): the 128 bits that they come from."""
        key = self.seed.to_bytes(8, "little")
        joined = b"".join(
            hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=key).digest() for text in texts
        )
        pair = np.frombuffer(joined, "<u8").reshape(-1, 2).astype(np.uint64)
        turns = np.arange(self.hashes, dtype=np.uint64)
        return mixed(pair[:, :1] + turns * (pair[:, 1:] | np.uint64(1))) % np.uint64(self.size), pair

    def _there(self, places: NDArray[np.uint64]) -> NDArray[np.bool_]:
        return np.asarray(
            ((self.bits[places >> np.uint64(3)] >> (places & np.uint64(7)).astype(np.uint8)) & 1).all(1), bool
        )

    def holds(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Per text whether it was put in; by mistake at most at the rate, as long as it is not overfull."""
        return self._there(self._places(texts)[0])

    def add(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Puts the texts in; per text whether it was there, from before or from earlier in this list.

        Raises Overfull, and puts nothing in, where more than 1.1 times what was expected would be in it.
        """
        places, pair = self._places(texts)
        _, first, which = np.unique(pair, axis=0, return_index=True, return_inverse=True)
        seen = self._there(places) | (first[which.reshape(-1)] != np.arange(len(texts)))
        count = self.count + int((~seen).sum())
        if count > 1.1 * self.expected:
            raise Overfull(
                f"{count} texts in a filter made for {self.expected}: it would be wrong at a rate of "
                f"{self.projected(count):.2g} instead of {self.rate:.2g}; make one for more texts"
            )
        new = places[~seen].reshape(-1)
        np.bitwise_or.at(self.bits, new >> np.uint64(3), np.uint8(1) << (new & np.uint64(7)).astype(np.uint8))
        self.count = count
        return seen
