"""Work on shards that tests send to other processes."""

import os
from pathlib import Path

from trivium.data.stages import Counts, Shelf, fingerprint


def squared(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def fails(number: int) -> int:
    if number == 3:
        raise ValueError("three is no shard")
    return number


def copies(item: tuple[str, str, int]) -> str:
    """Write one shard of a folder, unless it is there; ends the process in the middle of shard ``dies``."""
    folder, name, dies = item
    shelf = Shelf(folder, "copies")
    wanted = fingerprint("copies", name=name)
    found = shelf.find(name, wanted)
    if found is not None:
        return found.digest()
    with shelf.writing(name, wanted, inputs=[name]) as shard:
        for suffix in (".txt", ".json"):
            path: Path = shard.path(suffix)
            path.write_text(f"{name}{suffix}" * 100)
            if name == f"s{dies}":
                os.kill(os.getpid(), 9)
        shard.counts = Counts(read=3, kept=2, dropped={"short": 1}, chars_read=9, chars_kept=7, chars_dropped=2)
    made = shelf.find(name, wanted)
    assert made is not None
    return made.digest()
