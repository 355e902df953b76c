"""The rule by which a file without splits of its own has some: the first items are the test, half as many behind them
are for validation, and without a number of items all are the test's."""

from collections.abc import Sequence
from typing import TypeVar

Found = TypeVar("Found")


def check(split: str) -> None:
    """Raise ValueError for a split that there is not."""
    if split not in ("validation", "test"):
        raise ValueError(f"the splits are 'validation' and 'test', got {split!r}")


def half(items: int) -> int:
    """How many are for validation where so many are the test; at least one."""
    return -(-items // 2)


def part(found: Sequence[Found], items: int | None, split: str) -> Sequence[Found]:
    """Those of a split. Raises ValueError for a split that there is not."""
    check(split)
    if items is None:
        return found if split == "test" else found[:0]
    return found[:items] if split == "test" else found[items : items + half(items)]
