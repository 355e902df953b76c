"""N-grams that come back."""

from collections.abc import Sequence


def repetition(ids: Sequence[int], n: int) -> float | None:
    """Share of n-grams that occurred before; None for a text without any."""
    grams = [tuple(ids[at : at + n]) for at in range(len(ids) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else None
