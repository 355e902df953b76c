"""A corpus that is only known by a filter in a file: what it holds is taken for a copy."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trivium.core import files
from trivium.data.bloom import Bloom
from trivium.data.digests import Digests


def check_filter(path: str) -> None:
    """Raises ValueError where a filter is named and not there."""
    if path and not Path(path).is_file():
        raise ValueError(f"known names the file of a filter, and {path!r} is none; data.remembering makes one")


def filter_digest(path: str) -> str:
    """Of the file, so that with another one the work is another; "" for none."""
    return files.sha256(path) if path else ""


class Remembered:
    """What a filter in a file claims to have seen; without one nothing is known."""

    def __init__(self, path: str) -> None:
        self.bloom = _loaded(path, Path(path).stat().st_mtime_ns) if path else None

    def holds(self, things: Digests) -> NDArray[np.bool_]:
        """(things,)"""
        return np.zeros(len(things), bool) if self.bloom is None else self.bloom.holds(things)


@lru_cache(2)
def _loaded(path: str, changed: int) -> Bloom:
    return Bloom.load(path)
