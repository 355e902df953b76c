"""The charts of a report as SVG: cost against quality, differences to the baseline, training curves.

Each is drawn once, in the colours of the light theme, so that it works without a script and stands alone as a file; see
``looks`` for the dark theme. Charts come in two widths, for a desk and for a phone.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from xml.etree import ElementTree

import altair as alt
import numpy as np
import vl_convert

from trivium.compare._report import wording
from trivium.compare._report.columns import held, titles
from trivium.compare._report.looks import BAD, GOOD, INK, LINE, MUTED, PAPER, Look, looks
from trivium.compare._report.markup import Html
from trivium.compare._report.placing import LETTER, Span, at_ends, beside_points, thinned
from trivium.compare._report.wording import finite
from trivium.core.text import one_line

Report = Mapping[str, Any]
Row = dict[str, Any]

WIDE, NARROW = 960, 326
MARGIN = 58
"""Left of a chart, for the numbers of its axis."""

_MEASURED = "Arial"
_SHOWN = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', Arial, sans-serif"
# Letters are measured in one plain font, which is quick; page and picture show them in the reader's own.
_CONFIG = {
    "background": "transparent",
    "font": _MEASURED,
    "padding": 4,
    "view": {"stroke": None},
    "text": {"font": _MEASURED},
    "axis": {
        "domain": False, "gridColor": LINE, "tickColor": LINE, "labelColor": MUTED, "titleColor": MUTED,
        "labelFontSize": 11.5, "titleFontSize": 12, "titleFontWeight": 500, "titlePadding": 8,
        "labelFont": _MEASURED, "titleFont": _MEASURED,
    },
}  # fmt: skip
_KEPT = """
    width height viewBox transform d x y x1 x2 y1 y2 fill stroke opacity fill-opacity stroke-opacity stroke-width
    stroke-dasharray stroke-linecap stroke-miterlimit text-anchor font-size font-weight clip-path id
"""  # attributes of a drawing that the page has a use for
_LONG_NUMBER = re.compile(r"\d+\.\d{3,}(?:e-?\d+)?")
_VERDICT_SHAPES = {wording.SUPPORTED: "triangle-up", wording.CONTRADICTED: "triangle-down"}
_VERDICT_COLOURS = {wording.SUPPORTED: GOOD, wording.CONTRADICTED: BAD}
_AXES = {
    "bits_per_byte": "bits per byte on held-out text", "loss": "training loss", "step": "step",
    "flops": "training FLOPs", "tokens": "training tokens", "seconds": "seconds",
    "position": "position in the text, up to", "bits": "bits per held-out token",
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A chart, and its data by name: apart, because altair copies and checks what it holds over and over."""

    chart: Any
    rows: Mapping[str, Sequence[Row]]
    told: str


def tradeoff(report: Report, measure: str, unit: str, width: int = WIDE) -> Html | None:
    """Cost against quality: a marker per contender, its interval upright, the middle half of its costs level. None
    where fewer than two contenders have both."""
    return _svg(_tradeoff(report, measure, unit, width, 430 if width > 500 else 330))


def forest(report: Report, measure: str, width: int = WIDE) -> Html | None:
    """Differences to the baseline with intervals and verdicts, a row per pair. None where there is no pair."""
    return _svg(_forest(report, measure, width))


def ratios(report: Report, group: str, width: int = WIDE) -> Html | None:
    """Within a group of examples each contender's speed over the baseline's, and the bound on it as an upright tick."""
    return _svg(_ratios(report, group, width))


def reliability(report: Report, task: str, width: int = WIDE) -> Html | None:
    """How often each model was right over how sure it was, with the line on which the two agree."""
    return _svg(_reliability(report, task, min(width, 560), 400 if width > 500 else 300))


def spread(report: Report, task: str, width: int = WIDE) -> Html | None:
    """A row per model: the accuracy of every format, and spreads beside those that chance alone shows."""
    return _svg(_spread(report, task, width))


def curves(report: Report, across: str, up: str, width: int = WIDE) -> Html | None:
    """Training curves: a thin line per seed and a thick one for their mean. None where nothing has both axes."""
    return _svg(_curves(report, across, up, width, 380 if width > 500 else 320))


def positions(report: Report, width: int = WIDE) -> Html | None:
    """Loss of held-out tokens by where they stand, drawn like the training curves."""
    return _svg(_curves(report, "position", "bits", width, 380 if width > 500 else 320, "positions"))


def scaling(report: Report, width: int = WIDE) -> Html | None:
    """The leading measure at each budget on logarithmic axes, the line that was fitted, and dashed how it would go on
    to twice the largest. None where there was one budget."""
    return _svg(_scaling(report, width, 430 if width > 500 else 340))


