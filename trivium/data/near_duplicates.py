"""Documents that are nearly the same: MinHash signatures, bands of them that agree, and the clusters that these make.

Source
    Broder 1997 (resemblance); Indyk and Motwani 1998 (banding); Dietzfelbinger et al. 1997 (multiply-shift). The
    presets are those of FineWeb (arXiv:2406.17557), Megatron-Turing NLG (arXiv:2201.11990) and one of high recall.
Equation
    J(A, B) = |A ∩ B| / |A ∪ B| over sets of shingles;   signature_j = min over x of ((a_j x + b_j) mod 2^64) >> 32
    P(some band agrees | J) = 1 - (1 - J^rows)^bands
Cost
    rows · bands multiplications per shingle, in numpy; a sort of the keys per band; memory for 8 bytes per document
    and band.
Caveats
    a_j is odd and uses all 64 bits, as x does: with smaller numbers nothing wraps, every function orders the shingles
    alike, and recall falls to J itself. Shingles are hashed word by word with BLAKE2 and then mixed, so signatures do
    not agree with those of other libraries. Clusters are connected components: a chain may join documents that are
    unlike.
"""

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from trivium.data.shuffle import mixed

Hashes = NDArray[np.uint64]
START = np.uint64(0x9E3779B97F4A7C15)
BLOCK = 4096
"""Shingles that are hashed at once, so that a long document needs no more memory than a short one."""


def normalised(text: str, *, compatible: bool = False, punctuation: bool = True) -> str:
    """NFC (or, ``compatible``, NFKC), small letters, one blank for any white space, and punctuation only if wanted."""
    text = unicodedata.normalize("NFKC" if compatible else "NFC", text).lower()
    if not punctuation:
        text = "".join(one for one in text if unicodedata.category(one)[0] != "P")
    return " ".join(text.split())


def shingles(text: str, size: int = 5, unit: str = "words") -> Hashes:
    """Hashes of the distinct runs of ``size`` words, or of 24 or so characters where no blanks part the words, sorted.

    A text of fewer is one shingle, the whole of it. Raises ValueError for a size below 1 or another unit.
    """
    if size < 1:
        raise ValueError(f"a shingle has at least 1 word or character, got {size}")
    if unit == "words":
        parts = word_hashes(text.split())
    elif unit == "characters":
        parts = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    else:
        raise ValueError(f"shingles are of 'words' or 'characters', got {unit!r}")
    return np.unique(run_hashes(parts, min(size, len(parts))))


@lru_cache(1 << 18)
def _word_hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def word_hashes(words: Sequence[str]) -> Hashes:
    """One per word, from BLAKE2: the same on every machine."""
    return np.fromiter(map(_word_hash, words), np.uint64, len(words))


def run_hashes(parts: Hashes, size: int) -> Hashes:
    """Of every run of ``size`` hashes, in order; of fewer there is no run."""
    count = max(len(parts) - size + 1, 0)
    return _chained([parts[at : count + at] for at in range(size)], 1)


def _chained(columns: Sequence[Hashes], count: int, start: Hashes | np.uint64 = START) -> Hashes:
    """One hash per row, that depends on every column and on their order; of no columns, ``count`` times the start."""
    out = np.broadcast_to(np.asarray(start, np.uint64), columns[0].shape if columns else (count,))
    for column in columns:
        out = mixed(out ^ column)
    return out


def jaccard(one: Hashes, other: Hashes) -> float:
    """Of two sets of shingles."""
    both = len(np.intersect1d(one, other, assume_unique=True))
    return both / (len(one) + len(other) - both)


