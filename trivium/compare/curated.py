"""The report of a run of curation: one self-contained page, the same as JSON and Markdown, tables for the terminal.

    write("runs/clean", plan)  # -> report.html, report.json, report.md in the folder

Whoever runs a plan gives it, so that methods and conditions stand in the report and later ones are made without it.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from trivium.compare import contender as text
from trivium.compare._report import curated as sections
from trivium.compare._report.frame import asset, framed
from trivium.compare._report.lines import line, plain, safe
from trivium.compare._report.looks import theme
from trivium.compare._report.markup import element
from trivium.compare.mixers import described
from trivium.core import files
from trivium.core.errors import UnknownMethod, UnknownName
from trivium.core.progress import progress
from trivium.core.provenance import environment
from trivium.data.curated_folder import ASKED, CuratedFolder
from trivium.data.curated_tally import tally
from trivium.data.plan import Plan

Report = Mapping[str, Any]
FORMAT = 1


def write(folder: str | Path, plan: Plan | None = None, *, seed: int = 0, show: bool | None = None) -> Report:
    """Make the report of a folder and write it there. Raises RunMismatch for a folder without a whole run,
    Unbalanced where its figures do not add up."""
    if plan is not None:
        files.write(Path(folder) / ASKED, json.dumps(_asked(plan), indent=1) + "\n")
    opened = CuratedFolder(folder)
    with progress("report", len(opened.shards), show=show) as bar:
        methods = _rebuilt(opened) if plan is None else plan.methods
        found = {**_said(opened), "seed": seed, **tally(opened, seed=seed, bar=bar, methods=methods)}
    files.write(opened.folder / "report.json", json.dumps(found, indent=1, allow_nan=False) + "\n")
    files.write(opened.folder / "report.md", markdown(found))
    files.write(opened.folder / "report.html", page(found))
    return found


def _asked(plan: Plan) -> dict[str, Any]:
    """A plan in words, with nothing in it of where it ran but the patterns that were given."""
    return {
        "format": FORMAT,
        "methods": {name: text.describe(method) for name, method in plan.methods.items()},
        "drops": [[drop.name, drop.when] for drop in plan.decisions.drops],
        "cuts": [[cut.spans, cut.by, str(cut.least)] for cut in plan.decisions.cuts],
        "sources": [[source.files, source.name] for source in plan.sources],
        "shards": len({path.resolve() for source in plan.sources for path in source.paths()}),
        "policy": vars(plan.policy),
        "mixer": described(plan.mixer) if plan.mixer else "",
    }


def _rebuilt(opened: CuratedFolder) -> dict[str, Any]:
    """The methods that a folder says it was made with; those of the user's own cannot be made out of words."""
    found = {}
    for name, said in opened.asked.get("methods", {}).items():
        with suppress(UnknownName, UnknownMethod, ValueError):
            found[name] = text.build("curation", said)
    return found


def _said(opened: CuratedFolder) -> dict[str, Any]:
    asked = opened.asked
    return {
        "format": FORMAT,
        "title": f"Curation in {opened.folder.name}",
        "folder": str(opened.folder),
        "methods": asked.get("methods") or {name: name for name in opened.methods},
        "cuts": [{"spans": spans, "by": by, "least": least} for spans, by, least in asked.get("cuts", [])],
        "from": [f"{name}={files}" if name else files for files, name in asked.get("sources", [])],
        "policy": asked.get("policy", {}),
        "mixer": asked.get("mixer", ""),
        "provenance": {
            "trivium": environment()["versions"]["trivium"],
            "commit": (environment()["commit"] or {}).get("id"),
        },
    }


def headline(report: Report) -> str:
    """What was read and what stays, in one sentence."""
    return sections.headline(report)


def drawn(report: Report) -> str:
    """What the mixer made of what stays, in one sentence; nothing without one."""
    return sections.drawn(report) if report["mix"] else ""


def page(report: Report) -> str:
    """The report as one HTML page without any other file or any script."""
    style = "".join([asset("page.css"), asset("curated.css"), theme({})])
    totals = [
        element("div", element("dt", name), element("dd", element("bdi", said)))
        for name, said in sections.facts(report)
    ]
    main = element(
        "main",
        element("dl", totals, class_="facts"),
        sections.accounted(report),
        sections.rules(report),
        sections.overlaps(report),
        sections.examples(report),
        sections.lengths(report),
        sections.sources(report),
        sections.mix(report),
        sections.languages(report),
        sections.copies(report),
        sections.contamination(report),
        sections.marked(report),
        sections.quarantine(report),
        sections.plan(report),
    )
    return framed(report["title"], style, sections.header(report), main)


