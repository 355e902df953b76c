"""The report: one self-contained page, the same in Markdown, a table for the terminal, and a picture.

All are drawn from the plain dict that ``compare.record`` describes. The page holds everything it needs, asks nothing of
the network, and treats every string of the report as text: markup is built by ``_report.markup`` alone, and a content
security policy forbids any script or style but the page's own.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import vl_convert
from rich.table import Table
from rich.text import Text

from trivium.compare._report import charts, wording
from trivium.compare._report.markup import Html, content_hash, element, embedded, join, printable
from trivium.core import files

Report = Mapping[str, Any]

EXAMPLE_BYTES = 4_000_000
"""About how much text of examples a page carries; beyond it the page holds an even sample and says so."""
TEXT_LIMIT = 20_000
"""Characters of one prompt or output that a page shows; beyond it the page says how many are left out."""
CHARTED_MEASURES, CHARTED_UNITS = 3, 4
_STYLES = {wording.SUPPORTED: "green", wording.CONTRADICTED: "red"}


def page(report: Report) -> str:
    """The report as one HTML page without any other file. Always encodable as UTF-8."""
    look = charts.looks(report)
    panes, pane_rules = _tradeoffs(report, look)
    differences, difference_rules = _differences(report)
    training, training_rules = _training(report)
    style = _asset("page.css") + _chart_rules(look) + "".join([*pane_rules, *difference_rules, *training_rules])
    script = _asset("page.js")
    policy = (
        f"default-src 'none'; script-src {content_hash(script)}; style-src {content_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    body = join(
        _header(report),
        element(
            "main",
            _findings(report),
            _facts(report),
            _table(report, look),
            training,
            panes,
            differences,
            _by_cluster(report, look),
            _examples(report),
            _contenders(report, look),
            _provenance(report),
            id="main",
        ),
        element("footer", "Made by trivium. This page is one file and asks nothing of the network."),
        embedded(_example_data(report), "example-data"),
        embedded({"colours": [look[c["name"]].colours for c in report["contenders"]]}, "chart-data"),
    )
    head = join(
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{report.get('title', 'Comparison')} · trivium"),
        element("link", rel="icon", href=_ICON),
        element("style", Html(style)),
    )
    whole = element("html", element("head", head), element("body", body, element("script", Html(script))), lang="en")
    return f"<!doctype html>\n{whole}\n"


def markdown(report: Report) -> str:
    """The report as Markdown: findings, the table, differences, notes, provenance and the command."""
    parts = [f"# {_plain(report.get('title', 'Comparison'))}", ""]
    if report.get("question"):
        parts += [_plain(report["question"]), ""]
    parts += [f"- {_plain(name)}: {_plain(text)}" for name, text in _fact_list(report)] + [""]
    findings = list(_sentences(report))
    if findings:
        parts += ["## Findings", ""]
        parts += [f"- **{verdict or 'no verdict'}**: {_plain(text)}" for verdict, text, _ in findings] + [""]
    columns = _columns(report)
    parts += ["## Results", "", _row(["contender", *(column.title for column in columns), "note"])]
    parts.append(_row(["---", *("---:" for _ in columns), "---"]))
    for contender in report["contenders"]:
        cells = [" ".join(filter(None, column.cell(contender))) for column in columns]
        parts.append(_row([_contender_words(contender), *cells, _note(contender)]))
    pairs = report.get("pairs") or []
    if pairs:
        titles = {m["name"]: m.get("title", m["name"]) for m in report["measures"]}
        heads = ["contender", "against", "measure", "difference", "interval", "p (Holm)", "verdict", "n (clusters)"]
        parts += ["", "## Differences", "", _row(heads), _row(["---"] * len(heads))]
        for pair in pairs:
            scale = wording.pair_scale(pair)
            parts.append(
                _row(
                    [
                        pair["a"], pair["b"], titles.get(pair["measure"], pair["measure"]), scale(pair.get("difference"), sign=True),
                        wording.interval(pair.get("low"), pair.get("high"), scale, sign=True), wording.p_value(pair.get("p_holm")),
                        pair.get("verdict") or "no verdict", _counted(pair),
                    ]
                )
            )  # fmt: skip
    failed = [(c["name"], line) for c in report["contenders"] for line in wording.failures(c)]
    if failed:
        parts += ["", "## Failures", ""] + [f"- {_plain(name)}: {_plain(line)}" for name, line in failed]
    parts += ["", "## Provenance", ""]
    parts += [f"- {_plain(name)}: {_plain(value)}" for name, value in _flat(report.get("provenance") or {})]
    parts += [f"- statistics, {_plain(name)}: {_plain(value)}" for name, value in _flat(report.get("statistics") or {})]
    if report.get("command"):
        command = printable(report["command"])
        fence = "`" * max(3, 1 + max(map(len, _runs(command, "`")), default=0))
        parts += ["", "To repeat it:", "", fence, command, fence]
    return "\n".join(parts) + "\n"


def table(report: Report) -> Table:
    """The results for the terminal, a row per contender."""
    held = (report.get("budget") or {}).get("text", "")
    caption = f"held equal: {held}. " if held else ""
    caption += "Brackets: " + _interval_words(report) + "."
    verdicts = _verdicts(report)
    if any(verdicts.values()):
        caption += f" Against {report.get('baseline')}: ▲ supported, ▼ contradicted, ○ not visible at this scale."
    made = Table(title=Text(printable(report.get("title", ""))), caption=Text(_one_line(caption)), caption_justify="left", title_justify="left")
    made.add_column("contender", overflow="fold", min_width=12)
    columns = _columns(report)
    for column in columns:
        made.add_column(Text(_one_line(column.title)), justify="right")
    noted = any(_note(c) for c in report["contenders"])
    if noted:
        made.add_column("note", overflow="fold")
    for contender in report["contenders"]:
        cells = []
        for column in columns:
            main, aside = column.cell(contender)
            verdict = verdicts.get((contender["name"], column.name)) if column.quality else None
            glyph = f"{wording.GLYPHS[verdict]} " if verdict else ""
            cells.append(Text(f"{glyph}{main}\n{aside}" if aside else f"{glyph}{main}", style=_STYLES.get(verdict or "", "")))
        name = Text(_one_line(contender["name"]), style="bold" if contender.get("baseline") else "")
        made.add_row(name, *cells, *([Text(_one_line(_note(contender)))] if noted else []))
    return made


def chart_svg(report: Report, path: str | Path | None = None, *, measure: str | None = None, unit: str | None = None) -> str:
    """Title, cost against quality, and differences to the baseline as one SVG; written to ``path`` where one is given."""
    svg = charts.picture(report, measure, unit)
    if path is not None:
        files.write(path, svg)
    return svg


def chart_png(report: Report, path: str | Path, *, measure: str | None = None, unit: str | None = None, scale: float = 2.0) -> None:
    """The picture of ``chart_svg`` as PNG on white."""
    svg = charts.picture(report, measure, unit).replace('fill="transparent"', 'fill="#ffffff"', 1)
    files.write(path, vl_convert.svg_to_png(svg, scale=scale))


# --- sections of the page -------------------------------------------------------------------------------------------


def _header(report: Report) -> Html:
    question = report.get("question") or report.get("title", "Comparison")
    return element(
        "header",
        element("a", "Skip to the results", href="#results", class_="skip"),
        element(
            "div",
            element("p", element("b", "trivium"), " · ", report.get("title", ""), class_="eyebrow"),
            element("button", "Theme: ", element("span", "auto"), type="button", id="theme", class_="scripted", title="Switch between the system's, the light and the dark theme"),
            class_="bar",
        ),
        element("h1", element("bdi", question)),
    )  # fmt: skip


def _findings(report: Report) -> Html | None:
    leading = report["measures"][0]["name"] if report["measures"] else ""
    found = list(_sentences(report))
    if report.get("smoke"):
        notice = element("p", element("b", "Too little to judge. "), "This run is for trying things out: it has too few examples or seeds for a verdict.", class_="notice")
    else:
        notice = None
    if not found:
        return notice
    listed = lambda rows: element("ul", [_finding(*row) for row in rows], class_="findings")  # noqa: E731
    first = [row for row in found if row[2]["measure"] == leading]
    rest = [row for row in found if row[2]["measure"] != leading]
    return element(
        "section",
        element("h2", "Findings"),
        notice,
        listed(first or rest),
        element("details", element("summary", f"{len(rest)} more in the other measures"), listed(rest)) if first and rest else None,
        id="findings",
    )


def _finding(verdict: str, text: str, pair: Mapping[str, Any]) -> Html:
    return element("li", _verdict(verdict), element("span", element("bdi", text)), data_pair=pair["a"])


def _facts(report: Report) -> Html:
    return element("dl", [element("div", element("dt", name), element("dd", element("bdi", value))) for name, value in _fact_list(report)], class_="facts")


def _table(report: Report, look: Mapping[str, charts.Look]) -> Html:
    columns = _columns(report)
    verdicts = _verdicts(report)
    groups = [element("td")]
    for quality, title in ((True, f"quality, with {_interval_words(report)}"), (False, "cost per unit of work, median")):
        count = sum(column.quality == quality for column in columns)
        if count:
            groups.append(element("th", title, scope="colgroup", colspan=count))
    heads = [_head(0, "contender", "", "ascending")]
    heads += [_head(i, column.title, column.aside, column.first) for i, column in enumerate(columns, 1)]
    rows = []
    for index, contender in enumerate(report["contenders"]):
        cells: list[Html] = []
        if not contender.get("measures") and not contender.get("spent"):
            cells = [element("td", _note(contender) or "no result", colspan=len(columns), class_="absent")]
        else:
            for column in columns:
                main, aside = column.cell(contender)
                value = column.value(contender)
                extra = [element("span", aside, class_="aside")] if aside else []
                if column.quality and main != "—":
                    verdict = verdicts.get((contender["name"], column.name))
                    glyph = element("span", wording.GLYPHS[verdict], class_=f"glyph {_class(verdict)}", title=verdict or "no verdict", role="img", aria_label=verdict or "no verdict") if verdict is not None else None
                    extra = [*extra, _bar(column, contender, look[contender["name"]].index)]
                    cells.append(element("td", element("span", glyph, element("span", main, class_="value"), class_="main"), extra, data_value=value))
                else:
                    cells.append(element("td", element("span", main, class_="value"), extra, data_value=value))
        rows.append(element("tr", element("th", _name_cell(contender, look), scope="row", data_value=contender["name"]), cells, data_contender=index))
    chips = [
        element("label", element("input", type="checkbox", name="contender", value=i, checked=True), _marker(look[c["name"]]), element("bdi", c["name"]))
        for i, c in enumerate(report["contenders"])
    ]
    tools = element(
        "div",
        element("label", "Find ", element("input", type="search", id="find", placeholder="contender", autocomplete="off"), class_="find"),
        element("fieldset", element("legend", "Show"), element("div", chips, element("button", "all", type="button", id="all"), class_="chips")),
        class_="tools scripted",
    )
    legend = [f"{wording.GLYPHS[v]} {v}" for v in (wording.SUPPORTED, wording.CONTRADICTED, wording.NOT_VISIBLE) if v in verdicts.values()]
    key = element("p", "Against ", element("bdi", report.get("baseline", "the baseline")), ": ", " · ".join(legend), ".", class_="key") if legend else None
    grid = element(
        "table",
        element("caption", "Results, one row per contender", class_="spoken"),
        element("thead", element("tr", groups, class_="groups"), element("tr", heads)),
        element("tbody", rows),
        class_="results",
    )
    return element(
        "section",
        element("h2", "Results"),
        tools,
        element("div", grid, class_="scroll", tabindex=0, role="region", aria_label="Results, scrolls sideways"),
        key,
        element("p", class_="spoken", id="said", aria_live="polite"),
        id="results",
    )


def _tradeoffs(report: Report, look: Mapping[str, charts.Look]) -> tuple[Html | None, list[str]]:
    measures = [m["name"] for m in report["measures"][:CHARTED_MEASURES]]
    units = charts.cost_units(report)[:CHARTED_UNITS]
    drawn = {(m, u): [charts.tradeoff(report, m, u, w) for w in (charts.WIDE, charts.NARROW)] for m in measures for u in units}
    panes = {key: both for key, both in drawn.items() if all(both)}
    titles = {m["name"]: m.get("title", m["name"]) for m in report["measures"]}
    choices = [
        ("quality", "Quality", [(m, titles[m]) for m in measures if any(m == k[0] for k in panes)]),
        ("cost", "Cost", [(u, wording.unit_title(u)) for u in units if any(u == k[1] for k in panes)]),
    ]
    told = "Upright bars are intervals of quality; level bars are the spread of the cost. Both axes may start away from zero."
    return _chart_section("tradeoff", "Cost against quality", told, choices, panes)


def _differences(report: Report) -> tuple[Html | None, list[str]]:
    drawn = {(m["name"],): [charts.forest(report, m["name"], w) for w in (charts.WIDE, charts.NARROW)] for m in report["measures"]}
    panes = {key: both for key, both in drawn.items() if all(both)}
    titles = {m["name"]: m.get("title", m["name"]) for m in report["measures"]}
    choices = [("difference", "Measure", [(key[0], titles[key[0]]) for key in panes])]
    statistics = report.get("statistics") or {}
    told = f"Paired differences with {_interval_words(report)}; verdicts by Holm over {statistics.get('family') or 'all pairs'}."
    return _chart_section("differences", f"Differences to {report.get('baseline') or 'the baseline'}", told, choices, panes, _pair_table(report))


def _training(report: Report) -> tuple[Html | None, list[str]]:
    across, up = charts.curve_axes(report)
    drawn = {(y, x): [charts.curves(report, x, y, w) for w in (charts.WIDE, charts.NARROW)] for y in up for x in across}
    panes = {key: both for key, both in drawn.items() if all(both)}
    titles = {"bits_per_byte": "bits per byte", "loss": "training loss", "flops": "FLOPs", "tokens": "tokens", "step": "steps", "seconds": "seconds"}
    choices = [("curve", "Curve", [(y, titles[y]) for y in up]), ("over", "Over", [(x, titles[x]) for x in across])]
    return _chart_section("training", "Training", "Thin lines are seeds, thick ones their mean.", choices, panes)


def _chart_section(
    name: str,
    title: str,
    told: str,
    choices: Sequence[tuple[str, str, Sequence[tuple[str, str]]]],
    panes: Mapping[tuple[str, ...], Sequence[Html | None]],
    after: Html | None = None,
) -> tuple[Html | None, list[str]]:
    """A chart with radio buttons that choose which drawing is seen, by style rules alone, so without any script."""
    if not panes:
        return None, []
    places = [{value: index for index, (value, _) in enumerate(options)} for _, _, options in choices]
    sets = [
        element(
            "fieldset",
            element("legend", legend),
            [element("label", element("input", type="radio", name=group, value=i, checked=i == 0), element("span", label)) for i, (_, label) in enumerate(options)],
            class_="segments",
            hidden=len(options) < 2,
        )
        for group, legend, options in choices
    ]  # fmt: skip
    figures, rules = [], []
    for key, (wide, narrow) in panes.items():
        at = [place[value] for place, value in zip(places, key, strict=True)]
        mark = "-".join(map(str, at))
        figures.append(element("figure", element("div", wide, class_="wide"), element("div", narrow, class_="narrow"), class_="pane", data_pane=mark))
        chosen = "".join(f':has([name="{group}"][value="{i}"]:checked)' for (group, _, _), i in zip(choices, at, strict=True))
        rules.append(f'#{name}{chosen} [data-pane="{mark}"]{{display:block}}\n')
    section = element("section", element("h2", title), element("div", sets, class_="choices"), figures, element("p", told, class_="key"), after, id=name, class_="chart")
    return section, rules


def _pair_table(report: Report) -> Html | None:
    pairs = report.get("pairs") or []
    if not pairs:
        return None
    titles = {m["name"]: m.get("title", m["name"]) for m in report["measures"]}
    rows = []
    for pair in pairs:
        scale = wording.pair_scale(pair)
        p = [wording.p_value(pair.get(name)).removeprefix("p ").removeprefix("= ") for name in ("p", "p_holm")]
        rows.append(
            element(
                "tr",
                element("th", element("bdi", pair["a"]), " − ", element("bdi", pair["b"]), scope="row"),
                element("td", titles.get(pair["measure"], pair["measure"])),
                element("td", scale(pair.get("difference"), sign=True), class_="number"),
                element("td", wording.interval(pair.get("low"), pair.get("high"), scale, sign=True), class_="number"),
                [element("td", one or "—", class_="number") for one in p],
                element("td", _verdict(pair.get("verdict", ""))),
                element("td", scale(pair.get("detectable")), class_="number"),
                element("td", _counted(pair), class_="number"),
                element("td", pair.get("method", "")),
            )
        )
    heads = ["pair", "measure", "difference", "interval", "p", "p after Holm", "verdict", "detectable", "n (clusters)", "method"]
    grid = element("table", element("thead", element("tr", [element("th", h, scope="col") for h in heads])), element("tbody", rows))
    scroll = element("div", grid, class_="scroll", tabindex=0, role="region", aria_label="Differences, scrolls sideways")
    return element("details", element("summary", "All figures of the differences"), scroll)


def _by_cluster(report: Report, look: Mapping[str, charts.Look]) -> Html | None:
    clusters = sorted({cluster for c in report["contenders"] for cluster in c.get("by_cluster") or {}})
    if len(clusters) < 2 or len(clusters) > 24:
        return None
    tables = []
    for measure in report["measures"]:
        name = measure["name"]
        means = [(c["name"], [((c.get("by_cluster") or {}).get(k) or {}).get(name) for k in clusters]) for c in report["contenders"]]
        scale = wording.measure_scale([x for _, row in means for x in row])
        rows = [
            element("tr", element("th", _marker(look[who]), " ", element("bdi", who), scope="row"), [element("td", scale(x), class_="number") for x in row], data_contender=index)
            for index, (who, row) in enumerate(means)
            if any(wording.finite(x) is not None for x in row)
        ]  # fmt: skip
        if rows:
            heads = [element("th", element("bdi", h), scope="col", class_="number" if h else None) for h in ["", *clusters]]
            caption = element("caption", measure.get("title", name), element("span", _units(measure), " ", wording.direction(measure), class_="aside"))
            tables.append(element("div", element("table", caption, element("thead", element("tr", heads)), element("tbody", rows)), class_="scroll", tabindex=0, role="region", aria_label=f"{measure.get('title', name)} by kind"))
    return element("section", element("h2", "By kind of example"), element("div", tables, class_="pair-of-tables"), id="kinds") if tables else None


def _examples(report: Report) -> Html | None:
    total = len(report.get("examples") or [])
    if not total:
        return None
    kept = len(_kept_examples(report))
    left = element("p", f"{kept} of {total} are on this page, evenly taken over the kinds; all are in report.json.", class_="key") if kept < total else None
    choose = lambda name, label: element("label", label, element("select", id=name), class_="pick")  # noqa: E731
    tools = element(
        "div",
        choose("cluster", "Kind"), choose("example", "Example"), choose("seed", "Seed"),
        element("div", element("button", "← previous", type="button", id="previous"), element("button", "next →", type="button", id="next"), class_="steps"),
        class_="tools scripted",
    )  # fmt: skip
    stage = element("div", id="stage", tabindex=0, role="region", aria_label="Example; the left and right arrow keys change it", class_="scripted")
    without = element("noscript", element("p", "Choosing examples needs a script, which is off. The table and the charts above are complete; the examples are in report.json beside this page.", class_="notice"))
    return element("section", element("h2", "Examples side by side"), left, without, tools, stage, id="examples")


def _contenders(report: Report, look: Mapping[str, charts.Look]) -> Html:
    items = []
    for index, contender in enumerate(report["contenders"]):
        parts: list[Html | None] = [element("p", element("code", contender.get("config", contender["name"])))]
        facts = [text for text in ("the baseline" if contender.get("baseline") else "", "lossless: the same law as plain decoding" if contender.get("lossless") else "", _note(contender)) if text]
        parts.append(element("p", "; ".join(facts), class_="aside") if facts else None)
        reasons = wording.failures(contender)
        if reasons:
            parts.append(element("ul", [element("li", element("bdi", reason)) for reason in reasons], class_="reasons"))
        tuned = contender.get("tuned") or []
        if tuned:
            scale = wording.measure_scale([t.get("value") for t in tuned])
            rows = [element("tr", element("td", element("code", t.get("config", ""))), element("td", scale(t.get("value")), class_="number"), element("td", "chosen" if t.get("chosen") else "")) for t in tuned]
            split = (report.get("tuning") or {}).get("split", "validation")
            parts.append(element("details", element("summary", f"{len(tuned)} tuning trials on the {split} split"), element("div", element("table", element("tbody", rows)), class_="scroll", tabindex=0)))
        items.append(element("li", element("h3", _marker(look[contender["name"]]), " ", element("bdi", contender["name"])), parts, data_contender=index))
    return element("section", element("h2", "Contenders in full"), element("ul", items, class_="contenders"), id="contenders")


def _provenance(report: Report) -> Html:
    rows = [*_flat(report.get("provenance") or {}), *((f"statistics: {name}", value) for name, value in _flat(report.get("statistics") or {}))]
    command = report.get("command")
    again = None
    if command:
        again = element(
            "div",
            element("pre", element("code", command, id="command"), tabindex=0, aria_label="The command that repeats this comparison"),
            element("button", "copy", type="button", id="copy", class_="scripted"),
            class_="command",
        )
    return element(
        "section",
        element("h2", "Repeat it"),
        again,
        element("h3", "Provenance"),
        element("dl", [element("div", element("dt", name), element("dd", element("bdi", value))) for name, value in rows], class_="provenance"),
        id="provenance",
    )


# --- what the sections are made of ----------------------------------------------------------------------------------


class _Column:
    """One column of the results: how its numbers are written, sorted and drawn."""

    def __init__(self, report: Report, name: str, quality: bool) -> None:
        self.name, self.quality = name, quality
        entries = [self._entry(c) or {} for c in report["contenders"]]
        if quality:
            measure = next(m for m in report["measures"] if m["name"] == name)
            spread = [(e["high"] - e["low"]) / 2 for e in entries if wording.finite(e.get("low")) is not None and wording.finite(e.get("high")) is not None]
            self.scale = wording.measure_scale([e.get("mean") for e in entries], spread)
            self.title = f"{measure.get('title') or name}{_units(measure)}"
            self.aside = wording.direction(measure)
            self.first = "ascending" if measure.get("higher_is_better") is False else "descending"
            ends = [x for e in entries for x in map(wording.finite, (e.get("low"), e.get("high"), e.get("mean"))) if x is not None]
            self.range = (min(ends), max(ends)) if ends else (0.0, 1.0)
        else:
            self.scale = wording.cost_scale(name, [e.get("median") for e in entries])
            suffix = self.scale.suffix
            title = wording.unit_title(name)
            self.title = title if not suffix or (name, suffix) == ("seconds", "s") else f"{title}, {suffix}"
            self.aside = "held equal" if (report.get("budget") or {}).get("unit") == name else ""
            self.first = "ascending"

    def _entry(self, contender: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return (contender.get("measures" if self.quality else "spent") or {}).get(self.name)

    def value(self, contender: Mapping[str, Any]) -> float | None:
        """What the column is sorted by."""
        return wording.finite((self._entry(contender) or {}).get("mean" if self.quality else "median"))

    def ends(self, contender: Mapping[str, Any]) -> tuple[float, float] | None:
        """The interval, where there is one."""
        entry = self._entry(contender) or {}
        low, high = wording.finite(entry.get("low")), wording.finite(entry.get("high"))
        return None if low is None or high is None else (low, high)

    def cell(self, contender: Mapping[str, Any]) -> tuple[str, str]:
        """The number, and its interval beneath where it is a measure."""
        ends = self.ends(contender)
        aside = wording.interval(*ends, self.scale) if ends and self.quality else ""
        return self.scale(self.value(contender)), aside


def _columns(report: Report) -> list[_Column]:
    """The measures, then every unit that anybody spent, the one held equal first."""
    units = {u for c in report["contenders"] for u, amount in (c.get("spent") or {}).items() if wording.finite((amount or {}).get("median"))}
    held = (report.get("budget") or {}).get("unit")
    order = [unit for unit in report.get("units") or sorted(units) if unit in units]
    order.sort(key=lambda unit: unit != held)
    return [_Column(report, m["name"], True) for m in report["measures"]] + [_Column(report, unit, False) for unit in order]


def _sentences(report: Report) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    """(verdict, sentence, pair) per pair, supported first within a measure."""
    order = [wording.SUPPORTED, wording.CONTRADICTED, wording.NOT_VISIBLE, ""]
    for measure in report["measures"]:
        pairs = [p for p in report.get("pairs") or [] if p["measure"] == measure["name"]]
        for pair in sorted(pairs, key=lambda p: order.index(p.get("verdict", ""))):
            yield pair.get("verdict", ""), wording.verdict_sentence(pair, measure), pair


def _verdicts(report: Report) -> dict[tuple[str, str], str]:
    """Verdict by contender and measure, against the baseline."""
    return {(p["a"], p["measure"]): p.get("verdict", "") for p in report.get("pairs") or [] if p["b"] == report.get("baseline", p["b"])}


def _fact_list(report: Report) -> list[tuple[str, str]]:
    budget, task, system = (report.get(name) or {} for name in ("budget", "task", "system"))
    facts = []
    if budget:
        text = budget.get("text") or f"{budget.get('amount'):g} {budget.get('unit')}"
        facts.append(("held equal", f"{text.replace('_', ' ')} per run, within {budget.get('tolerance', 0):.0%}"))
    facts += [(name, _described(noun)) for name, noun in (("model", system), ("task", task)) if noun]
    seeds = (report.get("provenance") or {}).get("seeds")
    if isinstance(seeds, list | tuple):
        facts.append(("seeds", ", ".join(map(str, seeds))))
    tuning = report.get("tuning") or {}
    if tuning:
        facts.append(("tuning", tuning.get("counted") or f"{tuning.get('trials', 0)} trials per contender"))
    totals = []
    for unit in ("seconds", "flops"):
        total = sum(wording.finite(((c.get("spent") or {}).get(unit) or {}).get("total")) or 0.0 for c in report["contenders"])
        if total:
            scale = wording.cost_scale(unit, [total])
            totals.append(f"{scale(total)} {scale.suffix}")
    if totals:
        facts.append(("spent in all", ", ".join(totals)))
    return facts


def _described(noun: Mapping[str, Any]) -> str:
    rest = [f"{value} {key}" if isinstance(value, int) else f"{key} {value}" for key, value in noun.items() if key not in ("name", "config", "fingerprint", "sha256") and isinstance(value, int | float | str) and not isinstance(value, bool)]
    return ", ".join([str(noun.get("name", "")), *rest])


def _interval_words(report: Report) -> str:
    confidence = wording.finite((report.get("statistics") or {}).get("confidence"))
    return f"{confidence:.0%} intervals".replace("%", " %") if confidence else "intervals"


def _note(contender: Mapping[str, Any]) -> str:
    return str(contender.get("note") or "")


def _contender_words(contender: Mapping[str, Any]) -> str:
    return f"{contender['name']} (baseline)" if contender.get("baseline") else contender["name"]


def _counted(pair: Mapping[str, Any]) -> str:
    n, clusters = pair.get("n"), pair.get("clusters")
    return "" if n is None else f"{n}" if clusters in (None, n) else f"{n} ({clusters})"


def _units(measure: Mapping[str, Any]) -> str:
    return f", {measure['unit']}" if measure.get("unit") else ""


def _flat(data: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Nested facts as (name, value) lines."""
    rows: list[tuple[str, str]] = []
    for key, value in data.items():
        name = f"{before}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name}: ")
        elif isinstance(value, list | tuple):
            rows.append((name, ", ".join(map(str, value))))
        elif value is not None:
            rows.append((name, {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)))
    return rows


