"""What a report says of contenders that were trained: orders by what is held equal, and gains with the budget."""

from collections.abc import Mapping
from typing import Any

from trivium.compare._report import wording

Report = Mapping[str, Any]

SLOPE_HEADS = ("contender", "slope", "interval", "against the baseline", "interval", "Holm", "verdict")
_EQUAL = {"flops": "FLOPs", "tokens": "training tokens", "seconds": "seconds"}


def orders(report: Report) -> list[str]:
    """From the best to the worst by what is held equal, and whether it matters which."""
    found = report.get("rankings") or []
    if not found:
        return []
    by_order: dict[tuple[str, ...], list[str]] = {}
    for one in found:
        scale = wording.cost_scale(one["axis"], [one["at"]])
        amount = f"{scale(one['at'])} {scale.suffix}".strip()
        by_order.setdefault(tuple(one["order"]), []).append(f"{_EQUAL[one['axis']]} ({amount})")
    lines = [
        f"From the best, by held-out bits per byte at equal {' and '.join(axes)}: {', '.join(order)}."
        for order, axes in by_order.items()
    ]
    if len(found) == 1:
        return lines
    said = (
        "What is held equal does not change the order."
        if len(by_order) == 1
        else "The order depends on what is held equal. Where a curve had not ended the learning rate was still high: "
        "the order by the budget is the result, the others are hints."
    )
    return [*lines, said]


def scaled_orders(report: Report) -> list[str]:
    """Whether a larger budget changes the order."""
    found = (report.get("scaling") or {}).get("orders") or []
    if len(found) < 2:
        return []
    unit = str((report.get("budget") or {}).get("unit") or "")
    if len({tuple(one["order"]) for one in found}) == 1:
        return [f"At every budget the order is the same, from the best: {', '.join(found[-1]['order'])}."]
    scale = wording.cost_scale(unit, [one["budget"] for one in found])
    return [f"At {scale(one['budget'])} {scale.suffix}, from the best: {', '.join(one['order'])}." for one in found]


def slopes(report: Report) -> list[list[str]]:
    """A row per contender: how fast the logarithm of the measure falls with that of the budget, steepest first."""
    found = report.get("scaling") or {}
    pairs = {pair["a"]: pair for pair in found.get("pairs") or ()}
    lines = found.get("slopes") or {}
    halves = [
        (line["high"] - line["low"]) / 2 for line in lines.values() if wording.finite(line.get("low")) is not None
    ]
    scale = wording.measure_scale([line["mean"] for line in lines.values()], halves)
    rows = []
    for name, line in sorted(lines.items(), key=lambda item: -item[1]["mean"]):
        pair = pairs.get(name) or {}
        rows.append(
            [
                name, scale(line["mean"]), wording.interval(line.get("low"), line.get("high"), scale),
                scale(pair.get("difference"), sign=True) if pair else "baseline",
                wording.interval(pair.get("low"), pair.get("high"), scale, sign=True),
                wording.p_value(pair.get("p_holm")), str(pair.get("verdict") or ""),
            ]
        )  # fmt: skip
    return rows
