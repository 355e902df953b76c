"""The sections of the page, top to bottom. Each returns markup, or None where the report has nothing for it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trivium.compare._report import charts, columns, examples, models, trained, wording
from trivium.compare._report.columns import Column
from trivium.compare._report.looks import Look
from trivium.compare._report.markup import Html, element, join

Report = Mapping[str, Any]
Looks = Mapping[str, Look]

CHARTED_MEASURES, CHARTED_UNITS = 3, 3
MOST_GROUPS = 24

_OUTLINES = {
    "square": "M2 2h8v8h-8z",
    "circle": "M6 1.2a4.8 4.8 0 1 0 .01 0z",
    "triangle-up": "M6 1.2l5 9h-10z",
    "triangle-down": "M6 10.8l5-9h-10z",
    "triangle-right": "M10.8 6l-9 5v-10z",
    "triangle-left": "M1.2 6l9 5v-10z",
    "diamond": "M6 .6l4 5.4-4 5.4-4-5.4z",
    "cross": "M4.4 1h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4v-3.2h3.4z",
}


def header(report: Report) -> Html:
    """Title and question."""
    switch = element(
        "button", "Theme: ", element("span", "auto"), type="button", id="theme", class_="scripted",
        title="Switch between the theme of the system, light and dark",
    )  # fmt: skip
    question = str(report.get("question") or report.get("title") or "Comparison")
    written = (report.get("budget") or {}).get("text")
    if written:
        question = question.replace(written, columns.held(report))  # '64 new_tokens' -> '64 new tokens'
    eyebrow = element("p", element("b", "trivium"), " · ", element("bdi", report.get("title", "")), class_="eyebrow")
    return element(
        "header",
        element("a", "Skip to the results", href="#results", class_="skip"),
        element("div", eyebrow, switch, class_="bar"),
        element("h1", element("bdi", question)),
    )


def findings(report: Report) -> Html | None:
    """A sentence per pair; those on the leading measure first, the others folded."""
    found = list(columns.judged(report))
    notice = None
    if report.get("smoke"):
        few = "This run is for trying things out: it has too few examples or seeds for a verdict."
        notice = element("p", element("b", "Too little to judge. "), few, class_="notice")
    if not found:
        return notice
    leading = found[0][0]["measure"]
    first = [_finding(*row) for row in found if row[0]["measure"] == leading]
    rest = [_finding(*row) for row in found if row[0]["measure"] != leading]
    more = element("details", element("summary", f"{len(rest)} more in the other measures"), _list(rest, "findings"))
    return element(
        "section",
        element("h2", "Findings"),
        notice,
        _list(first, "findings"),
        more if rest else None,
        element("p", f"Differences to the baseline with {columns.interval_words(report)}; p after Holm.", class_="key"),
        id="findings",
    )


def facts(report: Report) -> Html:
    """What was held equal, and on what it ran."""
    return element("dl", _definitions(columns.facts(report)), class_="facts")


def results(report: Report, look: Looks) -> Html:
    """The table, with its switches for contenders."""
    shown = columns.columns(report)
    judged = columns.verdicts(report)
    chips = [
        element(
            "label",
            element("input", type="checkbox", name="contender", value=index, checked=True),
            _marker(look[contender["name"]]),
            element("bdi", contender["name"]),
        )
        for index, contender in enumerate(report["contenders"])
    ]
    everything = element("button", "all", type="button", id="all")
    tools = element(
        "div",
        element("fieldset", element("legend", "Show"), element("div", chips, everything, class_="chips")),
        element("label", "Find ", element("input", type="search", id="find", autocomplete="off"), class_="find"),
        class_="tools scripted",
    )
    groups = [element("td")]
    for quality, title in (
        (True, f"quality, with {columns.interval_words(report)}"),
        (False, f"cost per {columns.work(report)}, median"),
    ):
        span = sum(column.quality == quality and column.major for column in shown)
        groups += [element("th", title, scope="colgroup", colspan=span)] if span else []
        hidden = sum(column.quality == quality and not column.major for column in shown)
        groups += [element("td", class_="minor", colspan=hidden)] if hidden else []
    heads = [_sorting_head(0, "contender", (), "ascending")]
    heads += [_sorting_head(i, c.title, (c.unit, c.aside), c.best_first, c.major) for i, c in enumerate(shown, 1)]
    minor = [column.title for column in shown if not column.major]
    every = element("label", element("input", type="checkbox", id="every"), f" also {', '.join(minor)}", class_="every")
    table = element(
        "table",
        element("caption", "Results, one row per contender", class_="spoken"),
        element("thead", element("tr", groups, class_="groups"), element("tr", heads)),
        element("tbody", [_row(i, c, shown, judged, look) for i, c in enumerate(report["contenders"])]),
        class_="results",
    )
    order = (wording.SUPPORTED, wording.CONTRADICTED, wording.NOT_VISIBLE)
    legend = " · ".join(f"{wording.GLYPHS[verdict]} {verdict}" for verdict in order if verdict in judged.values())
    against = element("bdi", report.get("baseline") or "the baseline")
    return element(
        "section",
        element("h2", "Results"),
        tools,
        _scrolling(table, "Results"),
        every if minor else None,
        element("p", "Against ", against, ": ", legend, ". Upright ticks mark it.", class_="key") if legend else None,
        element("p", class_="spoken", id="said", aria_live="polite"),
        id="results",
    )


@dataclass(frozen=True)
class Chart:
    """A section with drawings of which one is seen, and the style rules that choose it by radio buttons alone."""

    section: Html
    rules: str


def training(report: Report) -> Chart | None:
    """Training curves."""
    across, up = charts.curve_axes(report)
    words = {"bits_per_byte": "bits per byte", "loss": "training loss", "flops": "FLOPs", "step": "steps"}
    orders = trained.orders(report)
    after = [element("p", element("bdi", said), class_="key") for said in orders]
    return _chart(
        ("training", "Training"),
        "Thin lines are seeds, thick ones their mean.",
        [
            ("curve", "Curve", {name: words.get(name, name) for name in up}),
            ("over", "Over", {name: words.get(name, name) for name in across}),
        ],
        lambda width, y, x: charts.curves(report, x, y, width),
        element("div", after) if after else None,
    )


def scaling(report: Report) -> Chart | None:
    """The measure over several budgets, and how fast each contender gains."""
    if not report.get("scaling"):
        return None
    after = [element("p", element("bdi", said), class_="key") for said in trained.scaled_orders(report)]
    table = _words(trained.SLOPE_HEADS, trained.slopes(report), "Slopes")
    return _chart(
        ("scaling", "Scaling"),
        f"Logarithmic axes. Points are means with {columns.interval_words(report)}; lines are fitted per seed. "
        "Dashed is beyond the largest budget: a guess, not a result.",
        [("scaled", "Measure", {"leading": next(iter(columns.titles(report).values()), "")})],
        lambda width, _: charts.scaling(report, width),
        element("div", table, after),
    )


def positions(report: Report) -> Chart | None:
    """Where in a text the loss is."""
    return _chart(
        ("positions", "Loss by position"),
        "Means over the beginnings of held-out documents; a point stands for the positions up to it from the one "
        "before. A contender that uses a long context falls to the end.",
        [("by-position", "Measure", {"bits": "bits per token"})],
        lambda width, _: charts.positions(report, width),
    )


def _words(heads: Sequence[str], rows: Sequence[Sequence[str]], label: str) -> Html | None:
    """A table of texts, the first of each row its head."""
    if not rows:
        return None
    head = [element("th", element("bdi", word), scope="col") for word in heads]
    cells = [[element("td", element("bdi", cell)) for cell in row[1:]] for row in rows]
    firsts = [element("th", element("bdi", row[0]), scope="row") for row in rows]
    body = [element("tr", first, rest) for first, rest in zip(firsts, cells, strict=True)]
    return _scrolling(element("table", element("thead", element("tr", head)), element("tbody", body)), label)


def tradeoff(report: Report) -> Chart | None:
    """Cost against quality."""
    measures = columns.leading(report)[:CHARTED_MEASURES]
    return _chart(
        ("tradeoff", "Cost against quality"),
        f"Upright bars are {columns.interval_words(report)} of quality; level bars span the middle half of the costs. "
        "Rings on a dashed line: no other contender is at least as good and as cheap, by these numbers alone. "
        "Axes need not start at zero.",
        [
            ("quality", "Quality", {name: columns.titles(report)[name] for name in measures}),
            ("cost", "Cost", {unit: wording.unit_title(unit) for unit in charts.cost_units(report)[:CHARTED_UNITS]}),
        ],
        lambda width, measure, unit: charts.tradeoff(report, measure, unit, width),
        under=lambda measure, unit: _undominated(report, measure, unit),
    )


def differences(report: Report) -> Chart | None:
    """Differences to the baseline, and under them every figure."""
    family = (report.get("statistics") or {}).get("family") or "all pairs"
    return _chart(
        ("differences", f"Differences to {report.get('baseline') or 'the baseline'}"),
        f"Paired differences with {columns.interval_words(report)}; p values corrected by Holm over {family}.",
        [("difference", "Measure", columns.titles(report))],
        lambda width, measure: charts.forest(report, measure, width),
        _pairs(report),
    )


def speeds(report: Report, look: Looks) -> Chart | None:
    """Where a suite asks for it: speeds over the baseline's by group of examples, and tables of all that explains
    them."""
    tables = report.get("by_group") or []
    return _chart(
        ("speeds", "Speed by kind of example"),
        "Ratios are geometric means over the examples of medians over repeats, which the contenders made in turns. A "
        "bound says what the passes alone would allow; a ratio over its bound well below 0.7 is the loop's fault, not "
        "the method's.",
        [("kind-of-example", "Examples", {table["group"]: table["group"] for table in tables})],
        lambda width, group: charts.ratios(report, group, width),
        element("div", [_speed_tables(report, table, look) for table in tables]),
    )


LEADING_COLUMNS = 2
"""Columns of a suite that stand beside its ratios; the others are folded."""


def _speed_tables(report: Report, table: Mapping[str, Any], look: Looks) -> Html:
    names, rows = columns.titles(report), table["rows"]
    against, bound = table["against"], table["bound"]
    ratios = [(f"over {who}", [row["ratios"].get(who) for row in rows]) for who in against]
    ratios.append((str(names.get(bound, bound)), [row["values"].get(bound) for row in rows]))
    ratios.append(("measured over bound", [row["efficiency"] for row in rows]))
    means = [(names.get(name, name), [row["values"].get(name) for row in rows]) for name in table["columns"]]
    deepest = max((len(row["levels"]) for row in rows), default=0)
    levels = [(f"depth {at + 1}", [row["levels"][at] for row in rows]) for at in range(deepest)]
    levels = [(title, numbers) for title, numbers in levels if any(number is not None for number in numbers)]
    draw = lambda columns, what: _numbers(rows, columns, look, f"{what}: {table['group']}")  # noqa: E731
    level = f"{names.get(table['levels'], table['levels'])}, by depth"
    return element(
        "div",
        element("h3", element("bdi", table["group"])),
        draw([*ratios, *means[:LEADING_COLUMNS]], "Ratios"),
        element("details", element("summary", "What explains it"), draw(means[LEADING_COLUMNS:], "What explains it")),
        element("details", element("summary", level), draw(levels, level)) if levels else None,
        class_="speeds",
    )


def _numbers(
    rows: Sequence[Mapping[str, Any]], shown: Sequence[tuple[str, Sequence[Any]]], look: Looks, label: str
) -> Html:
    """A table of numbers, a column each with decimals of its own; those that nobody has are left out."""
    shown = [(title, numbers) for title, numbers in shown if any(wording.finite(n) is not None for n in numbers)]
    scales = [_column_scale(numbers) for _, numbers in shown]
    heads = [element("td")]
    for (title, _), scale in zip(shown, scales, strict=True):
        suffix = element("span", scale.suffix, class_="aside") if scale.suffix else None
        heads.append(element("th", element("bdi", title), suffix, scope="col", class_="number"))
    body = []
    for at, row in enumerate(rows):
        who = element("span", _marker(look[row["name"]]), element("bdi", _breakable(row["name"])), class_="name")
        cells = [
            element("td", scale(numbers[at]), class_="number")
            for (_, numbers), scale in zip(shown, scales, strict=True)
        ]
        body.append(element("tr", element("th", who, scope="row"), cells))
    return _scrolling(element("table", element("thead", element("tr", heads)), element("tbody", body)), label)


def _column_scale(numbers: Sequence[Any]) -> wording.Scale:
    """Two decimals, three where all numbers are small; large ones as costs are written."""
    largest = max(abs(number) for number in map(wording.finite, numbers) if number is not None)
    return wording.cost_scale("", numbers) if largest >= 1000 else wording.Scale(decimals=2 if largest >= 1 else 3)


def groups(report: Report, look: Looks) -> Html | None:
    """Means per kind of example, a table per measure."""
    if report.get("by_group"):  # they stand in the tables of the suite
        return None
    names = list(dict.fromkeys(g for c in report["contenders"] for g in c.get("by_group") or {}))
    if not 2 <= len(names) <= MOST_GROUPS:
        return None
    tables = [_group_table(report, measure, names, look) for measure in report["measures"]]
    shown = [table for table in tables if table]
    return element(
        "section", element("h2", "By kind of example"), element("div", shown, class_="groups-of"), id="kinds"
    )


def leaders(report: Report, look: Looks) -> Html | None:
    """Where models are put to many tasks: the leading measure of each."""
    return models.leaders(report, look, _marker, _scrolling, columns.verdicts(report))


def matrix(report: Report, look: Looks) -> Html | None:
    """Where models are put to several tasks: tasks by metrics."""
    return models.matrix(report, look, _marker, _scrolling)


def tasks(report: Report, look: Looks) -> Html | None:
    """Where models are put to several tasks: each in full."""
    return models.tasks(report, look, _marker, _scrolling)


def calibration(report: Report) -> Chart | None:
    """Reliability diagrams: how often a model is right where it gives its answer some probability."""
    found = report.get("calibration") or {}
    return _chart(
        ("calibration", "Calibration"),
        "Items in groups of near-equal size by the model's confidence; upright bars are 95 % intervals of how often it "
        "was right. On the dashed line confidence is a probability; below it the model is too sure.",
        [("calibrated", "Task", {task: task for task in found})],
        lambda width, task: charts.reliability(report, task, width),
        under=lambda task: "; ".join(
            f"{name}: expected calibration error {entry['ece_mass']:.3f} in groups of equal mass, "
            f"{entry['ece_width']:.3f} of equal width, {entry['n']:,} items"
            for name, entry in found[task].items()
        ),
    )


def spreads(report: Report) -> Chart | None:
    """How far formats of one prompt lie apart, by task. None where none was varied."""
    found = report.get("spreads") or {}

    def under(task: str) -> str:
        parts = []
        for label, entry in found[task].items():
            told = ", ".join(f"{x:.2f}" for x in entry["observed"])
            chance = (
                f"; chance alone reaches that with p {', '.join(f'{p:.3f}' for p in entry['p'])}" if entry["p"] else ""
            )
            parts.append(f"{label}: best minus worst format {told}{chance}")
        return "; ".join(parts)

    return _chart(
        ("spreads", "Formats"),
        "Left, how often a model is right in each way of writing the same prompt. Right, the best minus the worst of "
        "them on the items that chose these, a mark per search, over the spreads that formats show which do not "
        "matter: a maximum less a minimum is never 0.",
        [("spread", "Task", {task: task for task in found})],
        lambda width, task: charts.spread(report, task, width),
        under=under,
    )


def side_by_side(report: Report) -> Html | None:
    """Outputs of the same example beside each other; the script fills it in."""
    held, here = len(report.get("examples") or []), len(examples.kept(report))
    if not held:
        return None
    total = max(held, report["task"].get("examples") or 0) if report.get("systems") else held
    file = "report.json" if held == total else "records.jsonl"
    left = f"{here:,} of {total:,} are on this page, evenly taken over the kinds; all are in {file}."
    pick = lambda name, label: element("label", label, element("select", id=name), class_="pick")  # noqa: E731
    steps = [
        element("button", label, type="button", id=name)
        for name, label in (("previous", "← previous"), ("next", "next →"))
    ]
    told = "Example; the left and right arrow keys change it"
    off = (
        "Choosing examples needs a script, which is off. The findings, the tables and the charts are complete without "
        "it; the examples are in report.json beside this page."
    )
    return element(
        "section",
        element("h2", "Examples side by side"),
        element("p", left, class_="key") if here < total else None,
        element("noscript", element("p", off, class_="notice")),
        element(
            "div",
            [
                pick("group", "Task" if report.get("systems") else "Kind"),
                pick("example", "Example"),
                pick("seed", "Seed"),
            ],
            element("div", steps, class_="steps"),
            class_="tools scripted",
        ),
        element("div", id="stage", tabindex=0, role="region", aria_label=told, class_="scripted"),
        id="examples",
    )


def contenders(report: Report, look: Looks) -> Html:
    """Every contender in full: its settings, why it failed, what was tried in tuning."""
    items = []
    split = (report.get("tuning") or {}).get("split") or "validation"
    for index, contender in enumerate(report["contenders"]):
        said = [
            "the baseline" if contender.get("baseline") else "",
            "lossless: the same law as plain decoding" if contender.get("lossless") else "",
            contender.get("note") or "",
        ]
        aside = "; ".join(part for part in said if part)
        reasons = [element("li", element("bdi", reason)) for reason in wording.failures(contender)]
        items.append(
            element(
                "li",
                element("h3", _marker(look[contender["name"]]), element("bdi", contender["name"])),
                element("p", element("code", _breakable(contender.get("config") or contender["name"]))),
                element("p", element("bdi", aside), class_="aside") if aside else None,
                element("ul", reasons, class_="reasons") if reasons else None,
                _tuned(contender, split),
                data_contender=index,
            )
        )
    return element("section", element("h2", "Contenders in full"), _list(items, "contenders"), id="contenders")


def provenance(report: Report) -> Html:
    """The command that repeats it, and everything a number needs beside it."""
    again = None
    if report.get("command"):
        again = element(
            "div",
            element("pre", element("code", report["command"], id="command"), tabindex=0, aria_label="The command"),
            element("button", "copy", type="button", id="copy", class_="scripted"),
            class_="command",
        )
    return element(
        "section",
        element("h2", "Repeat it"),
        again,
        element("h3", "Provenance"),
        element("dl", _definitions(columns.provenance(report)), class_="provenance"),
        id="provenance",
    )


def _finding(pair: Mapping[str, Any], measure: Mapping[str, Any]) -> Html:
    least = wording.detectable(pair, measure)
    return element(
        "li",
        _verdict(pair.get("verdict")),
        element(
            "span",
            element("bdi", wording.claim(pair, measure)),
            element("span", element("bdi", least), class_="aside") if least else None,
            class_="claim",
        ),
        element(
            "span",
            element("b", element("bdi", wording.figures(pair, measure))),
            element("span", wording.p_value(pair.get("p_holm")), class_="aside"),
            class_="figures",
        ),
    )


def _row(
    index: int,
    contender: Mapping[str, Any],
    shown: Sequence[Column],
    judged: Mapping[tuple[str, str], str],
    look: Looks,
) -> Html:
    name, note = contender["name"], contender.get("note") or ""
    absent = not contender.get("measures") and not contender.get("spent")
    badges = [word for word in ("baseline", "lossless") if contender.get(word)]
    config = contender.get("config") or ""
    head = element(
        "th",
        element("span", _marker(look[name]), element("bdi", _breakable(name)), class_="name"),
        [element("span", badge, class_="badge") for badge in badges],
        element("span", element("bdi", note), class_="badge warn") if note and not absent else None,
        element("code", _breakable(config), class_="config", title=config) if config not in ("", name) else None,
        scope="row",
        data_value=name,
    )
    if absent:
        cells = [element("td", element("bdi", note or "no result"), colspan=len(shown), class_="absent")]
    else:
        cells = [_cell(column, contender, judged.get((name, column.name))) for column in shown]
    return element("tr", head, cells, data_contender=index)


def _cell(column: Column, contender: Mapping[str, Any], verdict: str | None) -> Html:
    main, ends = column.cell(contender)
    if not column.quality:
        return element("td", main, data_value=column.value(contender), class_=None if column.major else "minor")
    glyph = None
    if verdict:
        told = {"title": verdict, "role": "img", "aria_label": verdict}
        glyph = element("span", wording.GLYPHS[verdict], class_=f"glyph {_class(verdict)}", **told)
    gone = (contender.get("absent") or {}).get(column.name)
    if gone is not None and column.value(contender) is None:
        told = element("bdi", main)
        return element("td", told, title=gone["why"], class_="absent" if column.major else "absent minor")
    return element(
        "td",
        element("span", glyph, main, class_="main"),
        element("span", ends, class_="aside") if ends else None,
        _bar(column, contender),
        data_value=column.value(contender),
        class_=None if column.major else "minor",
    )


def _bar(column: Column, contender: Mapping[str, Any]) -> Html | None:
    """The interval of one cell on the common scale of its column; the baseline's mean is an upright tick."""
    value, (low, high) = column.value(contender), column.ends_of_scale
    if value is None or high <= low:
        return None
    place = lambda x: f"{4 + 80 * (x - low) / (high - low):.1f}"  # noqa: E731
    ends, base = column.ends(contender), column.baseline
    return element(
        "svg",
        element("path", class_="axis", d="M4 5H84"),
        element("path", class_="base", d=f"M{place(base)} 0V10") if base is not None else None,
        element("path", class_="ends", d=f"M{place(ends[0])} 5H{place(ends[1])}") if ends else None,
        element("circle", cx=place(value), cy=5, r=3.2),
        class_="mini",
        viewBox="0 0 88 10",
        aria_hidden="true",
    )


