"""How fast contenders gain from a larger budget, and whether their order depends on what is held equal.

    log loss = c - slope * log budget,   by least squares over the budgets, for each training seed by itself

The slopes of two contenders are compared as their losses are: by the seeds that both have. What a fit says beyond the
largest budget is a guess, which reports draw dashed.

Orders at equal operations, tokens and seconds are read off the held-out curves of the largest budget, at the largest
amount that all contenders reached. Off a curve that has not ended, the learning rate has not come down yet, which is to
the disadvantage of whoever would have gone on: only the order by the budget itself is a result of the comparison.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trivium.evaluation.stats import intervals, multiplicity, paired, verdicts

BySeed = Mapping[int, tuple[float, float]]
"""Seed -> amount of the budget that was spent, and value of the leading measure."""
AXES = ("flops", "tokens", "seconds")
"""What may be held equal and stands in the curves."""


@dataclass(frozen=True)
class Level:
    """What was measured at one budget, by contender and seed."""

    amount: float
    found: Mapping[str, BySeed]


def scaling(levels: Sequence[Level], baseline: str, higher_is_better: bool | None, smoke: bool) -> dict[str, Any]:
    """The points, the slopes and how these compare, as plain data; empty where there are fewer than two budgets.

    ``levels`` ascend. A contender's seed counts where it was measured at every budget, and not at all where a value is
    not positive, for it has no logarithm.
    """
    if len(levels) < 2:
        return {}
    names = list(levels[-1].found)
    whole = {name: [seed for seed in levels[-1].found[name] if all(seed in one.found[name] for one in levels)]
             for name in names}  # fmt: skip
    fits: dict[str, dict[int, tuple[float, float]]] = {}
    for name in names:
        lines = {seed: [one.found[name][seed] for one in levels] for seed in whole[name]}
        if all(value > 0 for line in lines.values() for _, value in line):
            fits[name] = {seed: fit(line) for seed, line in lines.items()}
    return {
        "points": {
            name: [_point(one.amount, [one.found[name][seed] for seed in whole[name]]) for one in levels]
            for name in names
            if whole[name]
        },
        "slopes": {name: _slope(by_seed) for name, by_seed in fits.items() if by_seed},
        "pairs": _pairs(fits, baseline, higher_is_better, smoke),
        "orders": [_order(one, whole, higher_is_better) for one in levels] if higher_is_better is not None else [],
    }


def fit(line: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Slope and intercept of log value over log amount, by least squares; the slope is positive where values fall."""
    x, y = np.log(np.asarray(line, float)).T
    slope, intercept = np.polyfit(x, y, 1)
    return -float(slope), float(intercept)


def _point(amount: float, seen: Sequence[tuple[float, float]]) -> dict[str, Any]:
    found = intervals.mean_interval([value for _, value in seen])
    spent = float(np.mean([spent for spent, _ in seen]))
    return {"budget": amount, "spent": spent, "mean": found.mean, "low": found.low, "high": found.high, "n": found.n}


def _slope(by_seed: Mapping[int, tuple[float, float]]) -> dict[str, Any]:
    found = intervals.mean_interval([slope for slope, _ in by_seed.values()])
    level = float(np.mean([intercept for _, intercept in by_seed.values()]))
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n, "intercept": level}


def _pairs(
    fits: Mapping[str, Mapping[int, tuple[float, float]]], baseline: str, higher_is_better: bool | None, smoke: bool
) -> list[dict[str, Any]]:
    """Differences of slopes to the baseline's. To gain faster is better: of a measure that falls, a larger slope."""
    if baseline not in fits or higher_is_better is None:
        return []
    names, found = [], []
    for name in fits:
        shared = [seed for seed in fits[name] if seed in fits[baseline]]
        if name != baseline and shared:
            names.append(name)
            found.append(
                paired.paired_seeds([fits[name][s][0] for s in shared], [fits[baseline][s][0] for s in shared])
            )
    rows = []
    for name, pair in zip(names, multiplicity.with_holm(found), strict=True):
        said = multiplicity.judged(pair, not higher_is_better, fewest=verdicts.FEWEST_SEEDS)
        rows.append(
            {
                "a": name, "b": baseline, "difference": pair.interval.mean, "low": pair.interval.low,
                "high": pair.interval.high, "p": pair.p, "p_holm": pair.p_holm, "n": pair.interval.n,
                "verdict": "" if smoke else said.verdict or "",
            }
        )  # fmt: skip
    return rows


def _order(level: Level, whole: Mapping[str, Sequence[int]], higher_is_better: bool) -> dict[str, Any]:
    means = {
        name: float(np.mean([by_seed[seed][1] for seed in whole[name]]))
        for name, by_seed in level.found.items()
        if whole[name]
    }
    order = sorted(means, key=lambda name: -means[name] if higher_is_better else means[name])
    return {"budget": level.amount, "order": order}


def rankings(curves: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> list[dict[str, Any]]:
    """Contenders from the best to the worst at equal operations, tokens and seconds, by held-out bits per byte read off
    the curves, as means over seeds; only axes along which each contender has a curve, and only where two contend."""
    found = []
    for axis in AXES:
        lines = {name: [_line(rows, axis) for rows in by_seed.values()] for name, by_seed in curves.items()}
        lines = {name: [line for line in own if line] for name, own in lines.items()}
        if len(lines) < 2 or not all(lines.values()):
            continue
        at = min(line[-1][0] for own in lines.values() for line in own)
        values = {name: float(np.mean([_read(line, at) for line in own])) for name, own in lines.items()}
        order = sorted(values, key=lambda name: values[name])
        found.append({"axis": axis, "at": at, "order": order, "values": [values[name] for name in order]})
    return found


def _line(rows: Sequence[Mapping[str, Any]], axis: str) -> list[tuple[float, float]]:
    both = ((row.get(axis), row.get("bits_per_byte")) for row in rows)
    return [(float(x), float(y)) for x, y in both if x is not None and y is not None and math.isfinite(y)]


def _read(line: Sequence[tuple[float, float]], at: float) -> float:
    x, y = zip(*line, strict=True)
    return float(np.interp(at, x, y))
