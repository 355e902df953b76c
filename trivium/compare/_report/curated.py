"""The sections of a page about a run of curation, top to bottom. Each returns markup, or None where there is nothing.

The page works without a script: what is long is folded by the browser itself.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import altair as alt

from trivium.compare._report.charts import NARROW, WIDE, Drawing, _svg
from trivium.compare._report.looks import LINE, MUTED, SERIES
from trivium.compare._report.markup import Html, element, join
from trivium.data.blends import OFTEN

Report = Mapping[str, Any]

COLUMNS = 8
"""Sources that have a column of their own; the others are in one."""
OVERLAPPING = 40
"""Rules that the table of overlaps has, those that drop most."""
BAR = 120
SHADES = (0.05, 0.2, 0.4, 0.6, 0.8)
"""Shares from which a cell of the overlaps is a shade darker."""
_READ, _KEPT = LINE, SERIES[1]


def header(report: Report) -> Html:
    """What was read and what stays."""
    eyebrow = element("p", element("b", "trivium"), " · ", element("bdi", report["title"]), class_="eyebrow")
    return element(
        "header",
        element("a", "Skip to the figures", href="#account", class_="skip"),
        element("div", eyebrow, class_="bar"),
        element("h1", headline(report)),
    )


def headline(report: Report) -> str:
    """'900 documents read, 667 stay (74.1 %)'."""
    total = report["total"]
    return f"{total['documents']:,} documents read, {total['kept']:,} stay ({share(total['kept'], total['documents'])})"


def facts(report: Report) -> list[tuple[str, str]]:
    """The totals in words."""
    total, sources = report["total"], report["sources"].values()
    words = [sum(of[name] for of in sources) for name in ("words_read", "words_kept")]
    return [
        ("records", f"{total['read']:,}, of which {total['quarantined']:,} are in quarantine"),
        ("documents dropped", f"{total['dropped']:,}, by {sum(row['first'] > 0 for row in report['rules'])} rules"),
        ("words", f"{words[0]:,} read, {words[1]:,} stay ({share(words[1], words[0])})"),
        ("characters", f"{total['chars_read']:,} read, {total['chars_kept']:,} stay; {total['chars_removed']:,} were "
         "cut out of documents that stay"),
        ("sources", f"{len(report['sources']):,}"),
        *([("drawn", drawn(report))] if report["mix"] else []),
        ("methods", ", ".join(report["methods"]) or "none"),
    ]  # fmt: skip


def account(report: Report) -> list[tuple[str, str, list[int | None]]]:
    """Where every record went, row by row: what sort of row (sum, removed), its name, how many, of all and by source.
    A record that was refused says no source."""
    names, read, kept, dropped = columns(report)
    none: list[int | None] = [None] * len(names)
    total = report["total"]
    rows: list[tuple[str, str, list[int | None]]] = [("sum", "records read", [total["read"], *none])]
    for reason, count in sorted(report["stages"][0]["removed"].items()):
        rows.append(("removed", f"quarantine: {reason}", [count, *none]))
    rows.append(("sum", "documents", [total["documents"], *read]))
    for row in report["rules"]:
        if row["first"]:
            rows.append(("removed", row["name"], [row["first"], *(of.get(row["name"], 0) for of in dropped)]))
    rows.append(("sum", "documents that stay", [total["kept"], *kept]))
    return rows


def columns(report: Report) -> tuple[list[str], list[int], list[int], list[dict[str, int]]]:
    """The largest sources and the rest together: names, documents read and kept, dropped by rule."""
    rows = sorted(report["sources"].items(), key=lambda row: (-row[1]["read"], row[0]))
    own, rest = (rows, []) if len(rows) <= COLUMNS else (rows[: COLUMNS - 1], rows[COLUMNS - 1 :])
    names, found = [name for name, _ in own], [[of] for _, of in own]
    if rest:
        names, found = [*names, f"{len(rest)} others"], [*found, [of for _, of in rest]]
    dropped: list[dict[str, int]] = []
    for group in found:
        each: dict[str, int] = {}
        for of in group:
            for why, count in of["dropped"].items():
                each[why] = each.get(why, 0) + count
        dropped.append(each)
    return names, [sum(of["read"] for of in g) for g in found], [sum(of["kept"] for of in g) for g in found], dropped


def accounted(report: Report) -> Html:
    """The table of ``account``."""
    names, *_ = columns(report)
    body = []
    for sort, name, counts in account(report):
        said = name if sort == "sum" else f"− {name}"
        cells = [element("td", "" if count is None else f"{count:,}", class_="number") for count in counts]
        body.append(element("tr", element("th", breakable(said), scope="row"), cells, class_=sort))
    return _section(
        "account",
        "Where every record went",
        _table(["", "all", *names], body, "Records by what became of them and by source"),
        "Each line is taken from the sum above it; a document counts under the first rule that dropped it. What could "
        "not be read says no source.",
    )


def rules(report: Report) -> Html | None:
    """What each rule removes: first, alone, and what nothing else would."""
    if not report["rules"]:
        return None
    most = max(row["alone"] for row in report["rules"]) or 1
    told = any(row["only"] is not None for row in report["rules"])
    body = []
    for row in report["rules"]:
        name = [breakable(row["name"]), element("code", breakable(row["when"])) if row["when"] else None]
        if not row["alone"]:
            name.append(element("span", "never fires", class_="badge warn"))
        wide, full = (BAR * row[key] / most for key in ("alone", "first"))
        bar = element(
            "svg",
            element("rect", x=0, y=1, width=f"{wide:.1f}", height=8, fill=_READ),
            element("rect", x=0, y=1, width=f"{full:.1f}", height=8, fill=_KEPT),
            viewBox=f"0 0 {BAR} 10", aria_hidden="true",
        )  # fmt: skip
        numbers = [row["first"], row["alone"], *([row["only"]] if told else []), row["chars"]]
        cells = [element("td", f"{number:,}", class_="number") for number in numbers]
        head = element("th", name, scope="row")
        body.append(element("tr", head, cells, element("td", bar), class_=None if row["alone"] else "never"))
    heads = ["rule", "first", "alone", *(["no other"] if told else []), "characters", ""]
    return _section(
        "rules",
        "What each rule removes",
        _table(heads, body, "Rules by the documents that they drop"),
        "First: documents that no rule before it had dropped, and their characters. Alone: what it would drop if it "
        "were the only rule (the whole bar; the dark part is first). No other: what only it would drop. A rule that "
        "never fires is worth a look: its name, its bound or the input may not be what you think.",
    )


def overlaps(report: Report) -> Html | None:
    """How many documents two rules would both drop."""
    firing = [row for row in report["rules"] if row["alone"]]
    if len(firing) < 2 or not report["both"]:
        return None
    largest = sorted(firing, key=lambda row: -row["alone"])[:OVERLAPPING]
    shown = [row for row in firing if row in largest]
    both = {frozenset((a, b)): count for a, b, count in report["both"]}
    body = []
    for at, row in enumerate(shown, 1):
        cells = []
        for other in shown:
            if other is row:
                cells.append(element("td", f"{row['alone']:,}", class_="self"))
                continue
            count = both.get(frozenset((row["name"], other["name"])), 0)
            shade = sum(count / row["alone"] >= edge for edge in SHADES)
            cells.append(element("td", f"{count:,}" if count else "", class_=f"s{shade}" if count else None))
        body.append(element("tr", element("th", f"{at} ", breakable(row["name"]), scope="row"), cells))
    heads = [element("abbr", at, title=row["name"]) for at, row in enumerate(shown, 1)]
    return _section(
        "overlaps",
        "Rules that overlap",
        _table(["", *heads], body, "Documents that both rules would drop", "figures-of overlaps"),
        "Documents that the rule of the row and that of the column would both drop; the darker, the larger the share "
        "of the row's own, which stands on the diagonal.",
    )


def lengths(report: Report) -> Html | None:
    """Lengths before and after."""
    edges, read, kept = (report["lengths"][name] for name in ("edges", "read", "kept"))
    bins = [
        (first, after, a, b)
        for first, after, a, b in zip(edges, [*edges[1:], 2 * edges[-1]], read, kept, strict=True)
        if a or b
    ]
    if not bins:
        return None
    wide, narrow = (_svg(_histogram(bins, width)) for width in (WIDE, NARROW))
    legend = element("p", _swatch(_READ, "read"), _swatch(_KEPT, "stay"), class_="legend")
    body = [
        element(
            "tr",
            element("th", f"{first:,} to {after - 1:,}", scope="row"),
            [element("td", f"{n:,}", class_="number") for n in (a, b)],
        )
        for first, after, a, b in bins
    ]
    figure = element(
        "figure", element("div", wide, class_="wide"), element("div", narrow, class_="narrow"), class_="drawn"
    )
    return element(
        "section",
        element("h2", "Lengths"),
        legend,
        figure,
        element(
            "details",
            element("summary", "The same in figures"),
            _table(["characters", "read", "stay"], body, "Documents by length"),
        ),
        element("p", "Documents by their characters, on a logarithmic axis; those that stay after cuts.", class_="key"),
        id="lengths",
        class_="chart",
    )


def _histogram(bins: Sequence[tuple[int, int, int, int]], width: int) -> Drawing:
    rows = [
        {"from": max(first, 0.7), "to": after, "read": a, "kept": b,
         "told": f"{first:,} to {after - 1:,} characters: {a:,} read, {b:,} stay"}
        for first, after, a, b in bins
    ]  # fmt: skip
    ends = [rows[0]["from"], rows[-1]["to"]]
    x = alt.X("from:Q", title="characters", scale=alt.Scale(type="log", domain=ends, nice=False),
              axis=alt.Axis(format="~s", tickCount=6, grid=False))  # fmt: skip
    base = alt.Chart(alt.NamedData("lengths")).encode(x=x, x2="to:Q", description="told:N")
    y = alt.Y("read:Q", title="documents", axis=alt.Axis(format="~s", tickCount=4))
    bars = [
        base.mark_rect(fill=_READ, stroke=MUTED, strokeWidth=0.5).encode(y=y, y2=alt.datum(0)),
        base.mark_rect(fill=_KEPT, opacity=0.9).encode(y=alt.Y("kept:Q"), y2=alt.datum(0)),
    ]
    chart = alt.layer(*bars).properties(width=width - 62, height=230 if width > 500 else 190)
    return Drawing(chart, {"lengths": rows}, "Documents by length, read and kept")


def languages(report: Report) -> Html | None:
    """Documents by language, where that was measured."""
    rows = sorted(report["languages"].items(), key=lambda row: (-row[1]["read"], row[0]))
    if not any(of["read"] for _, of in rows):
        return None
    body = _counted((name, of["read"], of["kept"]) for name, of in rows if of["read"])
    return _section("languages", "Languages", _table(["language", "read", "stay", "share"], body, "By language"))


def sources(report: Report) -> Html:
    """Documents, words and characters of each source."""
    body = []
    for name, of in sorted(report["sources"].items()):
        numbers = [of[key] for key in ("read", "kept", "words_read", "words_kept", "chars_read", "chars_kept")]
        cells = [element("td", f"{number:,}", class_="number") for number in numbers]
        body.append(element("tr", element("th", element("bdi", name), scope="row"), cells))
    heads = ["source", "documents read", "stay", "words read", "stay", "characters read", "stay"]
    table = _table(heads, body, "Amounts by source")
    return _section("sources", "Sources", table, "Words are what stands between white space.")


def drawn(report: Report) -> str:
    """What came of the mixer, in words: '1,200 draws of 610 documents; 57 are not drawn, 590 are repetitions'."""
    stage = report["stages"][-1]
    again, left = stage["draws"] - stage["out"], stage["in"] - stage["out"]
    return f"{stage['draws']:,} draws of {stage['out']:,} documents; {left:,} are not drawn, {again:,} are repetitions"


def mixed(of: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the table of a mix: each group before and after, and how often it is gone through."""
    unit, groups = of["unit"], of["groups"]
    sizes = [sum(row[key] for row in groups.values()) for key in ("size", "drawn_size")]
    rows = [
        [name, f"{row['documents']:,}", f"{row['size']:,}", share(row["size"], sizes[0]),
         f"{row['draws']:,}", f"{row['drawn_size']:,}", share(row["drawn_size"], sizes[1]), epochs(row)]
        for name, row in groups.items()
    ]  # fmt: skip
    heads = [of["by"], "documents", unit, "share", "draws", f"{unit} drawn", "share drawn", "epochs"]
    return heads, rows