def _sorting_head(index: int, title: str, asides: Sequence[str], best_first: str, major: bool = True) -> Html:
    """A heading that sorts: a button, so that the keyboard reaches it."""
    arrow = element("span", class_="arrow", aria_hidden="true")
    button = element("button", arrow, title, type="button", data_column=index, data_first=best_first)
    extra = [element("span", aside, class_="aside") for aside in asides if aside]
    name = "number" if major and index else "number minor" if index else None
    return element("th", button, extra, scope="col", aria_sort="none", class_=name)


def _chart(
    name_and_title: tuple[str, str],
    told: str,
    choices: Sequence[tuple[str, str, Mapping[str, str]]],
    draw: Any,
    after: Html | None = None,
    under: Callable[..., str] = lambda *values: "",
) -> Chart | None:
    """``choices`` are radio groups (group, legend, {value: label}); ``draw(width, *values)`` makes one drawing."""
    name, title = name_and_title
    figures, rules, used = [], [], [set() for _ in choices]
    for at, values in _product([options for _, _, options in choices]):
        wide, narrow = draw(charts.WIDE, *values), draw(charts.NARROW, *values)
        if wide is None or narrow is None:
            continue
        for seen, place in zip(used, at, strict=True):
            seen.add(place)
        mark = "-".join(map(str, at))
        both = element("div", wide, class_="wide"), element("div", narrow, class_="narrow")
        said = under(*values)
        caption = element("figcaption", element("bdi", said), class_="key") if said else None
        figures.append(element("figure", both, caption, class_="pane", data_pane=mark))
        chosen = "".join(
            f':has([name="{group}"][value="{place}"]:checked)' for (group, *_), place in zip(choices, at, strict=True)
        )
        rules.append(f'#{name}{chosen} [data-pane="{mark}"]{{display:block}}\n')
    if not figures:
        return None
    sets = [
        _radios(group, legend, options, seen)
        for (group, legend, options), seen in zip(choices, used, strict=True)
    ]  # fmt: skip
    section = element(
        "section",
        element("h2", element("bdi", title)),
        element("div", sets, class_="choices"),
        figures,
        element("p", element("bdi", told), class_="key"),
        after,
        id=name,
        class_="chart",
    )
    return Chart(section, "".join(rules))


