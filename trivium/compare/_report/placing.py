"""Where things go in a chart: the span of an axis, names beside points and at line ends, none on top of another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

LETTER = 6.9
"""Pixels, the mean width of a bold letter at 12 px, rounded up."""

_SIDES = (
    ("left", 11, 0), ("right", -11, 0), ("left", 9, -12), ("left", 9, 12), ("right", -9, -12), ("right", -9, 12),
    ("center", 0, -17), ("center", 0, 17), ("left", 9, -26), ("left", 9, 26), ("right", -9, -26), ("right", -9, 26),
)  # fmt: skip
_SHARE_TO_THE_LEFT = {"left": 0.0, "center": 0.5, "right": 1.0}

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Span:
    """The domain of an axis, fixed here rather than by the chart, so that it is known where points will be."""

    low: float
    high: float
    logarithmic: bool = False

    @classmethod
    def over(cls, values: Sequence[float], *, costs: bool = False) -> "Span":
        """Around the values. Costs that differ thirtyfold get a logarithmic axis."""
        low, high = min(values), max(values)
        logarithmic = costs and low > 0 and high > 30 * low
        if low == high:
            room = abs(low) / 10 or 1.0
            low, high = low - room, high + room
        return cls(low, high, logarithmic)

    def widened(self, share: float) -> "Span":
        """Room on both sides, as a share of the length."""
        if self.logarithmic:
            by = (self.high / self.low) ** share
            return Span(self.low / by, self.high * by, True)
        by = (self.high - self.low) * share
        return Span(self.low - by, self.high + by)

    def share(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def scale(self) -> alt.Scale:
        """As altair takes it."""
        return alt.Scale(
            type="log" if self.logarithmic else "linear", domain=[self.low, self.high], nice=False, zero=False
        )


def beside_points(rows: list[dict[str, Any]], across: Span, up: Span, width: float, height: float) -> None:
    """Give each point ``align``, ``dx`` and ``dy``: the side on which its name covers least of other names, markers and
    intervals, and does not leave the chart."""
    at = [(across.share(row["x"]) * width, (1 - up.share(row["y"])) * height) for row in rows]
    taken: list[Box] = [(x - 7, y - 7, x + 7, y + 7) for x, y in at]
    for row, (x, y) in zip(rows, at, strict=True):
        taken.append((x - 1, (1 - up.share(row["high"])) * height, x + 1, (1 - up.share(row["low"])) * height))
        taken.append((across.share(row["left"]) * width, y - 1, across.share(row["right"]) * width, y + 1))
    neighbours = [sum(math.dist(here, there) < 90 for there in at) for here in at]
    for i in sorted(range(len(rows)), key=lambda i: -neighbours[i]):  # the most crowded chooses first
        wide = len(rows[i]["name"]) * LETTER
        boxes = [_box(at[i], side, wide) for side in _SIDES]
        costs = [
            sum(_overlap(box, other) for other in taken) + 40 * _outside(box, width, height) + place
            for place, box in enumerate(boxes)
        ]
        best = costs.index(min(costs))
        taken.append(boxes[best])
        rows[i]["align"], rows[i]["dx"], rows[i]["dy"] = _SIDES[best]


def at_ends(labels: list[dict[str, Any]], up: Span, height: float, gap: float = 15.0) -> None:
    """Give the labels at line ends a ``dy`` that keeps them apart and in order."""
    labels.sort(key=lambda row: -row["y"])
    wanted = [(1 - up.share(row["y"])) * height for row in labels]
    placed: list[float] = []
    for y in wanted:
        placed.append(max(y, placed[-1] + gap) if placed else y)
    limit = height
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], limit)
        limit = placed[i] - gap
    for row, y, before in zip(labels, placed, wanted, strict=True):
        row["dy"] = y - before


def thinned(points: list[tuple[float, float]], most: int = 240) -> list[tuple[float, float]]:
    """At most about so many points, evenly taken, the last one kept."""
    stride = -(-len(points) // most) if points else 1
    kept = points[::stride]
    return kept if not points or kept[-1] == points[-1] else [*kept, points[-1]]


def _box(at: tuple[float, float], side: tuple[str, int, int], wide: float) -> Box:
    align, dx, dy = side
    left = at[0] + dx - _SHARE_TO_THE_LEFT[align] * wide
    return left, at[1] + dy - 7, left + wide, at[1] + dy + 7


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _outside(box: Box, width: float, height: float) -> float:
    return max(0.0, -box[0]) + max(0.0, box[2] - width) + max(0.0, -box[1]) + max(0.0, box[3] - height)
