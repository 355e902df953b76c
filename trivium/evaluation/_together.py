"""Examples of a split are scored together, in large batches, though they are asked for one by one."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar

from trivium.core.nouns import Measure

Found = TypeVar("Found")


def together(find: Callable[[Any, Any, str], Found]) -> Callable[[Any, Any, str], Found]:
    """Make a method (task, system, split) -> what is found keep its last answer, until another system or split is asked
    for. It hangs on the task, and on the model's number rather than the model, so that none is kept alive."""
    slot = f"_kept{find.__name__}"

    @wraps(find)
    def kept(task: Any, system: Any, split: str) -> Found:
        key = (system.serial, split)
        last: tuple[tuple[int, str], Found] | None = vars(task).get(slot)
        if last is None or last[0] != key:
            last = vars(task)[slot] = (key, find(task, system, split))
        return last[1]

    return kept


def absent(measures: Sequence[Measure], values: Mapping[str, float], why: str) -> dict[str, str]:
    """Measure -> why an example has no value of it, as a report takes it from what is shown."""
    return {measure.name: why for measure in measures if measure.name not in values}