def _undominated(report: Report, measure: str, unit: str) -> str:
    """The contenders on the frontier, in words."""
    best = charts.undominated(report, measure, unit)
    if not best:
        return ""
    both = f"{columns.titles(report)[measure]} and {wording.unit_title(unit)}"
    return f"Not dominated in {both}, cheapest first: {', '.join(best)}."


def _product(options: Sequence[Mapping[str, str]]) -> list[tuple[tuple[int, ...], tuple[str, ...]]]:
    """Every choice of one value per group: (places, values)."""
    found: list[tuple[tuple[int, ...], tuple[str, ...]]] = [((), ())]
    for group in options:
        found = [((*at, i), (*values, value)) for at, values in found for i, value in enumerate(group)]
    return found


def _radios(group: str, legend: str, options: Mapping[str, str], used: set[int]) -> Html:
    labels = [
        element(
            "label",
            element("input", type="radio", name=group, value=place, checked=place == min(used)),
            element("span", label),
        )
        for place, label in enumerate(options.values())
        if place in used
    ]
    return element("fieldset", element("legend", legend), labels, class_="segments", hidden=len(used) < 2)


def _pairs(report: Report) -> Html | None:
    rows = []
    for pair, measure in columns.judged(report):
        scale, over = wording.pair_scale(pair), " / " if measure.get("ratio") else " − "
        numbers = [
            *(text or "—" for text in wording.difference(pair, measure)),
            *(wording.p_value(pair.get(p)).removeprefix("p ").removeprefix("= ") or "—" for p in ("p", "p_holm")),
            scale(pair.get("detectable")),
            columns.counted(pair),
        ]
        rows.append(
            element(
                "tr",
                element("th", element("bdi", pair["a"]), over, element("bdi", pair["b"]), scope="row"),
                element("td", element("bdi", measure.get("title") or measure["name"])),
                element("td", _verdict(pair.get("verdict"))),
                [element("td", number, class_="number") for number in numbers],
                element("td", element("bdi", ", ".join(str(pair[k]) for k in ("method", "test") if pair.get(k)))),
            )
        )
    if not rows:
        return None
    words, figures = (
        ("pair", "measure", "verdict"),
        ("difference", "interval", "p", "p (Holm)", "detectable", "n (clusters)"),
    )
    heads = [element("th", word, scope="col") for word in words]
    heads += [element("th", word, scope="col", class_="number") for word in figures]
    heads.append(element("th", "method", scope="col"))
    table = element("table", element("thead", element("tr", heads)), element("tbody", rows))
    return element("details", element("summary", "All figures of the differences"), _scrolling(table, "Differences"))