def epochs(row: Mapping[str, int]) -> str:
    """How often a group is gone through."""
    return f"{row['drawn_size'] / row['size']:.2f}" if row["size"] else "—"


def mix(report: Report) -> Html | None:
    """What the mixer made of each group."""
    if not report["mix"]:
        return None
    heads, rows = mixed(report["mix"])
    body = []
    for (name, *cells), row in zip(rows, report["mix"]["groups"].values(), strict=True):
        often = row["drawn_size"] > OFTEN * row["size"]
        head = [
            breakable(name),
            " ",
            element("span", f"more than {OFTEN} epochs", class_="badge warn") if often else None,
        ]
        numbers = [element("td", cell, class_="number") for cell in cells]
        body.append(element("tr", element("th", head, scope="row"), numbers))
    return _section(
        "mix",
        "What is drawn",
        _table(heads, body, "Groups before and after the mixer", "figures-of mix"),
        f"{drawn(report)}. Epochs: how often a group is gone through; no document comes a second time before all of "
        f"its group have come once. Beyond {OFTEN} epochs repeating helps less and less than new text.",
    )


def copies(report: Report) -> Html | None:
    """Clusters of documents that were taken for copies."""
    parts = []
    for method, of in report["clusters"].items():
        if not of["clusters"]:
            continue
        body = [
            element("tr", element("th", size, scope="row"), element("td", f"{count:,}", class_="number"))
            for size, count in of["sizes"].items()
        ]
        said = f"{of['documents']:,} documents in {of['clusters']:,} clusters"
        sizes = _table(["documents in a cluster", "clusters"], body, f"Sizes of the clusters of {method}")
        shown = None
        if of["example"]:
            cards = [_member(one, first=not at) for at, one in enumerate(of["example"])]
            shown = element(
                "details", element("summary", "A cluster to look at"), element("div", cards, class_="cards")
            )
        parts.append(
            element("div", element("h3", element("bdi", method)), element("p", said, class_="aside"), sizes, shown)
        )
    if not parts:
        return None
    return element("section", element("h2", "Clusters of copies"), element("div", parts, class_="sizes"), id="copies")