def _head(index: int, title: str, aside: str, first: str) -> Html:
    """A column heading that sorts: a button, so that the keyboard reaches it."""
    extra = element("span", aside, class_="aside") if aside else None
    button = element("button", title, element("span", class_="arrow", aria_hidden="true"), type="button", data_column=index, data_first=first)
    return element("th", button, extra, scope="col", aria_sort="none", class_=None if index == 0 else "number")


def _name_cell(contender: Mapping[str, Any], look: Mapping[str, charts.Look]) -> list[Html]:
    badges = ["baseline"] if contender.get("baseline") else []
    badges += ["lossless"] if contender.get("lossless") else []
    note = _note(contender)
    has_result = bool(contender.get("measures") or contender.get("spent"))
    parts = [element("span", _marker(look[contender["name"]]), element("bdi", contender["name"]), class_="name")]
    parts += [element("span", badge, class_="badge") for badge in badges]
    if note and has_result:
        parts.append(element("span", note, class_="badge warn"))
    config = contender.get("config", "")
    if config and config != contender["name"]:
        parts.append(element("code", config, class_="config", title=config))
    return parts


def _bar(column: _Column, contender: Mapping[str, Any], index: int) -> Html | None:
    """The interval of one cell, drawn on the common scale of its column."""
    ends, value = column.ends(contender), column.value(contender)
    low, high = column.range
    if value is None or high <= low:
        return None
    place = lambda x: f"{4 + 80 * (x - low) / (high - low):.1f}"  # noqa: E731
    line = f'<path class="k" d="M{place(ends[0])} 5H{place(ends[1])}"/>' if ends else ""
    return Html(f'<svg class="mini" viewBox="0 0 88 10" width="88" height="10" aria-hidden="true"><path class="axis" d="M4 5H84"/>{line}<circle cx="{place(value)}" cy="5" r="3.2"/></svg>')


