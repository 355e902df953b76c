"""Rows of tokens on disk, each of the same length and packed with documents: what ``curated_packing`` writes.

A folder holds, for every shard, ``00000.tokens`` (rows of ``context`` ids, unsigned integers of 16 or 32 bits,
little-endian) and ``00000.pieces`` (five integers of 64 bits for each piece, see ``fitting.Pieces``), and
``index.json``, which is written last: without it there is nothing. Beside them stands what training does not read:
which documents they are, and the manifests of the stage.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trivium.core import files
from trivium.core.nouns import Batch
from trivium.data import shard_files
from trivium.data.fitting import Pieces
from trivium.data.shard_files import INDEX
from trivium.data.shuffle import dealt

FORMAT = 2
"""Of the index; 1 is that of ``data.shards``."""
AGAIN = "run the same trivium curate again to make them anew"
WIDTH = 5
"""Numbers that tell of a piece."""


@dataclass(frozen=True)
class PackedShards:
    """Shards that are there whole."""

    folder: Path
    index: Mapping[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> "PackedShards":
        """Those of a folder. Raises BrokenModel where one is missing or has another size than the index says."""
        folder = Path(folder)

        def sizes(index: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
            width = index["context"] * np.dtype(index["dtype"]).itemsize
            for shard in index["shards"]:
                yield f"{shard['name']}.tokens", shard["rows"] * width
                yield f"{shard['name']}.pieces", shard["pieces"] * WIDTH * 8

        return cls(folder, shard_files.opened(folder, FORMAT, sizes, what="whole packed shards", again=AGAIN))

    @staticmethod
    def there(folder: str | Path) -> bool:
        """Whether the index of a folder is one of packed rows."""
        try:
            return "context" in json.loads((Path(folder) / INDEX).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):
            return False

    @property
    def shards(self) -> list[Mapping[str, Any]]:
        return self.index["shards"]

    @property
    def context(self) -> int:
        """Tokens in a row."""
        return self.index["context"]

    @property
    def facts(self) -> Mapping[str, Any]:
        """Of the corpus: what it is called, what it was made of, its vocabulary."""
        return self.index["facts"]

    @property
    def rows(self) -> int:
        return sum(shard["rows"] for shard in self.shards)

    @property
    def tokens(self) -> int:
        """Without padding."""
        return sum(shard["tokens"] for shard in self.shards)

    @property
    def documents(self) -> int:
        """That are packed, as often as they were drawn."""
        return sum(shard["documents"] for shard in self.shards)

    @property
    def padding(self) -> float:
        """Share of all places in rows."""
        return 1 - self.tokens / (self.rows * self.context)

    @cached_property
    def digest(self) -> str:
        """Of all that is here, by the checksums of the index."""
        return files.sha256(json.dumps(self.index, sort_keys=True).encode())

    def check(self) -> None:
        """Read every shard and compare it with its SHA-256. Raises BrokenModel."""
        shard_files.check(self.folder, self.shards, again=AGAIN)

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """(shards,) rows up to the end of each."""
        return np.cumsum([shard["rows"] for shard in self.shards])

    @cached_property
    def _mapped(self) -> list[tuple[NDArray[Any], Pieces]]:
        found = []
        for shard in self.shards:
            tokens, pieces = (self.folder / f"{shard['name']}.{name}" for name in ("tokens", "pieces"))
            if not shard["rows"]:  # nothing can be mapped of an empty file
                found.append((np.zeros((0, self.context), self.index["dtype"]), np.zeros((0, WIDTH), "<i8")))
                continue
            found.append((
                np.memmap(tokens, self.index["dtype"], "r", shape=(shard["rows"], self.context)),
                np.memmap(pieces, "<i8", "r", shape=(shard["pieces"], WIDTH)),
            ))  # fmt: skip
        return found

    def place(self, row: int) -> tuple[int, int]:
        """In which shard a row stands, and as which of its rows. Raises ValueError."""
        if not 0 <= row < self.rows:
            raise ValueError(f"there are rows 0 to {self.rows - 1}, not {row}")
        shard = int(np.searchsorted(self._ends, row, "right"))
        return shard, row - (int(self._ends[shard - 1]) if shard else 0)

    def pieces(self, shard: int) -> Pieces:
        """All of a shard."""
        return self._mapped[shard][1]

    def pieces_of_row(self, shard: int, row: int) -> Pieces:
        """Those in one row of a shard."""
        pieces = self._mapped[shard][1]
        first, last = np.searchsorted(pieces[:, 0], [row, row + 1])
        return pieces[first:last]

    def ids(self, shard: int, row: int) -> NDArray[Any]:
        """(context,) of one row of a shard, padding included."""
        return self._mapped[shard][0][row]

    def read(self, numbers: NDArray[np.int64]) -> Batch:
        """Rows by their numbers. Each piece is a segment of its own, and padding is masked."""
        ids = np.empty((len(numbers), self.context), np.int64)
        segments, mask = np.zeros_like(ids), np.zeros(ids.shape, bool)
        for at, number in enumerate(numbers.tolist()):
            shard, row = self.place(number)
            ids[at] = self.ids(shard, row)
            pieces = self.pieces_of_row(shard, row)
            segments[at, pieces[1:, 1]] = 1
            mask[at, : pieces[-1, 1] + pieces[-1, 2]] = True
        segments = np.cumsum(segments, 1)  # not in torch, where a meter would count it to the step beside it
        return Batch(torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(segments))


@dataclass(frozen=True)
class PackedBatches:
    """Training batches of packed rows, a pure function of the seed and the step: to go on, the step is all one needs.
    Each epoch deals every row once, in an order of its own."""

    shards: PackedShards
    batch_size: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if not self.shards.rows:
            raise ValueError(f"{self.shards.folder} has no rows")

    @property
    def digest(self) -> str:
        """Of all the data, so that a run does not go on with other rows."""
        return self.shards.digest

    @property
    def tokens(self) -> int:
        """Tokens in one epoch."""
        return self.shards.tokens

    def rows(self, step: int) -> NDArray[np.int64]:
        """(batch_size,) numbers of the rows that a step sees, counted from 0."""
        return dealt(step, self.batch_size, self.shards.rows, self.seed)

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        return self.shards.read(self.rows(step))