def picture(report: Report, measure: str | None = None, unit: str | None = None) -> str:
    """One SVG for a README or a slide: title, cost against quality or training curves, and the differences beneath."""
    measure = measure or next(iter(titles(report)), "")
    unit = unit or next(iter(cost_units(report)), "")
    across, up = curve_axes(report)
    trained = _curves(report, across[0], up[0], WIDE, 380) if across and up else None
    parts = [trained or _tradeoff(report, measure, unit, WIDE, 400), _forest(report, measure, WIDE)]
    drawings = [part for part in parts if part is not None]
    if not drawings:
        raise ValueError(
            f"there is nothing to draw in {report.get('title') or 'this report'!r}: no two contenders have both "
            f"{measure or 'a measure'} and {unit or 'a cost'}"
        )
    title = alt.TitleParams(
        _short(report.get("title") or "", 90), subtitle=[f"held equal: {held(report)}"],
        anchor="start", fontSize=19, subtitleFontSize=13, color=INK, subtitleColor=MUTED, offset=18,
        font=_MEASURED, subtitleFont=_MEASURED,
    )  # fmt: skip
    charts = alt.vconcat(*(drawing.chart for drawing in drawings), spacing=34).resolve_scale(color="independent")
    rows = {name: rows for drawing in drawings for name, rows in drawing.rows.items()}
    svg = _converted(Drawing(charts.properties(title=title), rows, ""), background=PAPER)
    return svg.replace(f'font-family="{_MEASURED}"', f'font-family="{_SHOWN}"')


def cost_units(report: Report) -> list[str]:
    """Units worth an axis: spent by two contenders and not the same for all; all that were spent where none differs."""
    spent: dict[str, list[float]] = {}
    for contender in report["contenders"]:
        for unit, amount in (contender.get("spent") or {}).items():
            if (finite((amount or {}).get("median")) or 0) > 0 and "_per_" not in unit:
                spent.setdefault(unit, []).append(amount["median"])
    known = [unit for unit in report.get("units") or spent if len(spent.get(unit, ())) > 1]
    if spent.get("evaluations") == spent.get("calls") and "calls" in known:
        known = [unit for unit in known if unit != "evaluations"]
    differ = [unit for unit in known if max(spent[unit]) > 1.02 * min(spent[unit])]
    first = ("flops", "calls", "evaluations", "seconds")
    return sorted(differ or known, key=lambda unit: first.index(unit) if unit in first else len(first))


def undominated(report: Report, measure: str, unit: str) -> list[str]:
    """The Pareto frontier: contenders such that no other is at least as good and as cheap, and one of both more so;
    cheapest first, by the means alone. None where the measure has no direction."""
    better = _measure(report, measure).get("higher_is_better")
    if better is None:
        return []
    found = []
    for contender in report["contenders"]:
        y = finite(((contender.get("measures") or {}).get(measure) or {}).get("mean"))
        x = finite(((contender.get("spent") or {}).get(unit) or {}).get("median"))
        if x is not None and y is not None:
            found.append((x, -y if better else y, contender["name"]))
    beaten = lambda x, y: any(a <= x and b <= y and (a, b) != (x, y) for a, b, _ in found)  # noqa: E731
    return [name for x, y, name in sorted(found) if not beaten(x, y)]


def curve_axes(report: Report) -> tuple[list[str], list[str]]:
    """Which columns of the curves can be drawn across and up."""
    lines = [rows for seeds in (report.get("curves") or {}).values() for rows in seeds.values()]

    def drawn(name: str) -> bool:
        return any(sum(finite(row.get(name)) is not None for row in rows) > 1 for rows in lines)

    across = [name for name in ("flops", "tokens", "seconds", "step") if drawn(name)]
    return across[:3], [name for name in ("bits_per_byte", "loss") if drawn(name)]


