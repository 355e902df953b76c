"""Corpora by name, as command lines and comparisons write them."""

from functools import lru_cache
from pathlib import Path

from trivium.core.errors import UnknownName, did_you_mean
from trivium.data.corpus import Corpus
from trivium.data.python_docs import python_code, python_docs
from trivium.data.recall import induction, mqar, needle
from trivium.data.regbench import regbench
from trivium.data.stories import stories

NAMED = {
    "stories": stories,
    "python_docs": python_docs,
    "python_code": python_code,
    "regbench": regbench,
    "mqar": mqar,
    "induction": induction,
    "needle": needle,
}


@lru_cache(maxsize=4)
def named(name: str) -> Corpus:
    """A corpus that is made or found on this machine, or the text files under a path. Raises UnknownName."""
    if name in NAMED:
        return NAMED[name]()
    if Path(name).exists():
        return Corpus.read(name)
    raise UnknownName(f"no corpus is called {name!r}, and no file or folder either{did_you_mean(name, NAMED)}")
