"""Tuning: the configurations that a contender may try, equally many for each, and which of them was best."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from trivium.compare import contender as text
from trivium.core import seeds
from trivium.core.errors import UnknownName, did_you_mean

LEARNING_RATES = (1.0, 0.5, 2.0, 0.25, 4.0)
"""Factors on the given rate that trained contenders try, in this order, where nothing else is to be tuned."""


@dataclass(frozen=True)
class Tuned:
    """A contender with other settings of its training than the comparison's own."""

    method: Any
    settings: tuple[tuple[str, Any], ...]

    def __str__(self) -> str:
        return f"{text.describe(self.method)} with {', '.join(f'{name}={value:g}' for name, value in self.settings)}"


def described(point: Any) -> str:
    """The canonical text of a configuration."""
    return str(point) if isinstance(point, Tuned) else text.describe(point)


def untuned(point: Any) -> tuple[Any, dict[str, Any]]:
    """The method of a configuration, and the training settings that it changes."""
    return (point.method, dict(point.settings)) if isinstance(point, Tuned) else (point, {})


def default_grid(contender: Any, learning_rate: float | None) -> dict[str, Sequence[Any]]:
    """What a method says may be tuned (``field(metadata={"tune": (2, 4, 8)})``), else the rate it is trained with."""
    said = (
        {f.name: f.metadata["tune"] for f in fields(contender) if "tune" in f.metadata}
        if is_dataclass(contender)
        else {}
    )
    if not said and learning_rate is not None:
        return {"learning_rate": [learning_rate * factor for factor in LEARNING_RATES]}
    return said


def points(
    name: str, contender: Any, grid: Mapping[str, Sequence[Any]], trials: int, settings: Any = None
) -> list[Any]:
    """So many configurations: the contender as given, then points of its grid, in order or, where the grid has more,
    drawn from it without replacement. ``settings`` are those of the training, which a grid may name too.

    Raises UnknownName for a field that neither has, ValueError for a grid with too few points.
    """
    own = {field.name for field in fields(contender) if field.init} if is_dataclass(contender) else set()
    shared = {field.name for field in fields(settings)} if settings is not None else set()
    for key in grid:
        if key not in own | shared:
            raise UnknownName(f"{name} has no field {key!r} to tune{did_you_mean(key, own | shared)}")
    others = []
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        inside = {key: value for key, value in chosen.items() if key in own}
        point: Any = _with(contender, inside)
        changed = tuple((k, v) for k, v in chosen.items() if k not in own and v != getattr(settings, k))
        point = Tuned(point, changed) if changed else point
        if point != contender and point not in others:
            others.append(point)
    if len(others) + 1 < trials:
        raise ValueError(
            f"{name} has {len(others) + 1} configurations to try, but {trials} trials were asked for, as many for all; "
            f"widen tune= for {name}, or lower trials to {len(others) + 1}"
        )
    if len(grid) > 1 and len(others) > trials - 1:
        drawn = seeds.numpy_generator(0, "tuning", name).permutation(len(others))[: trials - 1]
        others = [others[index] for index in sorted(drawn)]
    return [contender, *others[: trials - 1]]


def edges(points: Sequence[Any], settings: Any = None) -> dict[str, str]:
    """Configurations at the end of what was tried of a number, and of what; one that is best may not be the best there
    is. Numbers of which fewer than three values were tried tell nothing."""
    names = {name: None for point in points for name in untuned(point)[1]}
    for point in points:
        own = untuned(point)[0]
        names |= {
            field.name: None
            for field in (fields(own) if is_dataclass(own) else ())
            if getattr(own, field.name) != getattr(untuned(points[0])[0], field.name)
        }
    found: dict[str, list[str]] = {}
    for name in names:
        values = [_value(point, name, settings) for point in points]
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        if len(numbers) < len(values) or len(set(numbers)) < 3:
            continue
        for point, value in zip(points, numbers, strict=True):
            if value in (min(numbers), max(numbers)):
                which = "least" if value == min(numbers) else "greatest"
                found.setdefault(described(point), []).append(f"{name}={value:g} is the {which} tried")
    return {config: ", ".join(words) for config, words in found.items()}


def _value(point: Any, name: str, settings: Any) -> Any:
    own, changed = untuned(point)
    return changed.get(name, getattr(own, name, getattr(settings, name, None)))


def _with(contender: Any, settings: Mapping[str, Any]) -> Any:
    return replace(contender, **settings) if settings else contender


def trial_scores(
    measure: str, weights: Mapping[str, str], records: Iterable[Mapping[str, Any]]
) -> dict[int, tuple[str, float | None]]:
    """Trial -> its configuration and the mean of the measure; None where a unit of the trial failed."""
    trials: dict[int, list[Mapping[str, Any]]] = {}
    for record in records:
        trials.setdefault(record["trial"], []).append(record)
    scores: dict[int, tuple[str, float | None]] = {}
    for trial, found in sorted(trials.items()):
        scored = [record["values"] for record in found if record["example"] and measure in record["values"]]
        value = None
        if scored and not any(record["error"] for record in found):
            by = [values[weights[measure]] if measure in weights else 1.0 for values in scored]
            value = float(np.average([values[measure] for values in scored], weights=by))
        scores[trial] = found[0]["config"], value
    return scores


def best_trial(scores: Mapping[int, tuple[str, float | None]], higher_is_better: bool | None) -> int | None:
    """The trial with the best value; the first of equals, which is the contender as it was given."""
    sign = -1 if higher_is_better is False else 1
    valued = {trial: sign * value for trial, (_, value) in scores.items() if value is not None}
    return min(valued, key=lambda trial: (-valued[trial], trial)) if valued else None
