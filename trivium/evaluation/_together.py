"""Examples of a split are scored together, in large batches, though they are asked for one by one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trivium.core.nouns import Measure, Observation


class Together:
    """What was found of a split with a system, kept until another of either is asked for."""

    def __init__(self) -> None:
        self._key: tuple[int, str] | None = None
        self._found: Sequence[Observation] = ()

    def __call__(self, system: Any, split: str, find: Callable[[], Sequence[Observation]]) -> Sequence[Observation]:
        key = (system.serial, split)  # so that no model is kept alive
        if key != self._key:
            self._found, self._key = find(), key
        return self._found


def absent(measures: Sequence[Measure], values: Mapping[str, float], why: str) -> dict[str, str]:
    """Measure -> why an example has no value of it, as a report takes it from what is shown."""
    return {measure.name: why for measure in measures if measure.name not in values}