def _tradeoff(report: Report, measure: str, unit: str, width: int, height: int) -> Drawing | None:
    look = looks(report)
    rows: list[Row] = []
    named: list[str] = []
    for contender in report["contenders"]:
        quality = (contender.get("measures") or {}).get(measure) or {}
        cost = (contender.get("spent") or {}).get(unit) or {}
        y, x = finite(quality.get("mean")), finite(cost.get("median"))
        if x is None or y is None:
            continue
        named.append(contender["name"])
        rows.append(
            {
                "name": _short(contender["name"]), "x": x, "y": y, **_drawn(look[contender["name"]]),
                "low": _or(quality.get("low"), y), "high": _or(quality.get("high"), y),
                "left": _or(cost.get("low"), x), "right": _or(cost.get("high"), x),
            }
        )  # fmt: skip
    if len(rows) < 2:
        return None
    best = undominated(report, measure, unit)
    for row, name in zip(rows, named, strict=True):
        row["best"] = name in best
    written = wording.measure_scale([row["y"] for row in rows], [(row["high"] - row["low"]) / 2 for row in rows])
    price = wording.cost_scale(unit, [row["x"] for row in rows])
    for row in rows:
        ends = wording.interval(row["low"], row["high"], written) if row["low"] < row["high"] else ""
        amount = f"{price(row['x'])} {price.suffix or wording.unit_title(unit)}"
        row["told"] = f"{row['name']}: {' '.join(filter(None, [written(row['y']), ends]))} at {amount}"
        row["told"] += ", none is cheaper and better" * row["best"]
    inner = width - MARGIN
    longest = max(len(row["name"]) for row in rows) * LETTER
    across = Span.over([row[end] for row in rows for end in ("left", "right")], costs=True)
    across = across.widened(min(0.3, 0.5 * longest / inner))  # room for the names of the outermost points
    up = Span.over([row[end] for row in rows for end in ("low", "high")]).widened(0.08)
    beside_points(rows, across, up, inner, height)
    x = alt.X("x:Q", title=wording.unit_title(unit), scale=across.scale(), axis=_cost_axis(price, inner))
    y = alt.Y("y:Q", title=None, scale=up.scale(), axis=alt.Axis(tickCount=6))
    base = alt.Chart(alt.NamedData("tradeoff")).encode(color=_plain("colour"))
    rule = base.mark_rule(aria=False, strokeWidth=1.5, opacity=0.55)
    front = sorted((row["x"], row["y"]) for row in rows if row["best"])
    stairs = (
        [{"x": x, "y": y, "order": n} for n, (x, y) in enumerate([*front, (across.high, front[-1][1])])] if best else []
    )
    frontier = alt.Chart(alt.NamedData("frontier")).mark_line(
        aria=False, interpolate="step-after", strokeWidth=1.5, strokeDash=[5, 4], stroke=MUTED, clip=True
    )
    ring = base.transform_filter("datum.best").mark_point(
        aria=False, size=330, filled=False, opacity=1, strokeWidth=1.6
    )
    side = {name: alt.expr(f"datum.{name}") for name in ("align", "dx", "dy")}
    layers = [
        *([frontier.encode(x=x, y=y, order=alt.Order("order:Q"))] if best else []),
        rule.encode(x=x, y=alt.Y("low:Q", title=None), y2=alt.Y2("high:Q")),
        base.mark_rule(aria=False, opacity=0.3).encode(x=alt.X("left:Q"), x2=alt.X2("right:Q"), y=y),
        *_text(
            base,
            {"x": x, "y": y, "text": alt.Text("name:N")},
            limit=inner // 2,
            baseline="middle",
            fontWeight=600,
            **side,
        ),
        base.mark_point(size=110, filled=True, opacity=1, stroke=PAPER, strokeWidth=1.2).encode(
            x=x, y=y, shape=alt.Shape("shape:N", scale=None, legend=None), description=alt.Description("told:N")
        ),
        *([ring.encode(x=x, y=y, shape=alt.value("circle"))] if best else []),
    ]
    title = _title(f"{_named(report, measure)}", wording.direction(_measure(report, measure)), inner)
    told = f"{wording.unit_title(unit)} against {_named(report, measure)}, a marker per contender"
    if best:
        told += f"; none is cheaper and better than {', '.join(map(_short, best))}"
    drawn = alt.layer(*layers).properties(width=inner, height=height, title=title)
    return Drawing(drawn, {"tradeoff": rows, **({"frontier": stairs} if best else {})}, told)