_OUTLINES = {
    "square": "M2 2h8v8h-8z", "circle": "M6 1.2a4.8 4.8 0 1 0 .01 0z", "triangle-up": "M6 1.2l5 9h-10z", "triangle-down": "M6 10.8l5-9h-10z",
    "triangle-right": "M10.8 6l-9 5v-10z", "triangle-left": "M1.2 6l9 5v-10z", "diamond": "M6 .6l4 5.4-4 5.4-4-5.4z", "cross": "M4.4 1h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4v-3.2h3.4z",
}  # fmt: skip
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M2 4h12M2 8h8M2 12h10' "
    "stroke='%230a62c4' stroke-width='2'/%3E%3C/svg%3E"
)


def _marker(look: charts.Look) -> Html:
    """The contender's marker, as in the charts."""
    return Html(f'<svg class="marker" viewBox="0 0 12 12" width="12" height="12" aria-hidden="true"><path fill="{look.colour}" d="{_OUTLINES[look.shape]}"/></svg>')


def _verdict(verdict: str) -> Html:
    return element("span", element("span", wording.GLYPHS.get(verdict, "·"), aria_hidden="true"), " ", verdict or "no verdict", class_=f"verdict {_class(verdict)}")


def _class(verdict: str | None) -> str:
    return {wording.SUPPORTED: "good", wording.CONTRADICTED: "bad"}.get(verdict or "", "same")


