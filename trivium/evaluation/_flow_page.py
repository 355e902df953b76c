"""A sweep of attention knockouts as one page that works offline: what falls in which layers, the numbers, the prompts.

Curves differ in colour, dash and marker, windows that reach over an end of the model have hollow markers, and the table
holds every number. Charts are drawn once and take the dark theme by the page's style; nothing is fetched.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import altair as alt
import vl_convert

from trivium.core.text import one_line
from trivium.evaluation._flow import Sweep

INK, MUTED, LINE, PAPER = "#1c1917", "#57524d", "#d6d3d1", "#fffdfa"
HUES = ("#c2410c", "#1d4ed8", "#047857", "#7e22ce", "#be185d", "#713f12")
_DARK = dict(
    zip(
        (INK, MUTED, LINE, PAPER, *HUES),
        ("#f5f5f4", "#a8a29e", "#44403c", "#1b1a19", "#fb923c", "#60a5fa", "#34d399", "#c084fc", "#f472b6", "#fbbf24"),
        strict=True,
    )
)
DASHES = ([1, 0], [6, 3], [2, 3], [8, 3, 2, 3], [4, 4], [10, 4])
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
WIDE, NARROW = 860, 330
_FONT = "Arial"
_SHOWN = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
PROMPTS = 12
"""How many prompts a page shows."""

_STYLE = """
:root{color-scheme:light dark;background:light-dark(#faf8f5,#121110)}
body{margin:0 auto;padding:1.4rem clamp(.7rem,3vw,2rem) 3rem;max-width:60rem;color:light-dark(#1c1917,#f5f5f4);
font:1rem/1.5 system-ui,sans-serif}
*{box-sizing:border-box}
h1{font-size:1.5rem;line-height:1.2;margin:0 0 .6rem;overflow-wrap:anywhere}
h2{font-size:1.05rem;margin:0 0 .3rem}
p{margin:0 0 .6rem}
.dim{color:light-dark(#57524d,#a8a29e);font-size:.88rem}
.found{font-size:1.05rem}
section{background:light-dark(#fffdfa,#1b1a19);border:1px solid light-dark(#d6d3d1,#44403c);border-radius:.6rem;
padding:.8rem 1rem;margin:0 0 .9rem;min-width:0}
svg{display:block;width:100%;height:auto}
.narrow{display:none}
@media (max-width:34rem){.wide{display:none}.narrow{display:block}section{padding:.6rem}}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.16rem .8rem .16rem 0;border-bottom:1px solid light-dark(#d6d3d1,#44403c);text-align:end;
white-space:nowrap}
th:first-child,td:first-child{text-align:start}
th{font-weight:600}
li{margin:0 0 .3rem;overflow-wrap:anywhere}
mark{color:inherit;background:color-mix(in oklab,light-dark(#c2410c,#fb923c) 22%,transparent);border-radius:.2rem;
padding:0 .1rem}
mark small{color:light-dark(#57524d,#a8a29e);padding-inline-start:.25rem}
summary{cursor:pointer}
""" + "".join(
    f'svg [{what}="{light}"]{{{what}:light-dark({light},{dark})}}\n'
    for light, dark in _DARK.items()
    for what in ("fill", "stroke")
)


@dataclass(frozen=True)
class Shown:
    """A prompt as it is shown: its text, the spans in it by name, as characters, and the answer."""

    text: str
    spans: Mapping[str, tuple[int, int]]
    answer: str


def to_html(found: Sweep, *, title: str, facts: Mapping[str, str], prompts: Sequence[Shown] = ()) -> str:
    """One self-contained page. ``facts``: what was run, by name."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src 'sha256-{digest}'"
    charts = "".join(
        f'<section><h2>{escape(heading)}</h2><div class="wide">{chart(found, value, WIDE)}</div>'
        f'<div class="narrow">{chart(found, value, NARROW)}</div></section>\n'
        for value, heading in (
            ("change", "Change of the answer's probability, in per cent"),
            ("difference", "Difference of its log-probability, in nats"),
        )
    )
    name = escape(one_line(title))
    told = " · ".join(f"{escape(key)} {escape(one_line(value))}" for key, value in facts.items())
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{name}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n'
        f'<h1>{name}</h1>\n<p class="dim">{told}</p>\n'
        + "".join(f'<p class="found">{escape(line)}</p>\n' for line in sentences(found))
        + charts
        + f'<p class="dim">{escape(_key(found))}</p>\n'
        + _table(found)
        + _prompts(prompts)
        + "</main>\n</body>\n</html>\n"
    )


def sentences(found: Sweep) -> list[str]:
    """What each flow comes to, in words."""
    kept, every = int(found.kept.sum()), len(found.names)
    counted = f"{kept} of {every} prompts count" if every > 1 else "one prompt"
    lines = []
    for flow in found.flows:
        rows = flow.rows()
        low = min(rows, key=lambda row: row["change"])
        layers = f"layer {low['first']}" if low["first"] == low["last"] else f"layers {low['first']} to {low['last']}"
        if low["change"] < -0.05:
            said = f"falls most with {layers} cut, by {-low['change']:.1f} %"
        else:
            said = "falls in no window"
        lines.append(f"{flow.source} → {flow.target}: the answer's probability {said} ({counted}).")
    return lines


def chart(found: Sweep, value: str, width: int) -> str:
    """An SVG: the value over the centre of the window, a curve for each flow."""
    names = [f"{flow.source} → {flow.target}" for flow in found.flows]
    rows = [
        {
            "flow": name,
            "centre": row["centre"],
            "value": row[value],
            "low": row[value] - (row[f"{value}_error"] or 0.0),
            "high": row[value] + (row[f"{value}_error"] or 0.0),
            "clipped": row["clipped"],
        }
        for name, flow in zip(names, found.flows, strict=True)
        for row in flow.rows()
    ]
    scale = {
        what: alt.Scale(domain=names, range=[of[at % len(of)] for at in range(len(names))])
        for what, of in (("color", HUES), ("shape", SHAPES), ("dash", DASHES))
    }
    legend = None if len(names) == 1 else alt.Legend(orient="top", title=None, columns=3 if width > 500 else 1)
    depth = max(row["centre"] for row in rows) + 1
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100) if depth / s <= (16 if width > 500 else 8) or s == 100)
    x = alt.X(
        "centre:Q",
        title="layer in the middle of the window",
        axis=alt.Axis(values=list(range(0, depth, step)), format="d", grid=False),
        scale=alt.Scale(domain=[-0.5, depth - 0.5], nice=False),
    )
    y = alt.Y("value:Q", title=None, axis=alt.Axis(tickCount=6))
    colour = alt.Color("flow:N", scale=scale["color"], legend=legend)
    base = alt.Chart(alt.NamedData("rows"))
    band = base.mark_area(opacity=0.16).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)
    line = base.mark_line(strokeWidth=2).encode(
        x=x, y=y, color=colour, strokeDash=alt.StrokeDash("flow:N", scale=scale["dash"], legend=legend)
    )
    shape = alt.Shape("flow:N", scale=scale["shape"], legend=legend)
    size = 46 if width > 500 else 18
    whole = base.transform_filter("!datum.clipped").mark_point(filled=True, size=size, opacity=1)
    clipped = base.transform_filter("datum.clipped").mark_point(fill=PAPER, size=size, opacity=1, strokeWidth=1.5)
    points = [marks.encode(x=x, y=y, color=colour, shape=shape) for marks in (whole, clipped)]
    zero = alt.Chart(alt.NamedData("zero")).mark_rule(color=MUTED, strokeWidth=1).encode(y=alt.Y("value:Q"))
    drawn = alt.layer(zero, band, line, *points).properties(width=width - 70, height=270 if width > 500 else 230)
    spec = drawn.to_dict(validate=False)
    config = {
        "background": "transparent",
        "font": _FONT,
        "padding": 4,
        "view": {"stroke": None},
        "axis": {
            "domain": False, "gridColor": LINE, "tickColor": LINE, "labelColor": MUTED, "titleColor": MUTED,
            "labelFontSize": 11.5, "titleFontSize": 12, "titleFontWeight": 500, "titlePadding": 8,
        },
        "legend": {"labelColor": INK, "labelFontSize": 12, "symbolStrokeWidth": 0, "symbolOpacity": 1,
                   "labelLimit": width},
    }  # fmt: skip
    svg = vl_convert.vegalite_to_svg({**spec, "datasets": {"rows": rows, "zero": [{"value": 0}]}, "config": config})
    told = escape("; ".join(sentences(found)), quote=True)
    svg = re.sub(r"<svg ", f'<svg role="img" aria-label="{told}" ', svg, count=1)
    svg = re.sub(r' style="[^"]*"', "", svg)  # which the page's policy would refuse anyway
    return svg.replace(f'font-family="{_FONT}"', f'font-family="{_SHOWN}"')


def _key(found: Sweep) -> str:
    clipped = any(window.clipped for flow in found.flows for window in flow.windows)
    parts = ["Hollow markers: the window reaches over an end of the model, so fewer layers are cut."] if clipped else []
    if int(found.kept.sum()) > 1:
        parts.append("Means over prompts; the tint is one standard error to either side.")
    parts.append("A relative change has no upper bound where the answer was unlikely; compare it with the difference.")
    return " ".join(parts)


def numbers(row: Mapping[str, Any]) -> list[str]:
    """Layers, probability, change and difference as the table has them."""
    layers = f"{row['first']}-{row['last']}{'*' if row['clipped'] else ''}"

    def cell(name: str, form: str) -> str:
        error, value = row[f"{name}_error"], format(row[name], form)
        value = value if float(value) else value.lstrip("+-")  # no -0.0
        return value if error is None else f"{value} ± {format(error, form.lstrip('+'))}"

    return [str(row["centre"]), layers, cell("probability", ".3f"), cell("change", "+.1f"), cell("difference", "+.3f")]


HEADS = ("middle", "layers cut", "p(answer)", "change, %", "log p, nats")


def _table(found: Sweep) -> str:
    parts = []
    for flow in found.flows:
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in numbers(row)) + "</tr>" for row in flow.rows()
        )
        heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in HEADS)
        parts.append(
            f"<section><h2>{escape(flow.source)} → {escape(flow.target)}</h2>"
            f'<p class="dim">with nothing cut p(answer) = {flow.plain.exp().mean():.3f}; * the window is clipped</p>'
            f'<div class="scroll" role="region" aria-label="every window as numbers" tabindex="0"><table><thead><tr>'
            f"{heads}</tr></thead><tbody>{body}</tbody></table></div></section>\n"
        )
    return "".join(parts)


def _prompts(prompts: Sequence[Shown]) -> str:
    if not prompts:
        return ""
    items = "".join(f"<li>{_marked(one)}</li>" for one in prompts[:PROMPTS])
    more = len(prompts) - PROMPTS
    rest = f'<p class="dim">and {more} more</p>' if more > 0 else ""
    return f"<section><details open><summary>Prompts</summary><ol>{items}</ol>{rest}</details></section>\n"


def _marked(one: Shown) -> str:
    """The text with its spans marked and named."""
    parts, at = [], 0
    for name, (start, stop) in sorted(one.spans.items(), key=lambda item: item[1]):
        if start < at:
            continue
        parts.append(escape(one.text[at:start]))
        parts.append(f"<mark>{escape(one.text[start:stop])}<small>{escape(name)}</small></mark>")
        at = stop
    return f"{''.join(parts)}{escape(one.text[at:])} → <b>{escape(one.answer)}</b>"
