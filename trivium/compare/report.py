"""The report: one self-contained page, the same in Markdown, a table for the terminal, and a picture.

All are drawn from the plain dict that ``compare.record`` describes. The page holds everything it needs, asks nothing of
the network, and treats every string of the report as text: ``_report.markup`` alone makes markup, and a content
security policy forbids any script or style but the page's own.
"""

import shutil
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import vl_convert
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from trivium.compare._report import charts, columns, examples, models, sections, trained, wording
from trivium.compare._report.frame import asset, framed
from trivium.compare._report.lines import line, plain, safe
from trivium.compare._report.looks import looks, theme
from trivium.compare._report.markup import element, embedded
from trivium.core import files
from trivium.core.text import one_line, printable

Report = Mapping[str, Any]

_COLOURS = {wording.SUPPORTED: "green", wording.CONTRADICTED: "red"}


def page(report: Report) -> str:
    """The report as one HTML page without any other file. Always encodable as UTF-8."""
    look = looks(report)
    drawn = [
        sections.speeds(report, look),
        sections.scaling(report),
        sections.training(report),
        sections.positions(report),
        sections.tradeoff(report),
        sections.differences(report),
        sections.calibration(report),
        sections.spreads(report),
    ]
    shown = [chart for chart in drawn if chart is not None]
    style = "".join([asset("page.css"), theme(look), *(chart.rules for chart in shown)])
    main = element(
        "main",
        sections.findings(report),
        sections.facts(report),
        sections.results(report, look),
        sections.leaders(report, look),
        [chart.section for chart in shown],
        sections.matrix(report, look),
        sections.tasks(report, look),
        sections.groups(report, look),
        sections.side_by_side(report),
        sections.contenders(report, look),
        models.checklist(report),
        sections.provenance(report),
    )
    data = embedded({"colours": [look[c["name"]].colours for c in report["contenders"]]}, "chart-data")
    title = report.get("title") or "Comparison"
    behind = (data, embedded(examples.data(report), "example-data"))
    return framed(title, style, sections.header(report), main, *behind, script=asset("page.js"))


def markdown(report: Report) -> str:
    """The report as Markdown: findings, results, differences, failures, provenance and the command."""
    lines = [f"# {plain(report.get('title') or 'Comparison')}", "", plain(report.get("question", "")), ""]
    lines += [f"- {plain(name)}: {plain(value)}" for name, value in columns.facts(report)]
    if report.get("smoke"):
        lines += ["", "Too little to judge: this run has too few examples or seeds for a verdict."]
    found = list(columns.judged(report))
    if found:
        lines += ["", "## Findings", ""]
    for pair, measure in found:
        sure = [wording.p_value(pair.get("p_holm")), wording.detectable(pair, measure)]
        said = f"{wording.claim(pair, measure)}: {wording.figures(pair, measure)}"
        behind = "; ".join(part for part in sure if part)
        lines.append(
            f"- **{plain(pair.get('verdict') or 'no verdict')}**: {plain(f'{said} ({behind})' if behind else said)}"
        )
    shown = columns.columns(report)
    lines += ["", "## Results", "", line("contender", *(column.heading for column in shown), "note")]
    lines.append("|".join(["", " --- ", *(" ---: " for _ in shown), " --- ", ""]))
    for contender in report["contenders"]:
        name = f"{contender['name']} (baseline)" if contender.get("baseline") else contender["name"]
        cells = [" ".join(part for part in column.cell(contender) if part) for column in shown]
        lines.append(line(name, *cells, contender.get("note") or ""))
    if found:
        heads = ["contender", "against", "measure", "difference", "interval", "Holm", "verdict", "n (clusters)"]
        lines += ["", "## Differences", "", line(*heads), "|".join(["", *(" --- " for _ in heads), ""])]
    for pair, measure in found:
        (amount, ends), sure = wording.difference(pair, measure), wording.p_value(pair.get("p_holm"))
        title, verdict = measure.get("title") or measure["name"], pair.get("verdict") or "no verdict"
        lines.append(line(pair["a"], pair["b"], title, amount, ends, sure, verdict, columns.counted(pair)))
    rising = trained.slopes(report)
    if rising:
        lines += [
            "",
            "## Scaling",
            "",
            line(*trained.SLOPE_HEADS),
            "|".join(["", *(" --- " for _ in trained.SLOPE_HEADS), ""]),
        ]
        lines += [line(*row) for row in rising]
    said = [*trained.scaled_orders(report), *trained.orders(report)]
    if said:
        lines += ["", *(f"- {plain(words)}" for words in said)]
    failed = [(contender["name"], why) for contender in report["contenders"] for why in wording.failures(contender)]
    if failed:
        lines += ["", "## Failures", ""]
        lines += [f"- {plain(name)}: {plain(why)}" for name, why in failed]
    lines += [row for part in _of_models(report) for row in part]
    lines += ["", "## Provenance", ""]
    lines += [f"- {plain(name)}: {plain(value)}" for name, value in columns.provenance(report)]
    if report.get("command"):
        command = printable(report["command"])
        ticks = max((len(list(run)) for character, run in groupby(command) if character == "`"), default=0)
        fence = "`" * max(3, ticks + 1)
        lines += ["", "To repeat it:", "", fence, command, fence]
    return "\n".join(lines) + "\n"


