"""Sections of a report of models: tasks by metrics, each task in full, calibration, the checklist."""

from collections.abc import Mapping, Sequence
from typing import Any

from trivium.compare._report import columns, wording
from trivium.compare._report.looks import Look
from trivium.compare._report.markup import Html, element
from trivium.compare._report.wording import finite

Report = Mapping[str, Any]
Looks = Mapping[str, Look]


def inner(label: str, measure: str) -> str:
    """A measure's name within its task."""
    return measure.removeprefix(f"{label}.")


def title(report: Report, label: str, measure: str) -> str:
    """A measure's title within its task."""
    return next(one["title"] for one in report["measures"] if one["name"] == measure).removeprefix(f"{label}: ")


def cell(contender: Mapping[str, Any], measure: str, scale: wording.Scale) -> tuple[str, str, str]:
    """What stands in a cell, its interval, and why there is no number."""
    found = (contender.get("measures") or {}).get(measure) or {}
    gone = (contender.get("absent") or {}).get(measure)
    if finite(found.get("mean")) is None:
        return (gone or {}).get("word", "—"), "", (gone or {}).get("why", "")
    low, high = finite(found.get("low")), finite(found.get("high"))
    ends = "" if low is None or high is None else wording.interval(low, high, scale)
    return scale(found["mean"]), ends, f"{gone['word']}: {gone['why']}" if gone else ""


def scale_of(report: Report, measure: str) -> wording.Scale:
    """Decimals by the models' intervals."""
    found = [(one.get("measures") or {}).get(measure) or {} for one in report["contenders"]]
    halves = [
        (high - low) / 2
        for one in found
        if (low := finite(one.get("low"))) is not None and (high := finite(one.get("high"))) is not None
    ]
    return wording.measure_scale([one.get("mean") for one in found], halves)


def matrix(report: Report, look: Looks, marker: Any, scrolling: Any) -> Html | None:
    """Tasks by metrics, a table per model; nothing is left out silently."""
    tasks = report.get("tasks") or {}
    if not tasks:
        return None
    heads: dict[str, str] = {}
    for label, task in tasks.items():
        for measure in task["measures"]:
            heads.setdefault(inner(label, measure), title(report, label, measure))
    scales = {measure: scale_of(report, measure) for task in tasks.values() for measure in task["measures"]}
    drawn = []
    for at, contender in enumerate(report["contenders"]):
        rows = []
        for label, task in tasks.items():
            own = {inner(label, measure): measure for measure in task["measures"]}
            cells = [_cell(contender, own.get(name), scales) for name in heads]
            rows.append(element("tr", element("th", element("bdi", label), scope="row"), cells))
        top = [element("td"), *(element("th", element("bdi", head), scope="col") for head in heads.values())]
        table = element("table", element("thead", element("tr", top)), element("tbody", rows))
        name = element("summary", marker(look[contender["name"]]), " ", element("bdi", contender["name"]))
        drawn.append(
            element(
                "details",
                name,
                scrolling(table, f"Tasks by metrics, {contender['name']}"),
                open=at == 0,
                data_contender=at,
            )
        )
    told = (
        "A cell is a value with its interval, or says why there is none: point at it, or read the task below. An empty "
        "cell is a metric that the task does not have."
    )
    return element(
        "section",
        element("h2", "Tasks by metrics"),
        drawn,
        element("p", told, class_="key"),
        id="matrix",
        class_="matrix",
    )


def _cell(contender: Mapping[str, Any], measure: str | None, scales: Mapping[str, wording.Scale]) -> Html:
    if measure is None:
        return element("td")
    main, ends, why = cell(contender, measure, scales[measure])
    empty = measure not in (contender.get("measures") or {})
    return element(
        "td",
        main if empty else element("span", main, class_="main"),
        element("span", ends, class_="aside") if ends else None,
        title=why or None,
        class_="absent" if empty else "number",
    )


