"""A corpus made ready for training: shards of its training split, texts to evaluate on, and the tokenizer."""

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from trivium.core import files
from trivium.core.errors import BrokenModel
from trivium.core.protocols import Tokenizer
from trivium.data.packed_shards import PackedBatches, PackedShards
from trivium.data.shards import ShardBatches, Shards

HELD_OUT = 1000
"""Validation documents that are kept."""
LENGTH = 256
"""Tokens in a row, where neither the shards nor anybody says."""


class Prepared:
    """What ``trivium shards``, or ``trivium curate`` with a tokenizer, wrote into a folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @staticmethod
    def there(folder: str | Path) -> bool:
        """Whether a folder holds such a corpus."""
        return Shards.there(Path(folder) / "train")

    @staticmethod
    def named(folder: str | Path) -> "Prepared":
        """That of a folder. Raises ValueError where there is none."""
        if not Prepared.there(folder):
            inside = Path(folder) / "packed"
            way = (
                f"give {inside}"
                if Prepared.there(inside)
                else "make them with trivium shards, or with trivium curate --tokenizer NAME"
            )
            raise ValueError(f"{folder} holds no shards of tokens; {way}")
        return Prepared(folder)

    @cached_property
    def shards(self) -> Shards | PackedShards:
        """Of the training split. Raises BrokenModel."""
        folder = self.folder / "train"
        return PackedShards.open(folder) if PackedShards.there(folder) else Shards.open(folder)

    def batches(self, length: int | None, batch_size: int, seed: int) -> ShardBatches | PackedBatches:
        """Batches of rows of a length; packed rows have theirs. Raises ValueError for another one."""
        shards = self.shards
        if isinstance(shards, Shards):
            return ShardBatches(shards, LENGTH if length is None else length, batch_size, seed)
        if length not in (None, shards.context):
            raise ValueError(
                f"{self.folder} is packed to rows of {shards.context} tokens; leave out the length, or pack with "
                f"--context {length}"
            )
        return PackedBatches(shards, batch_size, seed)

    @property
    def length(self) -> int | None:
        """Tokens in a row, where the shards say so."""
        return self.shards.context if isinstance(self.shards, PackedShards) else None

    @property
    def name(self) -> str:
        return str(self.shards.facts.get("corpus", self.folder.name))

    @cached_property
    def validation(self) -> list[str]:
        """Held-out documents. Raises BrokenModel."""
        path = self.folder / "validation.jsonl"
        try:
            return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BrokenModel(f"{path} cannot be read ({error}); write the shards again") from error

    @property
    def tokenizer_folder(self) -> Path:
        return self.folder / "tokenizer"

    @staticmethod
    def begin(folder: str | Path, tokenizer: Tokenizer, validation: Sequence[str]) -> None:
        """Write what stands beside the shards. They come last: where they are, all is there."""
        files.write(Path(folder) / "validation.jsonl", held_out_lines(validation))
        tokenizer.save(Path(folder) / "tokenizer")  # type: ignore[attr-defined]


def held_out_lines(texts: Iterable[str]) -> str:
    """Texts as they are kept in a file, one a line."""
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)