def cell(report: Report, contender: Mapping[str, Any], measure: str) -> str:
    """One number with its interval as text, or the word for why there is none."""
    main, ends, _ = models.cell(contender, measure, models.scale_of(report, measure))
    return f"{main} {ends}".strip()


def _of_models(report: Report) -> Sequence[Sequence[str]]:
    """Where models are put to tasks: every task by every measure, and the checklist."""
    parts = []
    for label, task in (report.get("tasks") or {}).items():
        names = [contender["name"] for contender in report["contenders"]]
        rows = [
            [
                "",
                f"### {plain(label)}",
                "",
                line("measure", *names),
                "|".join(["", *[" --- "] * (len(names) + 1), ""]),
            ]
        ]
        for measure in task["measures"]:
            scale = models.scale_of(report, measure)
            cells = [models.cell(one, measure, scale) for one in report["contenders"]]
            said = [
                " ".join(part for part in (main, ends, f"({why})" if why else "") if part) for main, ends, why in cells
            ]
            rows.append([line(models.title(report, label, measure), *said)])
        parts += rows
    if parts:
        parts.insert(0, ["", "## Task by task"])
    if report.get("checklist"):
        parts.append(["", "## Checklist", "", line("topic", "question", "answer"), "| --- | --- | --- |"])
        parts.append([line(a["topic"], a["question"], a["answer"] or "missing") for a in report["checklist"]])
    return parts


def table(report: Report, width: int | None = None) -> Table:
    """The results for the terminal, a row per contender; as many columns as ``width`` holds (the terminal's, or 140),
    the rest named beneath."""
    width = width or shutil.get_terminal_size((140, 24)).columns
    judged = columns.verdicts(report)
    noted = any(contender.get("note") for contender in report["contenders"])
    names = max((len(contender["name"]) for contender in report["contenders"]), default=10)
    every = columns.columns(report)
    shown = _fitting(report, every, width - min(names, 30) - (22 if noted else 4))
    told = [f"{columns.interval_words(report)} in brackets; costs are medians per {columns.work(report)}."]
    if columns.held(report):
        told.insert(0, f"Held equal: {columns.held(report)}.")
    if judged:
        told.append(f"Against {report.get('baseline')}: ▲ supported, ▼ contradicted, ○ not visible at this scale.")
    if report.get("smoke"):
        told.append("Too little to judge: no verdicts.")
    left = [column.title for column in every if column not in shown]
    if left:
        told.append(f"On the page also: {', '.join(left)}.")
    title, caption = safe(report.get("title") or ""), safe(" ".join(told))
    made = Table(
        title=title, caption=caption, title_justify="left", caption_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    made.add_column("contender", overflow="fold", min_width=min(names, 30))
    for column in shown:
        made.add_column(safe(column.heading), justify="right", min_width=_needed(report, column))
    if noted:
        made.add_column("note", overflow="fold", max_width=24)
    for contender in report["contenders"]:
        cells = [safe(contender["name"], "bold" if contender.get("baseline") else "")]
        for column in shown:
            main, ends = column.cell(contender)
            verdict = judged.get((contender["name"], column.name)) if column.quality else None
            main = f"{wording.GLYPHS[verdict]} {main}" if verdict else main
            cells.append(Text(f"{main}\n{ends}" if ends else main, style=_COLOURS.get(verdict or "", "")))
        made.add_row(*cells, *([safe(contender.get("note") or "")] if noted else []))
    return made


def _fitting(report: Report, every: Sequence[columns.Column], room: int) -> list[columns.Column]:
    """The columns that fit: the first measure always, then major costs beside two more measures, then what is left."""
    measures = [column for column in every if column.quality and column.major]
    costs = [column for column in every if not column.quality and column.major and column.aside != "held equal"]
    first = [*measures[:2], *costs, *measures[2:]]
    chosen: list[columns.Column] = []
    for column in [*first, *(column for column in every if column not in first)]:
        wide = _needed(report, column) + 3
        if not chosen or wide <= room:
            chosen.append(column)
            room -= wide
    return [column for column in every if column in chosen]


def _needed(report: Report, column: columns.Column) -> int:
    """Letters across that a column needs: for its widest number or interval, and the longest word of its heading."""
    cells = [column.cell(contender) for contender in report["contenders"]]
    numbers = [len(main) + 2 * column.quality for main, _ in cells] + [len(ends) for _, ends in cells]
    return min(24, max([*numbers, *map(len, one_line(column.heading).split())]))


def chart_svg(
    report: Report, path: str | Path | None = None, *, measure: str | None = None, unit: str | None = None
) -> str:
    """Title, cost against quality (or training curves) and differences to the baseline as one SVG; written to ``path``
    where one is given."""
    svg = charts.picture(report, measure, unit)
    if path is not None:
        files.write(path, svg)
    return svg


def chart_png(
    report: Report, path: str | Path, *, measure: str | None = None, unit: str | None = None, scale: float = 2.0
) -> None:
    """The picture of ``chart_svg`` as PNG."""
    files.write(path, vl_convert.svg_to_png(charts.picture(report, measure, unit), scale=scale))
