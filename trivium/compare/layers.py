"""A page about probes at several layers of a model: a plot of scores beside their controls, and every number.

A report is a mapping: "title", "facts" (name -> text), "measure", "higher_is_better", and "rows", each with "probe",
"layer", "score", "low", "high", "control" and "untrained" (None where not asked for) and "details" (name -> number).
"""

import math
from collections.abc import Mapping
from typing import Any

import altair as alt

from trivium.compare._report.charts import WIDE, Drawing, _svg
from trivium.compare._report.looks import Look, looks, theme
from trivium.compare._report.markup import Html, element, join
from trivium.compare._report.placing import Span, at_ends

HEIGHT = 330
CONTROLS = {"control": "labels dealt anew", "untrained": "untrained weights"}
"""Key of a row -> what its line is called."""
_DASHES = {"score": [1, 0], "control": [2, 3], "untrained": [7, 4]}
_READING = (
    "Intervals are 95 %, over what was held out together. A score tells that something can be read at a layer, not "
    "that the model uses it; what counts is how far it is above its controls."
)
_STYLE = """
:root{color-scheme:light dark}
body{margin:0 auto;max-width:62rem;padding:1.2rem 1rem 3rem;font:1rem/1.5 system-ui,sans-serif;
background:light-dark(#fefefe,#14181e);color:light-dark(#1b2027,#e9ecf0)}
h1{font-size:1.45rem;line-height:1.25;margin:.2rem 0 .6rem;text-wrap:balance}
p,dl{color:light-dark(#59616b,#a3acb8);margin:.3rem 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem .9rem;font-size:.92rem}
dd{margin:0;overflow-wrap:anywhere}
svg{max-width:100%;height:auto;display:block;margin:1rem 0}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{padding:.22rem .75rem;text-align:end;border-bottom:1px solid light-dark(#dcdfe3,#343b45)}
th:first-child,td:first-child{text-align:start;overflow-wrap:anywhere;min-width:9rem}
tr.best td{font-weight:650}
"""


def page(report: Mapping[str, Any]) -> str:
    """One self-contained page that works offline, in a light and a dark theme."""
    look = _looks(report)
    head = join(
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width,initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content="default-src 'none'; style-src 'unsafe-inline'"),
        element("title", report["title"]),
        element("style", Html(_STYLE + theme(look))),
    )
    facts = [(element("dt", name), element("dd", text)) for name, text in report["facts"].items()]
    body = join(
        element("h1", report["title"]),
        element("p", _finding(report)),
        _svg(_drawn(report, look)),
        element("div", _table(report), class_="scroll"),
        element("p", _READING),
        element("dl", *facts),
    )
    return f"<!doctype html>\n{element('html', element('head', head), element('body', body), lang='en')}\n"


def best(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Per probe the row of its best score."""
    sign = 1 if report["higher_is_better"] else -1
    found: dict[str, Mapping[str, Any]] = {}
    for row in report["rows"]:
        if row["probe"] not in found or sign * (row["score"] - found[row["probe"]]["score"]) > 0:
            found[row["probe"]] = row
    return list(found.values())


def _finding(report: Mapping[str, Any]) -> str:
    told = []
    for row in best(report):
        beside = [f"{name} {row[key]:.3f}" for key, name in CONTROLS.items() if row.get(key) is not None]
        told.append(
            f"{row['probe']} reads most at layer {row['layer']}: {report['measure']} {row['score']:.3f}"
            + (f" ({', '.join(beside)})" if beside else "")
        )
    return "; ".join(told) + "."


def _looks(report: Mapping[str, Any]) -> dict[str, Look]:
    names = list(dict.fromkeys(row["probe"] for row in report["rows"]))
    found = looks({"contenders": [{"name": ""}, *({"name": name} for name in names)], "baseline": ""})
    return {name: look for name, look in found.items() if name}


def _drawn(report: Mapping[str, Any], look: Mapping[str, Look]) -> Drawing | None:
    rows = [
        {
            "probe": row["probe"], "layer": row["layer"], "what": key, "y": row[key],
            "colour": look[row["probe"]].colour, "shape": look[row["probe"]].shape,
            "low": row["low"] if key == "score" and row["low"] is not None else row[key],
            "high": row["high"] if key == "score" and row["high"] is not None else row[key],
            "told": f"{row['probe']}, layer {row['layer']}, {CONTROLS.get(key, report['measure'])}: {row[key]:.3f}",
        }
        for row in report["rows"] for key in ("score", *CONTROLS)
        if row.get(key) is not None and math.isfinite(row[key])
    ]  # fmt: skip
    if not rows:
        return None
    layers = sorted({row["layer"] for row in rows})
    x = alt.X("layer:Q", title="layer (0: embeddings)", axis=alt.Axis(values=layers, format="d"),
              scale=alt.Scale(padding=14, nice=False))  # fmt: skip
    up = Span.over([row[end] for row in rows for end in ("low", "high")]).widened(0.06)
    y = alt.Y("y:Q", title=report["measure"], scale=up.scale())
    colour = alt.Color("colour:N", scale=None)
    base = alt.Chart(alt.NamedData("layers")).encode(x=x, color=colour)
    dash = alt.StrokeDash("what:N", scale=alt.Scale(domain=list(_DASHES), range=list(_DASHES.values())), legend=None)
    lines = base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash, detail="probe:N")
    ends = base.transform_filter("datum.what == 'score'").mark_rule(strokeWidth=1.5).encode(y="low:Q", y2="high:Q")
    points = base.mark_point(filled=True, size=55, opacity=1).encode(
        y=y, shape=alt.Shape("shape:N", scale=None), description="told:N", opacity=alt.condition(
            "datum.what == 'score'", alt.value(1), alt.value(0.55)
        )
    )  # fmt: skip
    last = layers[-1]
    words = {"score": "", **CONTROLS}
    labels = [
        {**row, "label": row["probe"] if row["what"] == "score" else words[row["what"]]}
        for row in rows if row["layer"] == last
    ]  # fmt: skip
    at_ends(labels, up, HEIGHT)
    beside = alt.Chart(alt.NamedData("ends")).encode(x=x, y=y, text="label:N", color=colour)
    text = beside.mark_text(align="left", baseline="middle", dx=9, dy=alt.expr("datum.dy"), fontSize=11.5)
    chart = alt.layer(lines, ends, points, text).properties(width=WIDE - 300, height=HEIGHT)
    return Drawing(chart, {"layers": rows, "ends": labels}, f"{report['measure']} by layer")


def _table(report: Mapping[str, Any]) -> Html:
    extra = list(dict.fromkeys(name for row in report["rows"] for name in row["details"]))
    controls = [key for key in CONTROLS if any(row.get(key) is not None for row in report["rows"])]
    heads = ["probe", "layer", report["measure"], "interval", *(CONTROLS[key] for key in controls), *extra]
    top = best(report)
    number = lambda value: "" if value is None else f"{value:.3f}"  # noqa: E731
    lines = []
    for row in report["rows"]:
        ends = "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
        cells = [row["probe"], row["layer"], number(row["score"]), ends, *(number(row.get(key)) for key in controls)]
        cells += [number(row["details"].get(name)) for name in extra]
        lines.append(element("tr", [element("td", cell) for cell in cells], class_="best" if row in top else None))
    return element(
        "table", element("thead", element("tr", [element("th", name, scope="col") for name in heads])),
        element("tbody", lines),
    )  # fmt: skip