def _chart_rules(look: Mapping[str, charts.Look]) -> str:
    """The dark theme of the drawings: each colour of theirs, mapped."""
    colours = [*charts.DARK, *(colour for one in look.values() for colour in one.colours)]
    rules = [
        f'svg [{kind}="{colour}"]{{{kind}:light-dark({colour},{charts.dark(colour)})}}\n' for colour in dict.fromkeys(colours) for kind in ("fill", "stroke")
    ]
    return "".join(rules)


def _kept_examples(report: Report) -> list[Mapping[str, Any]]:
    """All examples where they fit, else an even sample over the clusters, in their own order; seeds of an example stay together."""
    groups: dict[str, dict[str, list[int]]] = {}
    examples = report.get("examples") or []
    for index, example in enumerate(examples):
        groups.setdefault(str(example.get("cluster", "")), {}).setdefault(str(example.get("id", index)), []).append(index)
    queues = [list(items.values()) for items in groups.values()]
    kept: list[int] = []
    room = EXAMPLE_BYTES
    for turn in range(max(map(len, queues), default=0)):
        for queue in queues:
            if turn < len(queue):
                size = sum(_weight(examples[i]) for i in queue[turn])
                if size > room and kept:
                    return [examples[i] for i in sorted(kept)]
                room -= size
                kept += queue[turn]
    return [examples[i] for i in sorted(kept)]


