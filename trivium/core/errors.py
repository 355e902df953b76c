"""Errors that a caller may want to catch. Each message names the thing, the value and the way out."""

from collections.abc import Iterable
from difflib import get_close_matches


class TriviumError(Exception):
    """Root of the errors below; plain misuse raises ValueError or TypeError instead."""


class UnknownName(TriviumError, LookupError):
    """A kind, method, model, site or field that does not exist."""

    def __str__(self) -> str:  # LookupError would print the repr of a lone argument under KeyError; keep the sentence
        return str(self.args[0]) if self.args else ""


class UnknownMethod(UnknownName):
    """No method of this name in this kind."""


class NotOffered(TriviumError, TypeError):
    """The model lacks what the method needs; nothing falls back silently."""


class BudgetExceeded(TriviumError):
    """More was spent than promised, beyond the tolerance."""


class NotFinite(TriviumError, ArithmeticError):
    """A model gave NaN or infinite numbers."""


class TooLarge(TriviumError, MemoryError):
    """What was asked for would not fit in memory; nothing was run."""


class BrokenModel(TriviumError):
    """A model folder or file that is missing something, truncated, or not what its name says."""


class HashMismatch(BrokenModel):
    """A download whose SHA-256 is not the pinned one."""


class Unreachable(TriviumError, ConnectionError):
    """Something had to be fetched and could not be."""


class BadAnswer(TriviumError):
    """A server answered something that is no answer, or is no longer the one that answered before."""


class RunBusy(TriviumError):
    """Another live process holds this run folder."""


class RunMismatch(TriviumError):
    """The folder holds a run of another comparison."""


class MissingExtra(TriviumError, ImportError):
    """An optional package is not installed."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'; did you mean 'min_p'?' for a near miss, else a list of what is there (at most 24 names)."""
    known = sorted(known)
    folded = {k.replace("_", "").replace("-", "").lower(): k for k in known}
    bare = name.replace("_", "").replace("-", "").lower()
    near = get_close_matches(bare, folded, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {folded[near[0]]!r}?"
    if not known:
        return "; there are none"
    more = f" and {len(known) - 24} more" if len(known) > 24 else ""
    return f"; there are {', '.join(known[:24])}{more}"
