"""Published bounds on what is measured, as rules."""

from collections.abc import Sequence
from dataclasses import dataclass

from trivium.data.rules import Drop


@dataclass(frozen=True)
class Bound:
    """A document falls whose number lies outside."""

    attribute: str
    least: float | None = None
    most: float | None = None
    touching: bool = False
    """Whether a number at the bound itself falls too."""

    def condition(self, method: str) -> str:
        """When a document falls; numbers go by the name of a method."""
        name, equal = f"{method}.{self.attribute}", "=" if self.touching else ""
        low = [] if self.least is None else [f"{name} <{equal} {self.least}"]
        return " or ".join(low + ([] if self.most is None else [f"{name} >{equal} {self.most}"]))


def drops(method: str, bounds: Sequence[Bound]) -> tuple[Drop, ...]:
    """One for each bound, called after what it is about."""
    return tuple(Drop(f"{method}.{bound.attribute}", bound.condition(method)) for bound in bounds)