def _weight(example: Mapping[str, Any]) -> int:
    outputs = (example.get("outputs") or {}).values()
    texts = [example.get("prompt", ""), *(o.get("text", "") for o in outputs)]
    pieces = sum(16 * len(o.get("spans") or ()) + len(o.get("html") or "") for o in outputs)
    return sum(min(len(str(text)), TEXT_LIMIT) for text in texts) + pieces + 200


def _example_data(report: Report) -> dict[str, Any]:
    """What the script needs to show examples. Long texts are cut; the rest is counted."""
    names = [c["name"] for c in report["contenders"]]
    measures = {m["name"]: m.get("title", m["name"]) for m in report["measures"]}
    kept = _kept_examples(report)
    kinds = {kind for e in kept for o in (e.get("outputs") or {}).values() for kind in (s.get("kind", "plain") for s in o.get("spans") or ())}
    scales = {
        name: wording.measure_scale([(o.get("values") or {}).get(name) for e in kept for o in (e.get("outputs") or {}).values()]) for name in measures
    }
    items = []
    for index, example in enumerate(kept):
        outputs = {}
        for name, output in (example.get("outputs") or {}).items():
            if name not in names:
                continue
            text = str(output.get("text") or "")
            values = output.get("values") or {}
            shown = [[title, scales[m](values[m])] for m, title in measures.items() if wording.finite(values.get(m)) is not None]
            cut = _cut(text, output.get("spans") or ())
            outputs[names.index(name)] = {
                "spans": cut, "left": max(0, len(text) - TEXT_LIMIT), "values": shown, "html": output.get("html"), "error": output.get("error") or ""
            }  # fmt: skip
        prompt = str(example.get("prompt") or "")
        items.append(
            {
                "id": str(example.get("id", index)), "cluster": str(example.get("cluster") or ""), "seed": str(example.get("seed", "")),
                "prompt": prompt[:TEXT_LIMIT], "left": max(0, len(prompt) - TEXT_LIMIT), "outputs": outputs,
            }
        )  # fmt: skip
    return {"contenders": names, "kinds": sorted(kinds - {"plain"}), "items": items}