def _group_table(report: Report, measure: Mapping[str, Any], names: Sequence[str], look: Looks) -> Html | None:
    means = [
        [((contender.get("by_group") or {}).get(group) or {}).get(measure["name"]) for group in names]
        for contender in report["contenders"]
    ]
    scale = wording.measure_scale([mean for row in means for mean in row])
    rows = []
    for index, (contender, row) in enumerate(zip(report["contenders"], means, strict=True)):
        if any(wording.finite(mean) is not None for mean in row):
            who = element(
                "span", _marker(look[contender["name"]]), element("bdi", _breakable(contender["name"])), class_="name"
            )
            numbers = [element("td", scale(mean), class_="number") for mean in row]
            rows.append(element("tr", element("th", who, scope="row"), numbers, data_contender=index))
    if not rows:
        return None
    title = measure.get("title") or measure["name"]
    aside = ", ".join(part for part in (measure.get("unit"), wording.direction(measure)) if part)
    heads = [element("td"), *(element("th", element("bdi", name), scope="col", class_="number") for name in names)]
    caption = element("caption", element("bdi", title), element("span", aside, class_="aside"))
    table = element("table", caption, element("thead", element("tr", heads)), element("tbody", rows))
    return _scrolling(table, f"{title} by kind")


def _tuned(contender: Mapping[str, Any], split: str) -> Html | None:
    tried = contender.get("tuned") or []
    if not tried:
        return None
    scale = wording.measure_scale([trial.get("value") for trial in tried])
    rows = [
        element(
            "tr",
            element("td", element("code", _breakable(trial.get("config", "")))),
            element("td", scale(trial.get("value")), class_="number"),
            element("td", "chosen" if trial.get("chosen") else ""),
        )
        for trial in tried
    ]
    table = element("table", element("tbody", rows))
    told = f"{len(tried)} tuning trials on the {split} split"
    return element("details", element("summary", told), _scrolling(table, "Tuning trials"))