def _forest(report: Report, measure: str, width: int) -> Drawing | None:
    look, wide = looks(report), width > 500
    ratio, rows = bool(_measure(report, measure).get("ratio")), []
    same = 1.0 if ratio else 0.0
    pairs = [pair for pair in report.get("pairs") or [] if pair["measure"] == measure and pair["a"] in look]
    for pair in pairs:
        x, verdict = finite(pair.get("difference")), pair.get("verdict") or ""
        if x is None:
            continue
        own, amount = look[pair["a"]], " ".join(wording.difference(pair, _measure(report, measure)))
        rows.append(
            {
                "row": len(rows), "name": _short(pair["a"]), "x": x, "amount": amount.strip(), "mark": own.colour,
                "low": _or(pair.get("low"), x), "high": _or(pair.get("high"), x),
                "verdict": verdict or "no verdict", "shape": _VERDICT_SHAPES.get(verdict, "circle"),
                "colour": own.own(_VERDICT_COLOURS.get(verdict, MUTED)), "ink": own.own(INK),
                "inside": own.own(_VERDICT_COLOURS.get(verdict, PAPER)),
                "told": f"{_short(pair['a'])}: {amount} {wording.p_value(pair.get('p_holm'))} {verdict}".strip(),
            }
        )  # fmt: skip
    if not rows:
        return None
    across = Span.over([same, *(row[end] for row in rows for end in ("low", "high"))]).widened(0.06)
    written = wording.measure_scale([row["x"] for row in rows], [(row["high"] - row["low"]) / 2 for row in rows])
    names, amounts, words = (max(len(row[key]) for row in rows) * 6.8 for key in ("name", "amount", "verdict"))
    inner = int(max(200, width - names - amounts - words - 64)) if wide else width - 16
    better = _measure(report, measure).get("higher_is_better")
    x = alt.X(
        "x:Q",
        title="" if better is None else ("worse ← {} → better" if better else "better ← {} → worse").format(int(same)),
        scale=across.scale(),
        axis=alt.Axis(
            grid=True,
            tickCount=max(3, inner // 90),
            labelExpr=f"datum.value == 0 ? '0' : format(datum.value, '{'' if ratio else '+'}.{written.decimals}~f')",
        ),
    )
    y = alt.Y("row:O", axis=None, sort=None)
    base = alt.Chart(alt.NamedData("forest")).encode(color=_plain("colour"))
    down = 0 if wide else 12
    name = {"y": y, "text": alt.Text("name:N"), "color": _plain("mark")}
    verdict = {"y": y, "text": alt.Text("verdict:N")}
    if wide:
        ink = {"y": y, "text": alt.Text("amount:N"), "color": _plain("ink")}
        texts = [
            *_text(base, {"x": alt.value(-12), **name}, align="right", fontWeight=600),
            *_text(base, {"x": alt.value(inner + 14 + amounts), **ink}, align="right"),
            *_text(base, {"x": alt.value(inner + 34 + amounts), **verdict}, align="left", fontWeight=600),
        ]
    else:
        texts = [
            *_text(base, {"x": alt.value(0), **name}, align="left", fontWeight=600, yOffset=-12, limit=inner * 0.55),
            *_text(base, {"x": alt.value(inner), **verdict}, align="right", fontWeight=600, yOffset=-12),
        ]
    layers = [
        base.mark_rule(aria=False, strokeDash=[3, 3]).encode(x=alt.XDatum(same), color=alt.value(MUTED)),
        base.mark_rule(aria=False, strokeWidth=2.5, yOffset=down).encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"), y=y),
        base.mark_point(size=90, filled=True, opacity=1, strokeWidth=2, yOffset=down).encode(
            x=x,
            y=y,
            stroke=_plain("colour", alt.Stroke),
            fill=_plain("inside", alt.Fill),
            shape=alt.Shape("shape:N", scale=None, legend=None),
            description=alt.Description("told:N"),
        ),
        *texts,
    ]
    baseline = _short(report.get("baseline") or "the baseline")
    title = _title(f"{'Ratio' if ratio else 'Difference'} in {_named(report, measure)}", f"to {baseline}", width - 16)
    told = f"{'Ratios' if ratio else 'Differences'} to {baseline} in {_named(report, measure)}, a row per contender"
    height = alt.Step(36 if wide else 62)
    return Drawing(alt.layer(*layers).properties(width=inner, height=height, title=title), {"forest": rows}, told)


def _ratios(report: Report, group: str, width: int) -> Drawing | None:
    table = next((table for table in report.get("by_group") or [] if table["group"] == group), None)
    if table is None or not table["against"]:
        return None
    look, wide, base = looks(report), width > 500, table["against"][0]
    rows: list[Row] = []
    for entry in table["rows"]:
        x, bound = finite(entry["ratios"].get(base)), finite(entry["values"].get(table["bound"]))
        if x is None or entry["name"] == base or entry["name"] not in look:
            continue
        own = look[entry["name"]]
        said = f"{x:.2f}" + (f" of at most {bound:.2f}" if bound is not None else "")
        rows.append(
            {"row": len(rows), "name": _short(entry["name"]), "x": x, "from": 1.0, "bound": bound, "mark": own.colour,
             "colour": own.colour, "ink": own.own(INK), "shape": own.shape, "said": said,
             "told": f"{_short(entry['name'])}: {said} times as fast as {base}"}
        )  # fmt: skip
    if not rows:
        return None
    names, figures = (max(len(row[key]) for row in rows) * 6.8 for key in ("name", "said"))
    inner = int(max(200, width - names - figures - 40)) if wide else width - 16
    reached = [value for row in rows for value in (row["x"], row["bound"]) if value is not None]
    across = Span.over([0.0, 1.0, *reached]).widened(0.03)
    x = alt.X("x:Q", title=f"slower ← 1 → faster than {_short(base)}", scale=across.scale())
    y, down = alt.Y("row:O", axis=None, sort=None), 0 if wide else 12
    drawn = alt.Chart(alt.NamedData("ratios")).encode(color=_plain("colour"))
    bounds = alt.Chart(alt.NamedData("bounds")).encode(color=_plain("colour"))
    name = {"y": y, "text": alt.Text("name:N"), "color": _plain("mark")}
    said = {"y": y, "text": alt.Text("said:N"), "color": _plain("ink")}
    if wide:
        texts = [
            *_text(drawn, {"x": alt.value(-12), **name}, align="right", fontWeight=600),
            *_text(drawn, {"x": alt.value(inner + 12), **said}, align="left"),
        ]
    else:
        texts = [
            *_text(drawn, {"x": alt.value(0), **name}, align="left", fontWeight=600, yOffset=-12, limit=inner * 0.6),
            *_text(drawn, {"x": alt.value(inner), **said}, align="right", yOffset=-12),
        ]
    layers = [
        drawn.mark_rule(aria=False, strokeDash=[3, 3]).encode(x=alt.XDatum(1.0), color=alt.value(MUTED)),
        drawn.mark_rule(aria=False, strokeWidth=2, opacity=0.5, yOffset=down).encode(
            x=alt.X("from:Q"), x2=alt.X2("x:Q"), y=y
        ),
        bounds.mark_tick(aria=False, thickness=2.5, size=18, yOffset=down).encode(x=alt.X("bound:Q"), y=y),
        drawn.mark_point(size=90, filled=True, opacity=1, yOffset=down).encode(
            x=x, y=y, shape=alt.Shape("shape:N", scale=None, legend=None), description=alt.Description("told:N")
        ),
        *texts,
    ]
    title = _title(f"Speed over {_short(base)}: {_short(group)}", "upright ticks are bounds", width - 16)
    told = f"Speed over {base} on {group}, a row per contender"
    data = {"ratios": rows, "bounds": [row for row in rows if row["bound"] is not None]}
    height = alt.Step(30 if wide else 56)
    return Drawing(alt.layer(*layers).properties(width=inner, height=height, title=title), data, told)


def _curves(report: Report, across: str, up: str, width: int, height: int, source: str = "curves") -> Drawing | None:
    look = looks(report)
    thin: list[Row] = []
    thick: list[Row] = []
    for contender, seeds in (report.get(source) or {}).items():
        if contender not in look:
            continue
        drawn = {"name": _short(contender), **_drawn(look[contender])}
        lines = []
        for rows in seeds.values():
            both = ((finite(row.get(across)), finite(row.get(up))) for row in rows)
            lines.append(thinned([(x, y) for x, y in both if x is not None and y is not None]))
        lines = [line for line in lines if len(line) > 1]
        if len(lines) > 1:
            thin += [
                {**drawn, "line": f"{contender} {n}", "x": x, "y": y} for n, line in enumerate(lines) for x, y in line
            ]
        thick += [{**drawn, "line": contender, "x": x, "y": y} for x, y in _mean_line(lines)]
    if not thick:
        return None
    # The first steps fall far and would flatten all that follows: the axis ends where a tenth of the way is done.
    span = Span.over([row["x"] for row in [*thin, *thick]], costs=across == "position")
    late = [row["y"] for row in [*thin, *thick] if span.share(row["x"]) >= 0.1]
    rise = Span.over(late or [row["y"] for row in thick]).widened(0.05)
    ends = list({row["line"]: {**row, "y": min(row["y"], rise.high)} for row in thick}.values())
    at_ends(ends, rise, height)
    label = min(max(len(row["name"]) for row in ends) * LETTER + 12, width * 0.4)
    inner = int(width - MARGIN - label)
    price = wording.cost_scale(across, [row["x"] for row in thick])
    x = alt.X("x:Q", title=_AXES[across], scale=span.scale(), axis=_cost_axis(price, inner))
    y = alt.Y("y:Q", title=None, scale=rise.scale(), axis=alt.Axis(tickCount=6))
    dashes = alt.Scale(domain=[row["name"] for row in ends], range=[row["dash"] for row in ends])
    line, dash = alt.Detail("line:N"), alt.StrokeDash("name:N", scale=dashes, legend=None)
    on = lambda name: alt.Chart(alt.NamedData(name)).encode(color=_plain("colour"))  # noqa: E731
    layers = [
        on("seeds").mark_line(aria=False, strokeWidth=1, opacity=0.35, clip=True).encode(x=x, y=y, detail=line),
        on("means").mark_line(aria=False, strokeWidth=2.4, clip=True).encode(x=x, y=y, detail=line, strokeDash=dash),
        *_text(
            on("ends"), {"x": x, "y": y, "text": alt.Text("name:N")},
            align="left", baseline="middle", dx=8, dy=alt.expr("datum.dy"), fontWeight=600, limit=label,
        ),
    ]  # fmt: skip
    title = _title(_AXES[up], "lower is better", inner)
    rows = {"seeds": thin, "means": thick, "ends": ends}
    told = f"{_AXES[up]} over {_AXES[across]}, a line per contender"
    return Drawing(alt.layer(*layers).properties(width=inner, height=height, title=title), rows, told)


def _scaling(report: Report, width: int, height: int) -> Drawing | None:
    look, found, measure = looks(report), report.get("scaling") or {}, next(iter(report["measures"]), {})
    dots: list[Row] = []
    solid: list[Row] = []
    beyond: list[Row] = []
    for name, points in (found.get("points") or {}).items():
        if name not in look:
            continue
        drawn = {"name": _short(name), **_drawn(look[name])}
        for point in points:
            low, high = _or(point.get("low"), point["mean"]), _or(point.get("high"), point["mean"])
            told = f"{_short(name)}: {point['mean']:.4g} [{low:.4g}, {high:.4g}] at {point['budget']:.3g}"
            dots.append({**drawn, "x": point["spent"], "y": point["mean"], "low": low, "high": high, "told": told})
        line = (found.get("slopes") or {}).get(name)
        if line:
            at = [point["spent"] for point in points]
            fitted = lambda x, line=line: math.exp(line["intercept"]) * x ** -line["mean"]  # noqa: E731
            solid += [{**drawn, "x": x, "y": fitted(x)} for x in (at[0], at[-1])]
            beyond += [{**drawn, "x": x, "y": fitted(x)} for x in (at[-1], 2 * at[-1])]
    if not dots:
        return None
    across = Span.over([row["x"] for row in [*dots, *beyond]])
    across = Span(across.low, across.high, True).widened(0.03)
    up = Span.over([row[end] for row in dots for end in ("low", "high", "y")] + [row["y"] for row in beyond])
    up = Span(up.low, up.high, up.low > 0).widened(0.05)
    ends = list({row["name"]: dict(row) for row in (beyond or dots)}.values())
    at_ends(ends, up, height)
    label = min(max(len(row["name"]) for row in ends) * LETTER + 12, width * 0.4)
    inner = int(width - MARGIN - label)
    unit = str((report.get("budget") or {}).get("unit") or "")
    title = _AXES.get(unit, wording.unit_title(unit))
    budgets = sorted({point["budget"] for points in found["points"].values() for point in points})
    ticks = alt.Axis(values=[*budgets, 2 * budgets[-1]], format="~s", labelOverlap=True)
    x = alt.X("x:Q", title=title, scale=across.scale(), axis=ticks)
    y = alt.Y("y:Q", title=None, scale=up.scale(), axis=alt.Axis(tickCount=6))
    on = lambda name: alt.Chart(alt.NamedData(name)).encode(color=_plain("colour"))  # noqa: E731
    each, dashed = alt.Detail("name:N"), {"strokeDash": [3, 4], "strokeWidth": 1.4, "opacity": 0.7}
    layers = [
        on("beyond").mark_line(aria=False, **dashed).encode(x=x, y=y, detail=each),
        on("solid").mark_line(aria=False, strokeWidth=2).encode(x=x, y=y, detail=each),
        on("dots").mark_rule(aria=False, strokeWidth=1.5, opacity=0.55).encode(
            x=x, y=alt.Y("low:Q", title=None), y2=alt.Y2("high:Q")
        ),
        on("dots").mark_point(size=80, filled=True, opacity=1, stroke=PAPER, strokeWidth=1.2).encode(
            x=x, y=y, shape=alt.Shape("shape:N", scale=None, legend=None), description=alt.Description("told:N")
        ),
        *_text(
            on("ends"), {"x": x, "y": y, "text": alt.Text("name:N")},
            align="left", baseline="middle", dx=8, dy=alt.expr("datum.dy"), fontWeight=600, limit=label,
        ),
    ]  # fmt: skip
    head = _title(f"{_named(report, str(measure.get('name', '')))}", wording.direction(measure), inner)
    told = f"{_named(report, str(measure.get('name', '')))} by {title}, a line per contender"
    rows = {"dots": dots, "solid": solid, "beyond": beyond, "ends": ends}
    return Drawing(alt.layer(*layers).properties(width=inner, height=height, title=head), rows, told)


def _reliability(report: Report, task: str, width: int, height: int) -> Drawing | None:
    look = looks(report)
    rows: list[Row] = []
    for name, entry in ((report.get("calibration") or {}).get(task) or {}).items():
        for group in entry["groups"]:
            right, sure = f"{group['accuracy']:.2f}", f"{group['confidence']:.2f}"
            told = f"{_short(name)}: {right} right at confidence {sure}, n = {group['n']}"
            rows.append(
                {"name": _short(name), "x": group["confidence"], "y": group["accuracy"], "low": group["low"],
                 "high": group["high"], "told": told, **_drawn(look[name])}
            )  # fmt: skip
    if not rows:
        return None
    inner = width - MARGIN
    unit = alt.Scale(domain=[0, 1])
    x = alt.X("x:Q", title="confidence", scale=unit, axis=alt.Axis(tickCount=5))
    y = alt.Y("y:Q", title=None, scale=unit, axis=alt.Axis(tickCount=5))
    base = alt.Chart(alt.NamedData("reliability")).encode(color=_plain("colour"))
    even = alt.Chart(alt.NamedData("even")).mark_line(aria=False, stroke=MUTED, strokeDash=[5, 4], strokeWidth=1.5)
    layers = [
        even.encode(x=x, y=y),
        base.mark_line(aria=False, strokeWidth=1.6, opacity=0.7).encode(x=x, y=y, detail=alt.Detail("name:N")),
        base.mark_rule(aria=False, strokeWidth=1.5, opacity=0.55).encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high:Q")),
        base.mark_point(size=90, filled=True, opacity=1, stroke=PAPER, strokeWidth=1.2).encode(
            x=x, y=y, shape=alt.Shape("shape:N", scale=None, legend=None), description=alt.Description("told:N")
        ),
    ]
    title = _title(f"share right: {_short(task, 60)}", "by confidence", inner)
    drawn = alt.layer(*layers).properties(width=inner, height=height, title=title)
    told = f"share of right answers over confidence on {task}, a line per model"
    return Drawing(drawn, {"reliability": rows, "even": [{"x": 0, "y": 0}, {"x": 1, "y": 1}]}, told)


def _spread(report: Report, task: str, width: int) -> Drawing | None:
    look, wide = looks(report), width > 500
    rates: list[Row] = []
    null: list[Row] = []
    observed: list[Row] = []
    names: list[Row] = []
    for number, (label, entry) in enumerate(((report.get("spreads") or {}).get(task) or {}).items()):
        own = look[entry["name"]]
        row = {"row": number, "name": _short(label), "mark": own.colour, **_drawn(own)}
        names.append(row)
        rates += [{**row, "x": x, "told": f"{_short(label)}: right on {x:.0%}"} for x in entry["rates"]]
        counts = entry["null"]
        null += [
            {**row, "from": at / len(counts), "to": (at + 1) / len(counts), "share": count / max(counts)}
            for at, count in enumerate(counts)
            if count
        ]
        observed += [{**row, "x": x, "told": f"{_short(label)}: spread {x:.2f}"} for x in entry["observed"]]
    if not names:
        return None
    label = min(max(len(row["name"]) for row in names) * LETTER + 12, width * 0.4) if wide else 0
    inner = int((width - label - 60) / 2) if wide else width - 16
    y, down = alt.Y("row:O", axis=None, sort=None), 0 if wide else 10
    most = max([0.1, *(row["to"] for row in null), *(row["x"] for row in observed)])

    def on(data: str) -> Any:
        return alt.Chart(alt.NamedData(data)).encode(color=_plain("colour"), y=y)

    def across(title: str, high: float) -> alt.X:
        return alt.X("x:Q", title=title, scale=alt.Scale(domain=[0, high]), axis=alt.Axis(tickCount=5))

    aside = {"align": "right"} if wide else {"align": "left", "yOffset": -12, "limit": inner}
    told = {"x": alt.value(-12 if wide else 0), "y": y, "text": alt.Text("name:N"), "color": _plain("mark")}
    called = _text(on("spread names"), told, fontWeight=600, **aside)
    every = [
        *called,
        on("spread rates")
        .mark_tick(aria=False, thickness=2, size=18, opacity=0.5, yOffset=down)
        .encode(x=across("accuracy", 1.0)),
    ]
    chance = on("spread null").mark_rule(aria=False, strokeWidth=12, yOffset=down)
    apart = [
        *([] if wide else called),
        chance.encode(
            x=alt.X("from:Q"), x2=alt.X2("to:Q"), color=alt.value(MUTED),
            opacity=alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.05, 0.8]), legend=None),
        ),
        on("spread observed").mark_point(size=90, filled=True, opacity=1, yOffset=down).encode(
            x=across("spread", min(1.0, 1.05 * most)), shape=alt.Shape("shape:N", scale=None, legend=None),
            description=alt.Description("told:N"),
        ),
    ]  # fmt: skip
    height = alt.Step(34 if wide else 50)
    panels = [
        alt.layer(*layers).properties(width=inner, height=height, title=_title(title, more, inner))
        for layers, title, more in (
            (every, "accuracy in each format", "a stroke per format and search"),
            (apart, "spread of the formats", "grey: where formats do not matter"),
        )
    ]
    joined = alt.hconcat(*panels, spacing=40) if wide else alt.vconcat(*panels, spacing=24)
    data = {"spread names": names, "spread rates": rates, "spread null": null, "spread observed": observed}
    about = f"accuracy over formats and their spread beside its null on {task}, a row per model"
    return Drawing(joined.resolve_scale(color="independent"), data, about)