def _cut(text: str, spans: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """[kind, text] runs of at most TEXT_LIMIT characters; neighbours that are plain are joined."""
    runs: list[list[str]] = []
    room = TEXT_LIMIT
    for span in spans or [{"kind": "plain", "text": text}]:
        kind, piece = str(span.get("kind", "plain")), str(span.get("text", ""))[:room]
        room -= len(piece)
        if not piece:
            continue
        if runs and runs[-1][0] == kind == "plain":
            runs[-1][1] += piece
        else:
            runs.append([kind, piece])
    return runs


def _plain(text: object) -> str:
    """Text inside a line of Markdown: nothing in it is markup."""
    line = " ".join(printable(text).split())
    return "".join(f"\\{character}" if character in "\\`*_[]<>|#&~" else character for character in line)


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell) if set(str(cell)) <= set("-: ") and cell else _plain(cell) for cell in cells) + " |"


def _runs(text: str, character: str) -> list[str]:
    return [run for run in "".join(c if c == character else " " for c in text).split(" ") if run]


def _one_line(text: object) -> str:
    """Text for a terminal cell: no control character, no direction mark, on one line."""
    clean = "".join(c for c in printable(text) if c not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")
    return " ".join(clean.split())


@lru_cache(maxsize=4)
def _asset(name: str) -> str:
    return (resources("trivium.compare._report") / name).read_text(encoding="utf-8")