def _member(one: Mapping[str, Any], *, first: bool) -> Html:
    role = "stays" if first else f"like it by {one['likeness']:.2f}"
    facts = f"{role} · {one['source']} · {one['characters']:,} characters"
    return _card(one["id"], facts, [one["text"], _left(one["characters"], len(one["text"]))])


def marked(report: Report) -> Html | None:
    """Passages that were marked, by what for."""
    if not report["spans"]:
        return None
    body = [
        element(
            "tr",
            element("th", breakable(name), scope="row"),
            [element("td", f"{of[key]:,}", class_="number") for key in ("documents", "kept", "spans", "characters")],
        )
        for name, of in report["spans"].items()
    ]
    heads = ["mark", "documents", "of them stay", "passages", "characters"]
    return _section("marks", "Passages that were marked", _table(heads, body, "Marks"))


def contamination(report: Report) -> Html | None:
    """What was found of the items that nobody may train on."""
    found = report["contamination"]
    if not found:
        return None
    body = _counted((name, of["documents"], of["kept"]) for name, of in found.items())
    heads = ["measure", "documents that have it", "of them stay", "share"]
    return _section("contamination", "Contamination", _table(heads, body, "Contamination"))


def examples(report: Report) -> Html:
    """Documents drawn at random, of those that stay and of what each rule dropped."""
    drawn = report["examples"]
    parts = []
    for kind, title in (("kept", "Stay as they were"), ("cut", "Stay, with passages cut")):
        if kind in drawn:
            parts += [element("h3", title), element("div", [_example(one) for one in drawn[kind]], class_="cards")]
    names = [(row["name"], row["first"]) for row in report["rules"] if f"dropped {row['name']}" in drawn]
    parts.append(element("h3", "Dropped") if names else None)
    for at, (name, count) in enumerate(names):
        cards = element("div", [_example(one) for one in drawn[f"dropped {name}"]], class_="cards")
        head = element("summary", breakable(name), element("span", f"{count:,} documents", class_="aside"))
        parts.append(element("details", head, cards, open=at == 0))
    told = f"Drawn by a hash of seed {report['seed']}, source and id: the same for everybody, and nobody chose them."
    return element(
        "section",
        element("h2", "Documents at random"),
        parts,
        element("p", f"{told} What methods marked is underlined.", class_="key"),
        id="examples",
    )