def _definitions(rows: Sequence[tuple[str, str]]) -> list[Html]:
    return [
        element("div", element("dt", element("bdi", name)), element("dd", element("bdi", value)))
        for name, value in rows
    ]


def _list(items: Sequence[Html], name: str) -> Html:
    return element("ul", items, class_=name)


def _scrolling(table: Html, label: str) -> Html:
    """A table that scrolls by itself where it is too wide, also from the keyboard."""
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)


def _marker(look: Look) -> Html:
    """The contender's marker, as in the charts."""
    outline = element("path", fill=look.colour, d=_OUTLINES[look.shape])
    return element("svg", outline, class_="marker", viewBox="0 0 12 12", aria_hidden="true")


def _verdict(verdict: str | None) -> Html:
    glyph = element("span", wording.GLYPHS.get(verdict or "", "·"), aria_hidden="true")
    return element("span", glyph, " ", verdict or "no verdict", class_=f"verdict {_class(verdict)}")


def _class(verdict: str | None) -> str:
    return {wording.SUPPORTED: "good", wording.CONTRADICTED: "bad"}.get(verdict or "", "same")


def _breakable(text: str) -> Html:
    """A name or configuration that may wrap behind its punctuation rather than within a word."""
    return join([[piece, element("wbr")] for piece in re.split(r"(?<=[(,=_])", str(text))])