def leaders(
    report: Report, look: Looks, marker: Any, scrolling: Any, verdicts: Mapping[tuple[str, str], str]
) -> Html | None:
    """Where there are many tasks: the leading measure of each in a row, the models beside each other."""
    if not columns.many_tasks(report):
        return None
    heads = [element("td"), *_heads(report, look, marker)]
    rows = []
    for measure in columns.leading(report):
        entry = next(one for one in report["measures"] if one["name"] == measure)
        aside = ", ".join(part for part in (entry.get("unit"), wording.direction(entry)) if part)
        head = element("th", element("bdi", entry["title"]), element("span", aside, class_="aside"), scope="row")
        scale = scale_of(report, measure)
        cells = [
            _full(one, measure, scale, at, verdicts.get((one["name"], measure), ""))
            for at, one in enumerate(report["contenders"])
        ]
        rows.append(element("tr", head, cells))
    table = element("table", element("thead", element("tr", heads)), element("tbody", rows))
    return element(
        "section",
        element("h2", "Leading measure of each task"),
        scrolling(table, "Leading measure of each task, one column per model"),
        id="leaders",
        class_="matrix",
    )


def _heads(report: Report, look: Looks, marker: Any) -> list[Html]:
    return [
        element("th", marker(look[one["name"]]), " ", element("bdi", one["name"]), scope="col", data_contender=at)
        for at, one in enumerate(report["contenders"])
    ]


def tasks(report: Report, look: Looks, marker: Any, scrolling: Any) -> Html | None:
    """Each task in full: every measure of every model, with intervals, counts and reasons."""
    found = report.get("tasks") or {}
    if not found:
        return None
    items = []
    for label, task in found.items():
        heads = [element("td"), *_heads(report, look, marker)]
        rows = []
        for measure in task["measures"]:
            scale = scale_of(report, measure)
            entry = next(one for one in report["measures"] if one["name"] == measure)
            aside = ", ".join(part for part in (entry.get("unit"), wording.direction(entry)) if part)
            head = element(
                "th",
                element("bdi", title(report, label, measure)),
                element("span", aside, class_="aside") if aside else None,
                scope="row",
            )
            rows.append(
                element(
                    "tr",
                    head,
                    [_full(one, measure, scale, at) for at, one in enumerate(report["contenders"])],
                )
            )
        table = element("table", element("thead", element("tr", heads)), element("tbody", rows))
        said = task.get("said") or {}
        facts = [("task", task.get("config", "")), ("source", task.get("source", "")), *said.items()]
        listed = element(
            "dl",
            [
                element("div", element("dt", str(name)), element("dd", element("bdi", str(value))))
                for name, value in facts
                if value
            ],
            class_="provenance",
        )
        count = f" · {task['examples']:,} examples" if "examples" in task else ""
        items.append(
            element(
                "details",
                element("summary", element("bdi", label), element("span", count, class_="aside")),
                listed,
                scrolling(table, f"Every measure of {label}"),
            )
        )
    return element("section", element("h2", "Task by task"), items, id="tasks", class_="matrix")


def _full(contender: Mapping[str, Any], measure: str, scale: wording.Scale, at: int, verdict: str = "") -> Html:
    main, ends, why = cell(contender, measure, scale)
    found = (contender.get("measures") or {}).get(measure) or {}
    n, clusters = found.get("n"), found.get("clusters")
    count = "" if n is None else f"n = {n:,}" + (f" in {clusters:,} clusters" if clusters not in (None, n) else "")
    return element(
        "td",
        f"{wording.GLYPHS[verdict]} " if verdict else None,
        element("span", main, class_="main"),
        [element("span", part, class_="aside") for part in (ends, verdict, count, why) if part],
        data_contender=at,
    )


def checklist(report: Report) -> Html | None:
    """What surveys would have any evaluation say, and what this one does not."""
    answers: Sequence[Mapping[str, str]] = report.get("checklist") or []
    if not answers:
        return None
    done = sum(bool(one["answer"]) for one in answers)
    rows, last = [], ""
    for one in answers:
        topic, last = ("" if one["topic"] == last else one["topic"]), one["topic"]
        answer = (
            element("td", element("bdi", one["answer"]))
            if one["answer"]
            else element("td", element("span", "missing", class_="badge warn"))
        )
        rows.append(element("tr", element("th", topic, scope="row"), element("td", one["question"]), answer))
    table = element("table", element("tbody", rows), class_="asked")
    return element(
        "section",
        element("h2", "Checklist"),
        element("p", f"{done} of {len(answers)} questions that a reader may ask are answered by the run itself."),
        element("details", element("summary", "All questions and answers"), table, open=True),
        id="checklist",
    )