def _example(one: Mapping[str, Any]) -> Html:
    values = [f"{name} {_figure(value)}" for name, value in one["values"].items()]
    marks = sorted({name for *_, name in one["spans"]})
    facts = [f"{one['source']} · {one['characters']:,} characters", *values]
    if marks:
        facts.append(f"marked: {', '.join(marks)}")
    text: list[Any] = ["… " if one["begin"] else None, *_pieces(one["text"], one["spans"])]
    return _card(one["id"], " · ".join(facts), [*text, _left(one["characters"], one["begin"] + len(one["text"]))])


def _pieces(text: str, spans: Sequence[Sequence[Any]]) -> list[Any]:
    """The text with its marks; of marks that overlap each piece says all."""
    ends = sorted({0, len(text), *(at for start, end, _ in spans for at in (start, end))})
    found: list[Any] = []
    for start, end in pairwise(ends):
        over = sorted({name for a, b, name in spans if a <= start and end <= b})
        piece = text[start:end]
        if over and not piece.strip():  # else nothing of it would be seen
            piece = piece.replace("\n", "↵\n").replace(" ", "␣")
        found.append(element("mark", piece, title=", ".join(over)) if over else piece)
    return found


def _card(id: str, facts: str, text: Sequence[Any]) -> Html:
    return element(
        "article",
        element("h4", element("bdi", id)),
        element("p", element("bdi", facts), class_="facts-line"),
        element("div", text, class_="text", dir="auto", tabindex=0, role="region", aria_label=f"text of {id}"),
        class_="card",
    )


