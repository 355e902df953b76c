"""What folders of token shards have in common: an index that is written last, and files whose sizes and checksums it
tells."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trivium.core import files
from trivium.core.errors import BrokenModel

INDEX = "index.json"
Sizes = Callable[[Mapping[str, Any]], Iterable[tuple[str, int]]]
"""An index -> names of files, and the bytes of each."""


def opened(folder: Path, format: int, sizes: Sizes, *, what: str, again: str) -> dict[str, Any]:
    """The index of a folder. Raises BrokenModel for none, one of another format, and for a file that is missing or has
    another size; ``again`` says how to make it anew."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if index["format"] != format:
            newer = "; update trivium" if index["format"] > format else ""
            raise BrokenModel(f"{folder / INDEX} has format {index['format']!r}, this version reads {format}{newer}")
        for name, size in sizes(index):
            there = (folder / name).stat().st_size
            if there != size:
                raise BrokenModel(f"{folder / name} has {there} bytes where the index says {size}; {again}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenModel(f"{folder} holds no {what} ({error}); {again}") from error
    return index


def check(folder: Path, shards: Sequence[Mapping[str, Any]], *, again: str) -> None:
    """Read the files of every shard and compare each with its SHA-256. Raises BrokenModel."""
    for shard in shards:
        for suffix, known in shard["sha256"].items():
            path = folder / f"{shard['name']}.{suffix}"
            if not path.is_file() or files.sha256(path) != known:
                raise BrokenModel(f"{path} is gone or was changed: its SHA-256 is not the one in {INDEX}; {again}")


def dtype_of(vocab_size: int) -> str:
    """What ids of a vocabulary are kept as."""
    return "<u2" if vocab_size <= 1 << 16 else "<u4"
