"""The charts of a report as SVG: cost against quality, differences to the baseline, training curves.

Each is drawn once, in the colours of the light theme; the page's style sheet maps these colours to the dark theme's,
so that one drawing serves both, works without a script, and stands alone as a file. A contender is told by its colour
and by its marker or dash and its label, never by colour alone. Charts come in two widths, for a desk and for a phone.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from xml.etree import ElementTree

import altair as alt
import vl_convert

from trivium.compare._report import wording
from trivium.compare._report.markup import Html, printable

WIDE, NARROW = 700, 326

INK, MUTED, LINE, PAPER = "#1b2027", "#59616b", "#dcdfe3", "#fefefe"
GOOD, BAD = "#116b3f", "#a8281e"
SERIES = ("#4f5863", "#0a62c4", "#b8460b", "#7c3fc4", "#0b7a5b", "#b01563", "#8a6400", "#1b7396")
DARK = {
    INK: "#e9ecf0", MUTED: "#a3acb8", LINE: "#343b45", PAPER: "#14181e", GOOD: "#5fce93", BAD: "#ff8a7d",
    **dict(zip(SERIES, ("#b4bdc8", "#6cb2ff", "#ff9c63", "#c3a0ff", "#4fcfa6", "#ff86bd", "#e2b93b", "#5cc8ee"), strict=True)),
}  # fmt: skip
SHAPES = ("square", "circle", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
DASHES = ([], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [1, 3], [10, 4], [3, 1])
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', Arial, sans-serif"
_NUMBER = re.compile(r"\d+\.\d{3,}(?:e-?\d+)?")
_KEPT = frozenset(
    "width height viewBox transform d x y x1 x2 y1 y2 fill stroke opacity fill-opacity stroke-opacity stroke-width "
    "stroke-dasharray stroke-linecap stroke-miterlimit text-anchor font-size font-weight clip-path id".split()
)
LETTER = 6.4  # pixels, the mean width of a letter at 12 px in the fonts above


@dataclass(frozen=True)
class Look:
    """How one contender is drawn, everywhere in a report."""

    name: str
    colour: str
    shape: str
    dash: Sequence[int]
    index: int

    def shade(self, colour: str) -> str:
        """A shared colour, shifted too little to see, so that this contender's part can be found by it."""
        return _shifted(colour, self.index + 1)

    @property
    def colours(self) -> list[str]:
        """Every colour that only this contender's marks have."""
        return [self.colour, *(self.shade(colour) for colour in (GOOD, BAD, MUTED, PAPER))]


def looks(report: Mapping[str, Any]) -> dict[str, Look]:
    """The baseline is the grey square; the others take colours and shapes in order. Past eight, colours repeat with a
    shift too small to see, so that each contender still has its own to be found by."""
    names = [c["name"] for c in report["contenders"]]
    names.sort(key=lambda name: name != report.get("baseline"))
    if report.get("baseline") not in names:
        names.insert(0, "")
    made = {}
    for index, name in enumerate(names):
        turn, place = divmod(index, len(SERIES))
        if turn:
            turn, place = divmod(index - 1, len(SERIES) - 1)
            place += 1
        made[name] = Look(name, _shifted(SERIES[place], turn), SHAPES[(place + turn) % len(SHAPES)], DASHES[(place + turn) % len(DASHES)], index)
    made.pop("", None)
    return made


def dark(colour: str) -> str:
    """The dark theme's counterpart of a colour."""
    base = min(DARK, key=lambda known: sum(abs(a - b) for a, b in zip(_rgb(known), _rgb(colour), strict=True)))
    return DARK[base]


def tradeoff(report: Mapping[str, Any], measure: str, unit: str, width: int = WIDE) -> Html | None:
    """Cost against quality: a marker per contender, its interval upright, the spread of its cost level. None where fewer
    than two contenders have both."""
    chart = _tradeoff(report, measure, unit, width, 400 if width >= 500 else 330)
    return None if chart is None else _svg(chart, f"Cost in {wording.unit_title(unit)} against {_title(report, measure)}, a marker per contender")


