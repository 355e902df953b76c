"""A corpus made ready for training: shards of its training split, texts to evaluate on, and the tokenizer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from trivium.core import files
from trivium.core.errors import BrokenModel
from trivium.core.protocols import Tokenizer
from trivium.data.shards import Shards

HELD_OUT = 1000
"""Validation documents that are kept."""


@dataclass(frozen=True)
class Prepared:
    """What ``trivium shards`` wrote into a folder."""

    folder: Path

    @staticmethod
    def there(folder: str | Path) -> bool:
        """Whether a folder holds such a corpus."""
        return Shards.there(Path(folder) / "train")

    @cached_property
    def shards(self) -> Shards:
        """Of the training split. Raises BrokenModel."""
        return Shards.open(self.folder / "train")

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
    def begin(folder: Path, tokenizer: Tokenizer, validation: Sequence[str]) -> None:
        """Write what stands beside the shards. They come last: where they are, all is there."""
        lines = "".join(json.dumps({"text": document}) + "\n" for document in validation)
        files.write(folder / "validation.jsonl", lines)
        tokenizer.save(folder / "tokenizer")  # type: ignore[attr-defined]