def _left(characters: int, shown: int) -> Html | None:
    left = characters - shown
    return element("span", f" … and {left:,} characters more", class_="aside") if left > 0 else None


def quarantine(report: Report) -> Html | None:
    """Records that could not be read: why and where."""
    if not report["quarantine"]:
        return None
    body = []
    for of in report["quarantine"]:
        for at, row in enumerate(of["places"]):
            count = f" · {of['count']:,} record{'s' * (of['count'] > 1)}"
            reason = [element("bdi", of["reason"]), element("span", count, class_="aside")]
            where = f"{row['file']}, record {row['place']}, byte {row['offset']:,}"
            body.append(
                element(
                    "tr",
                    element("th", reason if not at else "", scope="row"),
                    element("td", element("bdi", where)),
                    element("td", element("bdi", row["detail"])),
                )
            )
    table = _table(["reason", "where", "what is wrong"], body, "Quarantine", plain=True)
    told = "The first few of each reason; all of them, with their bytes, are in the folder documents."
    return _section("quarantine", "Quarantine", table, told)


def plan(report: Report) -> Html:
    """What was asked for, and by which versions it was done."""
    rows = [(name, text) for name, text in report["methods"].items()]
    for cut in report["cuts"]:
        rows.append((f"cut: {cut['spans']}", f"replaced by {cut['by']!r}" if cut["by"] else "taken out"))
    rows += [("source", said) for said in report["from"]]
    rows += [("mixer", report["mixer"])] if report["mixer"] else []
    rows += [(name.replace("_", " "), str(value)) for name, value in report["policy"].items()]
    rows += [(name, str(value)) for name, value in report["provenance"].items()]
    body = [
        element("div", element("dt", element("bdi", name)), element("dd", element("bdi", breakable(said))))
        for name, said in rows
    ]
    return element("section", element("h2", "What was asked for"), element("dl", body, class_="provenance"), id="plan")


def breakable(text: object) -> Html:
    """A name that may wrap behind its punctuation rather than within a word."""
    return join([[piece, element("wbr")] for piece in re.split(r"(?<=[(,=_/])|(?<=[.])(?=[a-z])", str(text))])


def share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "—"


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _counted(rows: Iterable[tuple[str, int, int]]) -> list[Html]:
    return [
        element(
            "tr",
            element("th", breakable(name), scope="row"),
            [element("td", text, class_="number") for text in (f"{read:,}", f"{kept:,}", share(kept, read))],
        )
        for name, read, kept in rows
    ]


def _swatch(colour: str, said: str) -> Html:
    square = element("rect", width=12, height=12, fill=colour)
    box = element("svg", square, class_="swatch", viewBox="0 0 12 12", aria_hidden="true")
    return element("span", box, said)


def _section(name: str, title: str, table: Html, told: str = "") -> Html:
    key = element("p", told, class_="key") if told else None
    return element("section", element("h2", title), table, key, id=name)


def _table(
    heads: Sequence[object], body: Sequence[Html], label: str, kind: str = "figures-of", *, plain: bool = False
) -> Html:
    """A table that scrolls by itself where it is too wide; all columns but the first are numbers, unless ``plain``."""
    cells = [
        element("th", element("bdi", head), scope="col", class_="number" if at and not plain else None)
        if head != ""
        else element("td")
        for at, head in enumerate(heads)
    ]
    caption = element("caption", label, class_="spoken")
    table = element("table", caption, element("thead", element("tr", cells)), element("tbody", body), class_=kind)
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)