def forest(report: Mapping[str, Any], measure: str, width: int = WIDE) -> Html | None:
    """Differences to the baseline with intervals and verdicts, a row per contender. None where there is no pair."""
    chart = _forest(report, measure, width)
    return None if chart is None else _svg(chart, f"Differences to {report.get('baseline', 'the baseline')} in {_title(report, measure)}, a row per contender")


def curves(report: Mapping[str, Any], across: str, up: str, width: int = WIDE) -> Html | None:
    """Training curves: a thin line per seed and a thick one for their mean. None where nothing has both axes."""
    chart = _curves(report, across, up, width, 380 if width >= 500 else 320)
    return None if chart is None else _svg(chart, f"{_axis_title(up)} over {_axis_title(across)}, a line per contender")


def picture(report: Mapping[str, Any], measure: str | None = None, unit: str | None = None) -> str:
    """One SVG for a README or a slide: title, cost against quality, and the differences beneath."""
    measure = measure or (report["measures"][0]["name"] if report["measures"] else "")
    unit = unit or next(iter(cost_units(report)), "")
    parts = [
        _tradeoff(report, measure, unit, WIDE, 360) if measure and unit else None,
        _forest(report, measure, WIDE) if measure else None,
    ]
    if report.get("curves"):
        axes = curve_axes(report)
        parts.insert(0, _curves(report, axes[0][0], axes[1][0], WIDE, 340) if all(axes) else None)
    shown = [part for part in parts if part is not None]
    if not shown:
        raise ValueError(f"nothing to draw in {report.get('title', 'this report')!r}: no contender has both a measure and a cost")
    held = (report.get("budget") or {}).get("text", "")
    title = alt.TitleParams(
        printable(report.get("title", "")),
        subtitle=[printable(f"equal budget: {held}")] if held else [],
        anchor="start", fontSize=19, subtitleFontSize=13, color=INK, subtitleColor=MUTED, offset=18, font=FONT, subtitleFont=FONT,
    )  # fmt: skip
    return _convert(_styled(alt.vconcat(*shown, spacing=34).resolve_scale(color="independent").properties(title=title)))


def cost_units(report: Mapping[str, Any]) -> list[str]:
    """Units worth an axis: spent by two contenders and not the same for all; all that were spent where none differs."""
    spent: dict[str, list[float]] = {}
    for contender in report["contenders"]:
        for unit, amount in (contender.get("spent") or {}).items():
            value = wording.finite((amount or {}).get("median"))
            if value is not None and value > 0:
                spent.setdefault(unit, []).append(value)
    order = [unit for unit in (report.get("units") or spent) if len(spent.get(unit, ())) > 1]
    differ = [unit for unit in order if max(spent[unit]) > 1.02 * min(spent[unit])]
    preferred = ("flops", "calls", "evaluations", "seconds")
    return sorted(differ or order, key=lambda unit: preferred.index(unit) if unit in preferred else len(preferred))