def markdown(report: Report) -> str:
    """The report as Markdown, without examples."""
    lines = [f"# {plain(report['title'])}", "", f"{plain(sections.headline(report))}.", ""]
    lines += [f"- {plain(name)}: {plain(said)}" for name, said in sections.facts(report)]
    names, *_ = sections.columns(report)
    lines += ["", "## Where every record went", "", *_rows(["", "all", *names], [
        [name if sort == "sum" else f"− {name}", *("" if n is None else f"{n:,}" for n in counts)]
        for sort, name, counts in sections.account(report)
    ])]  # fmt: skip
    if report["rules"]:
        rows = [
            [row["name"], row["when"], f"{row['first']:,}", f"{row['alone']:,}" if row["alone"] else "0 (never fires)",
             "" if row["only"] is None else f"{row['only']:,}"]
            for row in report["rules"]
        ]  # fmt: skip
        lines += ["", "## Rules", "", *_rows(["rule", "drops where", "first", "alone", "no other"], rows)]
    both = sorted(report["both"], key=lambda row: -row[2])
    if both:
        lines += ["", "## Overlaps", "", *_rows(["rule", "rule", "both"], [[a, b, f"{n:,}"] for a, b, n in both])]
    keys = ("read", "kept", "words_read", "words_kept", "chars_read", "chars_kept")
    rows = [[name, *(f"{of[key]:,}" for key in keys)] for name, of in report["sources"].items()]
    lines += ["", "## Sources", "", *_rows(["source", *(key.replace("_", " ") for key in keys)], rows)]
    if report["mix"]:
        heads, rows = sections.mixed(report["mix"])
        lines += ["", "## Mix", "", f"{plain(sections.drawn(report))}.", "", *_rows(heads, rows)]
    for method, of in report["clusters"].items():
        rows = [[size, f"{count:,}"] for size, count in of["sizes"].items()]
        lines += ["", f"## Clusters of {plain(method)}", "", *_rows(["documents in a cluster", "clusters"], rows)]
    if report["quarantine"]:
        rows = [
            [of["reason"], f"{of['count']:,}", f"{of['places'][0]['file']}, record {of['places'][0]['place']}"]
            for of in report["quarantine"]
        ]
        lines += ["", "## Quarantine", "", *_rows(["reason", "records", "the first"], rows)]
    return "\n".join(lines) + "\n"


def tables(report: Report) -> list[Table]:
    """For the terminal: where every record went, the rules that fire or never do, and the mix."""
    names, *_ = sections.columns(report)
    first = _terminal("where every record went", "all", *names)
    for sort, name, counts in sections.account(report):
        said = safe(name if sort == "sum" else f"− {name}", "bold" if sort == "sum" else "")
        first.add_row(said, *("" if count is None else f"{count:,}" for count in counts))
    shown = [first]
    if report["rules"]:
        shown.append(_ruled(report))
    if report["mix"]:
        heads, rows = sections.mixed(report["mix"])
        shown.append(_terminal(*heads))
        for name, *cells in rows:
            shown[-1].add_row(safe(name), *cells)
    return shown


def _ruled(report: Report) -> Table:
    second = _terminal("rule", "first", "alone", "no other")
    for row in report["rules"]:
        alone = f"{row['alone']:,}" if row["alone"] else "0 (never fires)"
        only = "" if row["only"] is None else f"{row['only']:,}"
        second.add_row(safe(row["name"]), f"{row['first']:,}", alone, only)
    return second


def _terminal(first: str, *others: str) -> Table:
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    made.add_column(first, overflow="fold")
    for name in others:
        made.add_column(safe(name), justify="right", overflow="fold")
    return made


def _rows(heads: Sequence[object], rows: Sequence[Sequence[object]]) -> list[str]:
    under = "|".join(["", " --- ", *(" ---: " for _ in heads[1:]), ""])
    return [line(*heads), under, *(line(*row) for row in rows)]
