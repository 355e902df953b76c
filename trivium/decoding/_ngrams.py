"""Tables of n-grams over token ids: built from documents, saved, memory-mapped, and asked for next-token shares.

Of each order the distinct n-grams lie sorted, one column per position, so that the followers of a context are one range
that binary search finds; tables of tens of millions of n-grams need no memory until they are asked.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from trivium.core import files
from trivium.core.protocols import Tokenizer

FORMAT = 1
APART = -1
"""Stands between documents, so that no n-gram spans two."""


@dataclass(frozen=True)
class Order:
    """All n-grams of one n: ``grams`` (n, number) in lexicographic order, ``counts`` (number,), and ``totals``
    (number,): how often the context of each was followed by anything at all, pruned followers included."""

    grams: np.ndarray
    counts: np.ndarray
    totals: np.ndarray

    @classmethod
    def count(cls, stream: np.ndarray, n: int, least: int) -> Self:
        """Count a stream of ids in which documents are kept apart; n-grams seen fewer than ``least`` times go."""
        windows = (
            np.lib.stride_tricks.sliding_window_view(stream, n) if len(stream) >= n else np.empty((0, n), np.int32)
        )
        windows = windows[(windows != APART).all(1)]
        ordered = windows[np.lexsort(windows.T[::-1])]
        first = np.ones(len(ordered), dtype=bool)
        first[1:] = (ordered[1:] != ordered[:-1]).any(1)
        grams, starts = ordered[first], first.nonzero()[0]
        counts = np.diff(np.append(starts, len(ordered)))
        opens = np.ones(len(grams), dtype=bool)
        opens[1:] = (grams[1:, :-1] != grams[:-1, :-1]).any(1)
        context = opens.cumsum() - 1
        totals = np.bincount(context, weights=counts, minlength=0).astype(np.int64)[context]
        kept = counts >= least
        return cls(np.ascontiguousarray(grams[kept].T), counts[kept], totals[kept])

    def share(self, context: Sequence[int], tokens: np.ndarray) -> np.ndarray | None:
        """count(context, v) / count(context) of each token v; None where the context is not in the table."""
        low, high = 0, self.grams.shape[1]
        for column, token in zip(self.grams, context, strict=False):
            part = column[low:high]
            low, high = (
                low + int(np.searchsorted(part, token, "left")),
                low + int(np.searchsorted(part, token, "right")),
            )
            if low == high:
                return None
        followers = self.grams[-1][low:high]
        at = np.searchsorted(followers, tokens).clip(max=high - low - 1)
        return np.where(followers[at] == tokens, self.counts[low:high][at] / int(self.totals[low]), 0.0)


@dataclass(frozen=True)
class NGrams:
    """Tables of several orders, with the vocabulary that their ids belong to."""

    orders: Mapping[int, Order]
    vocab_size: int
    vocabulary: str
    """Hash of the tokenizer's vocabulary."""

    @classmethod
    def build(
        cls, documents: Iterable[Sequence[int]], tokenizer: Tokenizer, orders: Sequence[int], least: int = 1
    ) -> Self:
        """Count documents of token ids. Raises ValueError for ids outside the vocabulary or nothing to count."""
        if not orders or min(orders) < 2 or len(set(orders)) < len(orders):
            raise ValueError(f"orders must be distinct and at least 2 (a context and a token), got {tuple(orders)}")
        if least < 1:
            raise ValueError(f"least is a number of occurrences, at least 1; got {least}")
        parts = [np.asarray([*document, APART], dtype=np.int64) for document in documents]
        stream = np.concatenate(parts) if parts else np.empty(0, np.int64)
        real = stream[stream != APART]
        if len(real) < len(stream) - len(parts) or (
            len(real) and (real.min() < 0 or real.max() >= tokenizer.vocab_size)
        ):
            raise ValueError(f"a document holds ids outside the tokenizer's {tokenizer.vocab_size}")
        if max((len(part) - 1 for part in parts), default=0) < min(orders):
            raise ValueError(f"no document has {min(orders)} tokens, so there is no n-gram to count")
        stream = stream.astype(np.int32)
        tables = {n: Order.count(stream, n, least) for n in sorted(orders)}
        return cls(tables, tokenizer.vocab_size, vocabulary_hash(tokenizer))

    def save(self, folder: str | Path) -> None:
        """Write the tables; the facts about them come last, so that a folder that has them is whole."""
        for n, order in self.orders.items():
            for name in ("grams", "counts", "totals"):
                with files.written(Path(folder) / f"{n}.{name}.npy") as part, part.open("wb") as file:
                    np.save(file, getattr(order, name))
        facts = {"format": FORMAT, "orders": list(self.orders), "vocab_size": self.vocab_size, "hash": self.vocabulary}
        files.write(Path(folder) / "ngrams.json", json.dumps(facts) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Memory-map saved tables. Raises FileNotFoundError or ValueError, naming the folder."""
        path = Path(folder) / "ngrams.json"
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no n-gram tables (no {path.name}); build them first")
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts.get("format") != FORMAT:
            raise ValueError(f"{path} has format {facts.get('format')}, this version reads {FORMAT}; build it again")
        read = lambda n, name: np.load(Path(folder) / f"{n}.{name}.npy", mmap_mode="r", allow_pickle=False)  # noqa: E731
        orders = {n: Order(read(n, "grams"), read(n, "counts"), read(n, "totals")) for n in facts["orders"]}
        return cls(orders, facts["vocab_size"], facts["hash"])

    def mixed(self, weights: Mapping[int, float], text: Sequence[int], tokens: np.ndarray) -> np.ndarray:
        """sum over orders n of weight_n P_n(v | last n - 1 tokens) for each token v; an order whose context is longer
        than the text, or not in its table, adds nothing."""
        total = np.zeros(len(tokens))
        for n, weight in weights.items():
            if len(text) >= n - 1 and (share := self.orders[n].share(text[len(text) - n + 1 :], tokens)) is not None:
                total += weight * share
        return total


def vocabulary_hash(tokenizer: Tokenizer) -> str:
    """SHA-256 over what every id stands for: equal only where ids mean the same."""
    digest = hashlib.sha256()
    for id in range(tokenizer.vocab_size):
        piece = tokenizer.bytes_of(id)
        digest.update(len(piece).to_bytes(4, "little") + piece)
    return digest.hexdigest()