def curve_axes(report: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Which columns of the curves can be drawn across and up."""
    rows = [row for seeds in (report.get("curves") or {}).values() for curve in seeds.values() for row in curve]
    has = lambda name: sum(wording.finite(row.get(name)) is not None for row in rows) > 1  # noqa: E731
    up = [name for name in ("bits_per_byte", "loss") if has(name)]
    return [name for name in ("flops", "tokens", "step", "seconds") if has(name)], up


def _tradeoff(report: Mapping[str, Any], measure: str, unit: str, width: int, height: int) -> alt.LayerChart | None:
    look = looks(report)
    rows = []
    for contender in report["contenders"]:
        quality, cost = (contender.get("measures") or {}).get(measure), (contender.get("spent") or {}).get(unit)
        y, x = wording.finite((quality or {}).get("mean")), wording.finite((cost or {}).get("median"))
        if quality is None or cost is None or x is None or y is None:
            continue
        ends = {
            "low": wording.finite(quality.get("low")), "high": wording.finite(quality.get("high")),
            "left": wording.finite(cost.get("low")), "right": wording.finite(cost.get("high")),
        }  # fmt: skip
        rows.append({"name": printable(contender["name"]), "x": x, "y": y, **ends, **_drawn(look[contender["name"]])})
    if len(rows) < 2:
        return None
    scale_y = wording.measure_scale([r["y"] for r in rows], [(r["high"] - r["low"]) / 2 for r in rows if None not in (r["low"], r["high"])])
    scale_x = wording.cost_scale(unit, [r["x"] for r in rows])
    for row in rows:
        costs = f"{scale_x(row['x'])} {scale_x.suffix or wording.unit_title(unit)}".strip()
        row["told"] = f"{row['name']}: {scale_y(row['y'])} {wording.interval(row['low'], row['high'], scale_y)} at {costs}".replace("  ", " ")
        row.update({key: row["x"] if row[key] is None else row[key] for key in ("left", "right")})
        row.update({key: row["y"] if row[key] is None else row[key] for key in ("low", "high")})
    across = _Span.over([r["left"] for r in rows] + [r["right"] for r in rows], logarithmic=None)
    # Room at both sides, so that labels of the outermost points stay inside.
    longest = max(len(r["name"]) for r in rows) * LETTER
    across = across.widened(min(0.3, 0.5 * longest / width), min(0.3, 0.5 * longest / width))
    up = _Span.over([r["low"] for r in rows] + [r["high"] for r in rows], logarithmic=False).widened(0.07, 0.09)
    _place_labels(rows, across, up, width, height)
    x = alt.X("x:Q", title=_cost_title(unit, scale_x), scale=across.altair(), axis=_axis(across, width, scale_x))
    y = alt.Y("y:Q", title=None, scale=up.altair(), axis=alt.Axis(tickCount=6, grid=True))
    colour = alt.Color("colour:N", scale=None, legend=None)
    base = alt.Chart(alt.Data(values=rows))  # type: ignore[arg-type]
    layers = [
        base.mark_rule(aria=False, strokeWidth=1.5, opacity=0.55).encode(x=x, y=alt.Y("low:Q", title=None), y2="high:Q", color=colour),
        base.mark_rule(aria=False, strokeWidth=1.5, opacity=0.55).encode(x=alt.X("left:Q"), x2="right:Q", y=y, color=colour),
        _markers(base).encode(x=x, y=y, color=colour, shape=alt.Shape("shape:N", scale=None, legend=None), description="told:N"),
        base.mark_text(
            aria=False,
            dx=alt.expr("datum.dx"), dy=alt.expr("datum.dy"), align=alt.expr("datum.align"), baseline="middle",
            fontSize=12, fontWeight=600, limit=width // 2,
        ).encode(x=x, y=y, text="name:N", color=colour),
    ]  # fmt: skip
    title = _chart_title(f"{_title(report, measure)}{_in_units(report, measure)}", _arrow(report, measure))
    return alt.layer(*layers).properties(width=width - 58, height=height, title=title)


def _forest(report: Mapping[str, Any], measure: str, width: int) -> alt.LayerChart | None:
    look = looks(report)
    pairs = [p for p in report.get("pairs") or [] if p["measure"] == measure and p["a"] in look and wording.finite(p.get("difference")) is not None]
    if not pairs:
        return None
    shapes = {wording.SUPPORTED: "triangle-up", wording.CONTRADICTED: "triangle-down", wording.NOT_VISIBLE: "circle", "": "circle"}
    colours = {wording.SUPPORTED: GOOD, wording.CONTRADICTED: BAD}
    rows = []
    several = len({p["b"] for p in pairs}) > 1
    for index, pair in enumerate(pairs):
        difference, verdict = wording.finite(pair["difference"]), pair.get("verdict", "")
        low, high = wording.finite(pair.get("low")), wording.finite(pair.get("high"))
        scale = wording.pair_scale(pair)
        own = look[pair["a"]]
        name = f"{pair['a']} − {pair['b']}" if several else str(pair["a"])
        rows.append(
            {
                "row": index, "name": printable(name), "x": difference, "verdict": printable(verdict or "too little to judge"),
                "low": difference if low is None else low, "high": difference if high is None else high,
                "shape": shapes.get(verdict, "circle"), "colour": own.shade(colours.get(verdict, MUTED)), "hollow": own.shade(colours.get(verdict, PAPER)),
                "amount": f"{scale(difference, sign=True)} {wording.interval(low, high, scale, sign=True)}",
                "told": printable(f"{name}: {scale(difference, sign=True)} {wording.interval(low, high, scale, sign=True)} {wording.p_value(pair.get('p_holm'))} {verdict}"),
                "mark": own.colour,
            }
        )  # fmt: skip
    wide = width >= 500
    across = _Span.over([0.0] + [r["low"] for r in rows] + [r["high"] for r in rows], logarithmic=False).widened(0.06, 0.06)
    names = max(len(r["name"]) for r in rows) * LETTER if wide else 0
    words = (max(len(r["verdict"]) for r in rows) + 3) * 5.9 if wide else 0
    inner = int(max(200, width - min(names, 200) - words - 36)) if wide else width - 16
    step = 34 if wide else 62
    scale_x = wording.measure_scale([r["x"] for r in rows], [(r["high"] - r["low"]) / 2 for r in rows])
    held = next((m for m in report["measures"] if m["name"] == measure), {})
    sides = {True: "worse ← 0 → better", False: "better ← 0 → worse"}.get(held.get("higher_is_better"), "")
    x = alt.X(
        "x:Q", title=sides or None, scale=across.altair(),
        axis=alt.Axis(tickCount=max(3, inner // 80), format=f"+.{scale_x.decimals}~f", grid=True, titlePadding=8),
    )  # fmt: skip
    y = alt.Y("row:O", title=None, axis=None, sort=None)
    base = alt.Chart(alt.Data(values=rows))  # type: ignore[arg-type]
    colour = alt.Color("colour:N", scale=None, legend=None)
    down = 0 if wide else 12
    layers = [
        alt.Chart(alt.Data(values=[{"zero": 0}])).mark_rule(aria=False, color=MUTED, strokeWidth=1, strokeDash=[3, 3]).encode(x="zero:Q"),  # type: ignore[arg-type]
        base.mark_rule(aria=False, strokeWidth=2.5, yOffset=down, strokeCap="round").encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=colour),
        base.mark_point(size=90, filled=True, opacity=1, strokeWidth=2, yOffset=down).encode(
            x=x, y=y, stroke=alt.Stroke("colour:N", scale=None, legend=None), fill=alt.Fill("hollow:N", scale=None, legend=None),
            shape=alt.Shape("shape:N", scale=None, legend=None), description="told:N",
        ),
    ]  # fmt: skip
    if wide:
        layers += [
            base.mark_text(aria=False, align="right", fontSize=12.5, fontWeight=600, limit=200).encode(x=alt.value(-12), y=y, text="name:N", color=alt.Color("mark:N", scale=None, legend=None)),
            base.mark_text(aria=False, align="left", fontSize=12, dy=0).encode(x=alt.value(inner + 12), y=y, text="verdict:N", color=colour),
        ]  # fmt: skip
    else:
        layers += [
            base.mark_text(aria=False, align="left", fontSize=12, fontWeight=600, yOffset=-12, limit=inner * 0.55).encode(x=alt.value(0), y=y, text="name:N", color=alt.Color("mark:N", scale=None, legend=None)),
            base.mark_text(aria=False, align="right", fontSize=11, yOffset=-12).encode(x=alt.value(inner), y=y, text="verdict:N", color=colour),
        ]  # fmt: skip
    title = _chart_title(f"Difference in {_title(report, measure)}{_in_units(report, measure)}", f"to {printable(report.get('baseline') or 'the baseline')}")
    return alt.layer(*layers).properties(width=inner, height=alt.Step(step), title=title)


def _curves(report: Mapping[str, Any], across: str, up: str, width: int, height: int) -> alt.LayerChart | None:
    look = looks(report)
    lines: list[dict[str, Any]] = []
    for contender, seeds in (report.get("curves") or {}).items():
        if contender not in look:
            continue
        at: dict[float, list[float]] = {}
        for seed, rows in seeds.items():
            points = [(wording.finite(r.get(across)), wording.finite(r.get(up))) for r in rows]
            kept = _thinned([(x, y) for x, y in points if x is not None and y is not None])
            for x, y in kept:
                at.setdefault(x, []).append(y)
                lines.append({"name": printable(contender), "line": f"{contender}/{seed}", "x": x, "y": y, "mean": False, **_drawn(look[contender])})
        if len(seeds) == 1:
            for row in lines:
                row["mean"] = row["mean"] or row["name"] == printable(contender)
        else:
            full = max(map(len, at.values()), default=0)
            lines += [
                {"name": printable(contender), "line": contender, "x": x, "y": sum(ys) / len(ys), "mean": True, **_drawn(look[contender])}
                for x, ys in sorted(at.items())
                if len(ys) == full
            ]
    if not lines:
        return None
    ends = {}
    for row in lines:
        if row["mean"] and row["x"] >= ends.get(row["name"], row)["x"]:
            ends[row["name"]] = row
    positive = all(row["x"] > 0 for row in lines)
    span = _Span.over([r["x"] for r in lines], logarithmic=False)
    label = min(max(len(name) for name in ends) * LETTER + 12, width * 0.36)
    inner = int(width - 52 - label)
    # The first steps of training fall far and would flatten the rest: start the axis at the 97th percentile.
    values = sorted(r["y"] for r in lines)
    top = values[min(len(values) - 1, int(0.97 * len(values)))]
    rise = _Span.over([v for v in values if v <= top], logarithmic=False).widened(0.05, 0.05)
    scale_x = wording.cost_scale(across, [r["x"] for r in lines]) if positive or across in wording.UNITS else wording.Scale(decimals=0)
    labels = [dict(row, told=row["name"]) for row in ends.values()]
    _spread(labels, rise, height)
    x = alt.X("x:Q", title=_axis_title(across), scale=span.altair(), axis=_axis(span, inner, scale_x))
    y = alt.Y("y:Q", title=None, scale=rise.altair(), axis=alt.Axis(tickCount=6))
    colour = alt.Color("colour:N", scale=None, legend=None)
    dash = alt.StrokeDash("name:N", scale=alt.Scale(domain=list(ends), range=[list(look_dash) for look_dash in (r["dash"] for r in ends.values())]), legend=None)
    thin, thick = [r for r in lines if not r["mean"]], [r for r in lines if r["mean"]]
    drop = lambda rows: alt.Data(values=[{k: v for k, v in row.items() if k != "dash"} for row in rows])  # noqa: E731
    layers: list[Any] = []
    if thin:
        layers.append(alt.Chart(drop(thin)).mark_line(aria=False, strokeWidth=1, opacity=0.35, clip=True).encode(x=x, y=y, color=colour, detail="line:N"))  # type: ignore[arg-type]
    layers += [
        alt.Chart(drop(thick)).mark_line(aria=False, strokeWidth=2.2, clip=True).encode(x=x, y=y, color=colour, strokeDash=dash, detail="line:N"),  # type: ignore[arg-type]
        alt.Chart(drop(labels)).mark_text(aria=False, align="left", dx=8, dy=alt.expr("datum.dy"), fontSize=12, fontWeight=600, limit=label).encode(  # type: ignore[arg-type]
            x=x, y=y, text="name:N", color=colour
        ),
    ]
    return alt.layer(*layers).properties(width=inner, height=height, title=_chart_title(_axis_title(up), ""))


@dataclass(frozen=True)
class _Span:
    """A scale's domain, known here so that labels can be placed."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def over(cls, values: Sequence[float], *, logarithmic: bool | None) -> "_Span":
        """Around the values; ``None`` chooses a logarithmic scale where they are positive and differ thirtyfold."""
        low, high = min(values), max(values)
        if logarithmic is None:
            logarithmic = low > 0 and high > 30 * low
        if low == high:
            low, high = (low / 2, high * 2) if logarithmic else (low - (abs(low) or 1) / 10, high + (abs(high) or 1) / 10)
        return cls(low, high, logarithmic)

    def widened(self, before: float, after: float) -> "_Span":
        """Room on both sides, as shares of the length; a cost that is not negative gets no negative axis."""
        low, high = (math.log(self.low), math.log(self.high)) if self.logarithmic else (self.low, self.high)
        length = high - low
        low, high = low - before * length, high + after * length
        return _Span(math.exp(low), math.exp(high), True) if self.logarithmic else _Span(low, high, False)

    def share(self, value: float) -> float:
        """Where a value lies, 0 to 1."""
        if self.logarithmic:
            return math.log(max(value, 1e-300) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def altair(self) -> alt.Scale:
        kind = {"type": "log"} if self.logarithmic else {}
        return alt.Scale(domain=[self.low, self.high], nice=False, zero=False, **kind)  # type: ignore[arg-type]


def _place_labels(rows: list[dict[str, Any]], across: _Span, up: _Span, width: int, height: int) -> None:
    """Choose for each point the side on which its name covers least: other names, markers, intervals, the border."""
    inner = width - 58
    at = [(across.share(r["x"]) * inner, (1 - up.share(r["y"])) * height) for r in rows]
    taken = [(x - 7, y - 7, x + 7, y + 7) for x, y in at]
    for row, (x, y) in zip(rows, at, strict=True):
        taken.append((x - 1, (1 - up.share(row["high"])) * height, x + 1, (1 - up.share(row["low"])) * height))
        taken.append((across.share(row["left"]) * inner, y - 1, across.share(row["right"]) * inner, y + 1))
    crowd = sorted(range(len(rows)), key=lambda i: -sum(math.dist(at[i], other) < 90 for other in at))
    for i in crowd:
        x, y = at[i]
        wide = min(len(rows[i]["name"]) * LETTER, width / 2)
        options = [("left", 11, 0), ("right", -11, 0), ("left", 9, -12), ("left", 9, 12), ("right", -9, -12), ("right", -9, 12),
                   ("center", 0, -17), ("center", 0, 17), ("left", 9, -26), ("left", 9, 26), ("right", -9, -26), ("right", -9, 26)]  # fmt: skip
        costs = []
        for place, (align, dx, dy) in enumerate(options):
            left = x + dx - {"left": 0.0, "right": wide, "center": wide / 2}[align]
            box = (left, y + dy - 7, left + wide, y + dy + 7)
            outside = max(0, -box[0]) + max(0, box[2] - inner) + max(0, -box[1]) + max(0, box[3] - height)
            costs.append((sum(_overlap(box, other) for other in taken) + 40 * outside + place, place, box))
        _, place, box = min(costs)
        taken.append(box)
        rows[i]["align"], rows[i]["dx"], rows[i]["dy"] = options[place]


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _spread(labels: list[dict[str, Any]], rise: _Span, height: int, gap: float = 15.0) -> None:
    """Push the labels at line ends apart, keeping their order: each gets a ``dy``."""
    labels.sort(key=lambda row: -row["y"])
    wanted = [(1 - rise.share(row["y"])) * height for row in labels]
    placed: list[float] = []
    for y in wanted:
        placed.append(max(y, placed[-1] + gap) if placed else y)
    over = placed[-1] - height if placed else 0
    if over > 0:
        placed[-1] = height
        for i in range(len(placed) - 2, -1, -1):
            placed[i] = min(placed[i], placed[i + 1] - gap)
    for row, y, was in zip(labels, placed, wanted, strict=True):
        row["dy"] = y - was


def _thinned(points: list[tuple[float, float]], most: int = 240) -> list[tuple[float, float]]:
    """At most so many points, evenly taken, the last one kept."""
    if len(points) <= most:
        return points
    stride = -(-len(points) // most)
    kept = points[::stride]
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _drawn(look: Look) -> dict[str, Any]:
    return {"colour": look.colour, "shape": look.shape, "dash": list(look.dash)}


def _markers(base: alt.Chart) -> alt.Chart:
    return base.mark_point(size=110, filled=True, opacity=1, stroke=PAPER, strokeWidth=1.2)


def _title(report: Mapping[str, Any], measure: str) -> str:
    return printable(next((m.get("title") or m["name"] for m in report["measures"] if m["name"] == measure), measure))


def _in_units(report: Mapping[str, Any], measure: str) -> str:
    unit = next((m.get("unit") for m in report["measures"] if m["name"] == measure), "")
    return f" ({printable(unit)})" if unit else ""


def _arrow(report: Mapping[str, Any], measure: str) -> str:
    better = next((m.get("higher_is_better") for m in report["measures"] if m["name"] == measure), None)
    return {True: "↑ higher is better", False: "↓ lower is better"}.get(better, "")


def _axis_title(name: str) -> str:
    known = {"bits_per_byte": "bits per byte on held-out text", "loss": "training loss", "step": "step", "flops": "training FLOPs"}
    return known.get(name, wording.unit_title(name))


def _cost_title(unit: str, scale: wording.Scale) -> str:
    """With what an axis label is followed by, where the labels themselves do not say it."""
    return wording.unit_title(unit) + (" (s)" if unit == "seconds" and scale.power == 0 else "")


def _axis(span: _Span, width: int, scale: wording.Scale) -> alt.Axis:
    """Numbers with a prefix where they are large."""
    number = "~s" if abs(scale.power) >= 1 else "~g"
    return alt.Axis(tickCount=max(3, width // 90), format=number, grid=True, labelOverlap=True, titlePadding=8)


def _chart_title(text: str, aside: str) -> alt.TitleParams:
    return alt.TitleParams(
        text, subtitle=[aside] if aside else [], anchor="start", frame="group", fontSize=13, fontWeight=600, subtitleFontSize=12,
        color=INK, subtitleColor=MUTED, font=FONT, subtitleFont=FONT, offset=10, subtitlePadding=3,
    )  # fmt: skip


def _styled(chart: Any) -> Any:
    axis = {
        "labelColor": MUTED, "titleColor": MUTED, "titleFontWeight": 500, "titleFontSize": 12, "labelFontSize": 11.5,
        "gridColor": LINE, "domain": False, "tickColor": LINE, "labelFont": FONT, "titleFont": FONT,
    }  # fmt: skip
    return (
        chart.configure(background="transparent", font=FONT, padding=4)
        .configure_view(stroke=None)
        .configure_axis(**axis)
        .configure_text(font=FONT)
    )


def _convert(chart: Any) -> str:
    return vl_convert.vegalite_to_svg(chart.to_dict())


def _svg(chart: Any, told: str) -> Html:
    """The drawing for use within a page: labelled, without the frames nobody sees, a tooltip per mark."""
    root = ElementTree.fromstring(_convert(_styled(chart)))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.get("class") in ("background", "foreground"):
                parent.remove(child)
    for node in root.iter():
        label = node.get("aria-label") if node.get("role") == "graphics-symbol" else None
        kept = {key: _NUMBER.sub(_short, value) for key, value in node.attrib.items() if key in _KEPT}
        node.tag = node.tag.rpartition("}")[2]
        node.attrib.clear()
        node.attrib.update(kept)
        if label and node.tag == "path":
            ElementTree.SubElement(node, "title").text = label
    mark = sha256(f"{told} {root.get('width')}".encode()).hexdigest()[:8]  # ids are unique per page, not per drawing
    for node in root.iter():
        if "id" in node.attrib:
            node.set("id", f"{node.attrib['id']}-{mark}")
        if "clip-path" in node.attrib:
            node.set("clip-path", node.attrib["clip-path"].replace(")", f"-{mark})"))
    root.attrib = {"role": "img", "aria-label": told, **{key: root.attrib[key] for key in ("width", "height", "viewBox")}}
    return Html(ElementTree.tostring(root, encoding="unicode"))


def _short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _shifted(colour: str, by: int) -> str:
    red, green, blue = _rgb(colour)
    return f"#{red:02x}{green:02x}{(blue + by) % 256:02x}"
