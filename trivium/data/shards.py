"""Tokens on disk: documents end to end in memory-mapped shards, so that a corpus may be larger than memory.

A folder holds ``00000.tokens``, ``00001.tokens``, ... (unsigned integers of 16 bits, or of 32 for a vocabulary beyond
65,536, little-endian), beside each ``00000.starts`` (where its documents begin, 64 bits each), and ``index.json``,
which is written last: without it there is nothing. A document is never divided between shards.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trivium.core import files
from trivium.core.nouns import Batch
from trivium.data import shard_files
from trivium.data.shard_files import INDEX, dtype_of
from trivium.data.shuffle import dealt

FORMAT = 1
AGAIN = "write them again"
SHARD = 1 << 26
"""Tokens in a shard where nothing is said: 128 MiB."""


@dataclass(frozen=True)
class Shards:
    """Shards that are there whole."""

    folder: Path
    dtype: str
    shards: tuple[Mapping[str, Any], ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the writer wanted to be told again, such as the vocabulary and what the corpus is called."""

    @classmethod
    def open(cls, folder: str | Path) -> "Shards":
        """The shards of a folder. Raises BrokenModel where one is missing or has another size than the index says."""
        folder = Path(folder)

        def sizes(index: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
            width = np.dtype(index["dtype"]).itemsize
            for shard in index["shards"]:
                yield f"{shard['name']}.tokens", shard["tokens"] * width
                yield f"{shard['name']}.starts", shard["documents"] * 8

        index = shard_files.opened(folder, FORMAT, sizes, what="whole shards", again=AGAIN)
        return cls(folder, index["dtype"], tuple(index["shards"]), index["facts"])

    @staticmethod
    def there(folder: str | Path) -> bool:
        """Whether a folder has an index of shards."""
        return (Path(folder) / INDEX).is_file()

    @property
    def tokens(self) -> int:
        return sum(shard["tokens"] for shard in self.shards)

    @property
    def documents(self) -> int:
        return sum(shard["documents"] for shard in self.shards)

    def check(self) -> None:
        """Read every shard and compare it with its SHA-256. Raises BrokenModel."""
        shard_files.check(self.folder, self.shards, again=AGAIN)

    def _path(self, shard: Mapping[str, Any], name: str) -> Path:
        return self.folder / f"{shard['name']}.{name}"

    @cached_property
    def _mapped(self) -> list[tuple[NDArray[Any], NDArray[np.int64]]]:
        return [
            (
                np.memmap(self._path(shard, "tokens"), self.dtype, "r"),
                np.memmap(self._path(shard, "starts"), "<i8", "r"),
            )
            for shard in self.shards
        ]

    def rows(self, numbers: NDArray[np.int64], length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of so many tokens by their numbers: ids, and the document of each within its row."""
        ends = np.cumsum([shard["tokens"] // length for shard in self.shards])
        ids = np.empty((len(numbers), length), np.int64)
        segments = np.empty((len(numbers), length), np.int64)
        for row, number in enumerate(numbers.tolist()):
            shard = int(np.searchsorted(ends, number, "right"))
            begin = (number - (int(ends[shard - 1]) if shard else 0)) * length
            tokens, starts = self._mapped[shard]
            ids[row] = tokens[begin : begin + length]
            first, last = np.searchsorted(starts, [begin, begin + length - 1], "right")
            inside = np.zeros(length, np.int64)
            inside[starts[first:last] - begin] = 1
            segments[row] = np.cumsum(inside)
        return ids, segments


def write(
    folder: str | Path,
    documents: Iterable[Sequence[int]],
    *,
    vocab_size: int,
    size: int = SHARD,
    facts: Mapping[str, Any] | None = None,
) -> Shards:
    """Write documents, given as ids one after another, in shards of about ``size`` tokens.

    A shard is closed by the document that fills it. Empty documents are left out and counted. Raises ValueError for an
    id outside the vocabulary, for no tokens at all, and where the folder holds shards already.
    """
    folder = Path(folder)
    if size < 1:
        raise ValueError(f"a shard holds at least 1 token, got size {size}")
    if Shards.there(folder):
        raise ValueError(f"{folder} holds shards already; choose another folder or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    dtype = dtype_of(vocab_size)
    made: list[dict[str, Any]] = []
    empty = 0
    tokens: list[NDArray[Any]] = []
    starts: list[int] = []
    held = 0

    def close() -> None:
        nonlocal held
        shard: dict[str, Any] = {"name": f"{len(made):05d}", "tokens": held, "documents": len(starts), "sha256": {}}
        for name, data in (("tokens", np.concatenate(tokens)), ("starts", np.array(starts, "<i8"))):
            path = folder / f"{shard['name']}.{name}"
            with files.written(path) as part:
                data.tofile(part)
            shard["sha256"][name] = files.sha256(path)
        made.append(shard)
        tokens.clear()
        starts.clear()
        held = 0

    for number, document in enumerate(documents):
        ids = np.asarray(document, np.int64)
        if not len(ids):
            empty += 1
            continue
        if ids.min() < 0 or ids.max() >= vocab_size:
            bad = int(ids.min()) if ids.min() < 0 else int(ids.max())
            raise ValueError(f"document {number} has id {bad}, outside the vocabulary of {vocab_size}")
        starts.append(held)
        tokens.append(ids.astype(dtype))
        held += len(ids)
        if held >= size:
            close()
    if held:
        close()
    if not made:
        raise ValueError("there is no token to write; give at least one document that is not empty")
    index = {"format": FORMAT, "dtype": dtype, "shards": made, "facts": {**(facts or {}), "empty": empty}}
    files.write(folder / INDEX, json.dumps(index, indent=1) + "\n")
    return Shards.open(folder)


@dataclass(frozen=True)
class ShardBatches:
    """Training batches read from shards as they are wanted; like ``data.batches.Batches`` a pure function of the seed
    and the step, in memory that does not grow with the corpus.

    A row is ``length`` tokens of one shard; the tail of a shard that fills no row is left out. Each epoch deals every
    row once, in an order of its own.
    """

    shards: Shards
    length: int
    batch_size: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ValueError(f"a row needs at least 2 tokens to predict one from another, got length {self.length}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if not self.count:
            raise ValueError(
                f"no shard of {self.shards.folder} fills a row of {self.length} tokens; choose a shorter length"
            )

    @property
    def count(self) -> int:
        """Rows in an epoch."""
        return sum(shard["tokens"] // self.length for shard in self.shards.shards)

    @property
    def tokens(self) -> int:
        """Tokens in one epoch."""
        return self.count * self.length

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        numbers = dealt(step, self.batch_size, self.count, self.seed)
        ids, segments = self.shards.rows(numbers, self.length)
        return Batch(torch.from_numpy(ids), segments=torch.from_numpy(segments))