@dataclass(frozen=True)
class MinHash:
    """How signatures are drawn and cut into bands; documents that agree in a whole band are candidates."""

    bands: int = 14
    rows: int = 8
    """Numbers of the signature in each band."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.bands < 1 or self.rows < 1:
            raise ValueError(f"bands and rows are at least 1, got {self.bands} x {self.rows}")

    def chance(self, similarity: float) -> float:
        """That two documents of this Jaccard similarity agree in some band."""
        return 1.0 - (1.0 - similarity**self.rows) ** self.bands

    @property
    def threshold(self) -> float:
        """Similarity about which the chance rises."""
        return (1.0 / self.bands) ** (1.0 / self.rows)

    def signatures(self, documents: Sequence[Hashes]) -> NDArray[np.uint32]:
        """(document, bands · rows). Raises ValueError for a document without a shingle."""
        generator = np.random.Generator(np.random.PCG64(self.seed))
        a, b = generator.integers(0, 2**64, (2, self.bands * self.rows, 1), np.uint64)
        a |= np.uint64(1)
        out = np.empty((len(documents), len(a)), np.uint32)
        for place, found in enumerate(documents):
            if not len(found):
                raise ValueError(f"document {place} has no shingle; shingles() gives a short text one")
            least = np.full(len(a), np.iinfo(np.uint64).max, np.uint64)
            for at in range(0, len(found), BLOCK):
                least = np.minimum(least, (a * found[None, at : at + BLOCK] + b).min(1))
            out[place] = least >> np.uint64(32)
        return out

    def keys(self, signatures: NDArray[np.uint32]) -> Hashes:
        """(document, band): one hash of the numbers of each band and of which band it is."""
        if signatures.ndim != 2 or signatures.shape[1] != self.bands * self.rows:
            raise ValueError(
                f"{self.bands} x {self.rows} needs {self.bands * self.rows} numbers a document, got shape "
                f"{signatures.shape}"
            )
        parts = signatures.reshape(len(signatures), self.bands, self.rows).astype(np.uint64)
        start = mixed(START ^ np.arange(1, self.bands + 1, dtype=np.uint64))
        return _chained([parts[..., row] for row in range(self.rows)], 0, start)


PRESETS = {"fineweb": MinHash(14, 8), "mt_nlg": MinHash(20, 13), "high_recall": MinHash(32, 4)}


def agreement(signatures: NDArray[np.uint32], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the numbers that agree in each pair: an unbiased estimate of its Jaccard similarity."""
    return (signatures[pairs[:, 0]] == signatures[pairs[:, 1]]).mean(1)


def candidate_pairs(keys: Hashes, every: bool = True) -> NDArray[np.int64]:
    """(pair, 2): documents that agree in some band, smaller place first, each pair once and in order.

    ``every`` pair, quadratic in the documents that agree; without it only those of each with the first one of its
    band, which make the same clusters.
    """
    found = [np.empty((0, 2), np.int64)]
    for band in keys.T:
        for group in _alike(band):
            if every:
                left, right = np.triu_indices(len(group), 1)
                found.append(np.stack([group[left], group[right]], 1))
            else:
                found.append(np.stack([np.full(len(group) - 1, group[0]), group[1:]], 1))
    return np.unique(np.concatenate(found), axis=0)


def _alike(values: Hashes) -> Iterator[NDArray[np.int64]]:
    """Places of each value that occurs more than once, in order."""
    order = np.argsort(values, kind="stable")
    ends = np.flatnonzero(np.diff(values[order])) + 1
    yield from (group for group in np.split(order, ends) if len(group) > 1)


def components(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Per document the first place of the cluster into which the pairs join it (union-find with path halving)."""
    if len(pairs) and (pairs.min() < 0 or pairs.max() >= count):
        raise ValueError(f"pairs name places {int(pairs.min())} to {int(pairs.max())}, and there are {count} documents")
    parent = list(range(count))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = place = parent[parent[place]]
        return place

    for one, other in pairs.tolist():
        one, other = root(one), root(other)
        parent[max(one, other)] = min(one, other)
    return np.array([root(place) for place in range(count)], np.int64)


def similar(sets: Sequence[Hashes], how: MinHash, least: float) -> NDArray[np.int64]:
    """(document,): the first place of its cluster, of sets joined by exact Jaccard similarity of at least this among
    those that agree in some band. For a few documents; for a corpus there is the curation method near_copies."""
    if not 0.0 < least <= 1.0:
        raise ValueError(f"least is a Jaccard similarity, above 0 and at most 1; got {least}")
    pairs = candidate_pairs(how.keys(how.signatures(sets)))
    alike = [jaccard(sets[one], sets[other]) >= least for one, other in pairs.tolist()]
    return components(len(sets), pairs[np.array(alike, bool)])
