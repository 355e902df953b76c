"""Attributions as pictures for papers and slides: bars per token, or a layer by token map; SVG and PNG."""

import json
from collections.abc import Sequence
from typing import Any

import altair as alt
import torch
import vl_convert

from trivium.attribution._render import explained, numerals, plain
from trivium.core.nouns import Attribution

RAISES, LOWERS, NOTHING = "#c2410c", "#1d4ed8", "#f5f5f4"
MOST = 400
"""Tokens that a picture holds: more could not be told apart."""


def chart(attributions: Sequence[Attribution], array: str | None = None) -> alt.Chart | alt.VConcatChart:
    """Bars of each attribution, one above the other; or of one of them the named array, of two axes or three (then the
    second is averaged over), as a map. Colours diverge from zero. Raises ValueError for an array that is not there."""
    labels = attributions[0].labels()
    if len(labels) > MOST:
        raise ValueError(f"a picture holds {MOST} tokens, these are {len(labels)}; merge them into words or lines")
    axis = alt.Axis(labelExpr=f"{json.dumps(labels)}[datum.value]", labelAngle=-45, title=None, labelOverlap=False)
    x = alt.X("place:O", axis=axis, sort=None)
    if array is not None:
        return _map(attributions[0], array, x)
    return alt.vconcat(*(_bars(one, x) for one in attributions), spacing=12).configure_view(stroke=None)


def svg(attributions: Sequence[Attribution], array: str | None = None) -> str:
    """The picture as SVG, which asks for nothing."""
    return vl_convert.vegalite_to_svg(chart(attributions, array).to_json())


def png(attributions: Sequence[Attribution], array: str | None = None, scale: float = 2.0) -> bytes:
    """The picture as PNG on white; ``scale``: pixels per point."""
    if not 0 < scale <= 10:
        raise ValueError(f"scale is pixels per point, above 0 and up to 10; got {scale}")
    return vl_convert.vegalite_to_png(chart(attributions, array).properties(background="white").to_json(), scale=scale)


def _colour(field: str, most: float, legend: Any = None) -> alt.Color:
    scale = alt.Scale(domain=[-most, 0, most], range=[LOWERS, NOTHING, RAISES], interpolate="lab")
    return alt.Color(f"{field}:Q", scale=scale, legend=legend)


def _bars(one: Attribution, x: alt.X) -> alt.Chart:
    scores = one.scores.double().tolist()
    most = max(map(abs, scores)) or 1.0
    rows = [
        {"place": place, "score": score, "told": f"{label} {number}"}
        for place, (score, label, number) in enumerate(zip(scores, one.labels(), numerals(one), strict=True))
    ]
    title = alt.Title(f"{plain(one.method)}: {explained(one)}", anchor="start", fontSize=12)
    y = alt.Y("score:Q", title=None, scale=alt.Scale(domain=[min(0.0, *scores), max(0.0, *scores)], nice=True))
    bars = alt.Chart(alt.Data(values=rows)).mark_bar(stroke="#a8a29e", strokeWidth=0.5)
    drawn = bars.encode(x=x, y=y, color=_colour("score", most), tooltip="told:N")
    return drawn.properties(width=alt.Step(22), height=120, title=title)


def _map(one: Attribution, array: str, x: alt.X) -> alt.Chart:
    if array not in one.arrays:
        raise ValueError(f"{one.method} has no array {array!r}; it has {', '.join(one.arrays) or 'none'}")
    axes = one.arrays[array]
    values = axes.values.mean(1) if axes.values.ndim == 3 else axes.values
    if one.units:
        values = torch.stack([values[:, start:stop].sum(1) for start, stop in one.units], 1)
    most = float(values.abs().max()) or 1.0
    rows = [
        {"place": place, "row": row, "value": value}
        for row, line in enumerate(values.double().tolist())
        for place, value in enumerate(line)
    ]
    kept = f", mean over {axes.names[1]}s" if axes.values.ndim == 3 else ""
    title = alt.Title(f"{plain(one.method)} by {axes.names[0]}{kept}", anchor="start", fontSize=12)
    y = alt.Y("row:O", title=axes.names[0], sort="descending" if axes.names[0] == "layer" else "ascending")
    cells = alt.Chart(alt.Data(values=rows)).mark_rect().encode(x=x, y=y, color=_colour("value", most, alt.Legend()))
    return cells.properties(width=alt.Step(22), height=alt.Step(12), title=title)