def _mean_line(lines: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """The mean over seeds at the points of the first, where all of them have come."""
    if len(lines) < 2:
        return list(lines[0]) if lines else []
    start, stop = max(line[0][0] for line in lines), min(line[-1][0] for line in lines)
    grid = [x for x, _ in lines[0] if start <= x <= stop]
    heights = [np.interp(grid, [x for x, _ in line], [y for _, y in line]) for line in lines]
    return [(x, float(y)) for x, y in zip(grid, np.mean(heights, axis=0), strict=True)]


def _text(base: Any, encoding: Mapping[str, Any], **mark: Any) -> list[Any]:
    """Text in front of a halo of paper, so that no line strikes it through."""
    halo = base.mark_text(aria=False, fontSize=12, stroke=PAPER, strokeWidth=4, **mark)
    plain = base.mark_text(aria=False, fontSize=12, **mark)
    return [halo.encode(**{**encoding, "color": alt.value(PAPER)}), plain.encode(**encoding)]


def _plain(field: str, channel: Any = alt.Color) -> Any:
    """A column that holds colours themselves."""
    return channel(f"{field}:N", scale=None, legend=None)


def _cost_axis(scale: wording.Scale, width: int) -> alt.Axis:
    """Numbers with a prefix where they are large or small."""
    return alt.Axis(
        tickCount=max(4, width // 110),
        format="~s" if scale.power else ",.6~g",
        labelExpr="datum.value == 0 ? '0' : datum.label",
        labelOverlap=True,
    )


def _title(text: str, aside: str, limit: float) -> alt.TitleParams:
    return alt.TitleParams(
        text, subtitle=[aside] if aside else [], anchor="start", frame="group", fontSize=13, fontWeight=600,
        subtitleFontSize=12, color=INK, subtitleColor=MUTED, font=_MEASURED, subtitleFont=_MEASURED, offset=10,
        subtitlePadding=3,
        limit=limit,
    )  # fmt: skip


def _measure(report: Report, name: str) -> Mapping[str, Any]:
    return next((measure for measure in report["measures"] if measure["name"] == name), {})


def _named(report: Report, measure: str) -> str:
    """'mean log-probability (nats/token)'."""
    unit = _measure(report, measure).get("unit")
    return _short(titles(report).get(measure, measure), 60) + (f" ({_short(unit)})" if unit else "")


def _short(text: object, most: int = 32) -> str:
    """A name as a label: printable, on one line, and not longer than a chart can bear."""
    line = one_line(text)
    return line if len(line) <= most else line[: most - 1] + "…"


def _drawn(look: Look) -> Row:
    return {"colour": look.colour, "shape": look.shape, "dash": list(look.dash)}


def _or(value: object, otherwise: float) -> float:
    found = finite(value)
    return otherwise if found is None else found


def _converted(drawing: Drawing, background: str = "transparent") -> str:
    spec = drawing.chart.to_dict(validate=False)
    return vl_convert.vegalite_to_svg(
        {**spec, "datasets": drawing.rows, "config": {**_CONFIG, "background": background}}
    )


def _svg(drawing: Drawing | None) -> Html | None:
    """A drawing for use within the page: labelled, without frames that nobody sees, with a tooltip per marker."""
    if drawing is None:
        return None
    root = ElementTree.fromstring(_converted(drawing))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.get("class") in ("background", "foreground"):
                parent.remove(child)
    mark = sha256(f"{drawing.told} {root.get('width')}".encode()).hexdigest()[:8]  # ids must differ between drawings
    kept_names = frozenset(_KEPT.split())
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2]
        label = node.get("aria-label") if node.tag == "path" else None
        kept = {key: _LONG_NUMBER.sub(_rounded, value) for key, value in node.attrib.items() if key in kept_names}
        if "id" in kept:
            kept["id"] += f"-{mark}"
        if "clip-path" in kept:
            kept["clip-path"] = kept["clip-path"].replace(")", f"-{mark})")
        node.attrib.clear()
        node.attrib.update(kept)
        if label:
            ElementTree.SubElement(node, "title").text = label
    root.attrib.update({"role": "img", "aria-label": drawing.told})
    return Html(ElementTree.tostring(root, encoding="unicode"))


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
