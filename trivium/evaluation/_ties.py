"""What a choice counts where several options are equally likely."""

from typing import Literal

Ties = Literal["shared", "first", "wrong"]

ALIKE = 1e-6
"""Nats by which two scores may differ and still tie: sums in single precision are no more exact."""


def credit(numbers: list[float], answer: int, ties: Ties = "shared") -> float:
    """What a question counts where the largest number is the model's answer."""
    best = max(numbers)
    if ties == "first":
        return float(numbers.index(best) == answer)
    places = [at for at, number in enumerate(numbers) if best - number < ALIKE]
    if answer not in places:
        return 0.0
    return 1 / len(places) if ties == "shared" else float(len(places) == 1)
