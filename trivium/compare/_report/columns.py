"""What a report says, apart from how it is set: columns of the results, facts, findings in order."""

from collections.abc import Iterator, Mapping
from typing import Any

from trivium.compare._report import wording
from trivium.compare._report.wording import finite

Report = Mapping[str, Any]

MAJOR_MEASURES = 6
MANY_TASKS = 8
"""Tasks beyond which the table of models has the first measure alone, and a table by task has the others."""
"""Measures with a direction that stand in the table from the start; controls and the like are one click away too."""
MAJOR_COSTS = (
    "flops",
    "calls",
    "seconds",
    "tokens",
    "parameters",
    "bytes",
    "state_bytes",
    "new_tokens_per_second",
    "tokens_per_second",
    "documents_kept",
    "epochs",
)
"""Costs that a reader asks for first; the others are one click away."""


class Column:
    """One column of the results: a measure or a cost, how its numbers are written, sorted and drawn."""

    def __init__(self, report: Report, name: str, *, quality: bool) -> None:
        self.name, self.quality = name, quality
        entries = [self._entry(contender) for contender in report["contenders"]]
        self.major = quality and name in leading(report)
        self.ends_of_scale = (0.0, 0.0)
        self.baseline = next((self.value(c) for c in report["contenders"] if c.get("baseline")), None)
        if quality:
            measure = next(m for m in report["measures"] if m["name"] == name)
            pairs = [both for both in map(_both_ends, entries) if both]
            self.scale = wording.measure_scale([e.get("mean") for e in entries], [(b - a) / 2 for a, b in pairs])
            self.title, self.unit = measure.get("title") or name, measure.get("unit") or ""
            self.aside = wording.direction(measure)
            self.best_first = "ascending" if measure.get("higher_is_better") is False else "descending"
            reached = [x for pair in pairs for x in pair] + [
                x for e in entries if (x := finite(e.get("mean"))) is not None
            ]
            self.ends_of_scale = (min(reached), max(reached)) if reached else (0.0, 0.0)
        else:
            self.scale = wording.cost_scale(name, [e.get("median") for e in entries])
            self.title, self.unit = wording.unit_title(name), self.scale.suffix
            self.aside = "held equal" if (report.get("budget") or {}).get("unit") == name else ""
            self.best_first = "descending" if "_per_" in name else "ascending"
            self.major = bool(self.aside) or name in MAJOR_COSTS
            if (self.title, self.unit) == ("seconds", "s"):
                self.unit = ""

    @property
    def heading(self) -> str:
        """Title and unit on one line."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def value(self, contender: Mapping[str, Any]) -> float | None:
        """The number that stands in the cell, and by which the column is sorted."""
        return finite(self._entry(contender).get("mean" if self.quality else "median"))

    def ends(self, contender: Mapping[str, Any]) -> tuple[float, float] | None:
        """The interval of a measure, where there is one."""
        return _both_ends(self._entry(contender)) if self.quality else None

    def cell(self, contender: Mapping[str, Any]) -> tuple[str, str]:
        """The number and its interval, both as text."""
        ends = self.ends(contender)
        gone = (contender.get("absent") or {}).get(self.name) if self.quality else None
        if gone is not None and self.value(contender) is None:
            return gone["word"], ""
        return self.scale(self.value(contender)), wording.interval(*ends, self.scale) if ends else ""

    def _entry(self, contender: Mapping[str, Any]) -> Mapping[str, Any]:
        return (contender.get("measures" if self.quality else "spent") or {}).get(self.name) or {}


def columns(report: Report) -> list[Column]:
    """The measures, then every unit that anybody spent, the one held equal first, the major ones before the others."""
    spent = {
        unit
        for contender in report["contenders"]
        for unit, amount in (contender.get("spent") or {}).items()
        if finite((amount or {}).get("median"))
    }
    equal = (report.get("budget") or {}).get("unit")
    if equal != "evaluations" and "backwards" not in spent:
        spent.discard("evaluations")  # the same as calls, where nothing goes backwards
    units = [unit for unit in report.get("units") or sorted(spent) if unit in spent]
    units.sort(key=lambda unit: (unit != equal, unit not in MAJOR_COSTS))
    shown = leading(report) if report.get("systems") else [measure["name"] for measure in report["measures"]]
    if many_tasks(report):
        shown = shown[:1]
    measures = [Column(report, name, quality=True) for name in shown]  # of models, the others stand in the matrix
    measures.sort(key=lambda column: not column.major)
    return measures + [Column(report, unit, quality=False) for unit in units]


def many_tasks(report: Report) -> bool:
    """Whether there are more tasks than a row has room for."""
    return len(report.get("tasks") or {}) > MANY_TASKS


def leading(report: Report) -> list[str]:
    """The measures that have a direction, or all where none has; the first few of them. Of several tasks, the leading
    measure of each."""
    if report.get("leading"):
        return list(report["leading"])
    directed = [measure["name"] for measure in report["measures"] if measure.get("higher_is_better") is not None]
    return (directed or [measure["name"] for measure in report["measures"]])[:MAJOR_MEASURES]


def titles(report: Report) -> dict[str, str]:
    """Each measure's title by its name."""
    return {measure["name"]: measure.get("title") or measure["name"] for measure in report["measures"]}


def judged(report: Report) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """(pair, its measure), by measure and, within one, supported first."""
    order = [wording.SUPPORTED, wording.CONTRADICTED, wording.NOT_VISIBLE]
    for measure in report["measures"]:
        pairs = [pair for pair in report.get("pairs") or [] if pair["measure"] == measure["name"]]
        rank = lambda pair: order.index(pair["verdict"]) if pair.get("verdict") in order else len(order)  # noqa: E731
        for pair in sorted(pairs, key=rank):
            yield pair, measure


def verdicts(report: Report) -> dict[tuple[str, str], str]:
    """Verdict by contender and measure, where there is one."""
    return {(pair["a"], pair["measure"]): pair["verdict"] for pair in report.get("pairs") or [] if pair.get("verdict")}


def facts(report: Report) -> list[tuple[str, str]]:
    """What was held equal, on what it ran, and what it cost in all."""
    budget, tuning = report.get("budget") or {}, report.get("tuning") or {}
    found = []
    if budget:
        found.append(
            ("held equal", f"{held(report)} per {work(report)}, within {100 * budget.get('tolerance', 0):.3g} %")
        )
    found += [
        (name, _described(report[key])) for name, key in (("model", "system"), ("task", "task")) if report.get(key)
    ]
    drawn = (report.get("provenance") or {}).get("seeds")
    if isinstance(drawn, list | tuple):
        found.append(("seeds", ", ".join(map(str, drawn))))
    if tuning and not report.get("systems"):
        found.append(("tuning", tuning.get("counted") or f"{tuning.get('trials', 0)} trials per contender"))
    totals = []
    for unit in ("seconds", "flops"):
        amounts = [((contender.get("spent") or {}).get(unit) or {}).get("total") for contender in report["contenders"]]
        total = sum(amount for amount in map(finite, amounts) if amount)
        if total:
            scale = wording.cost_scale(unit, [total])
            totals.append(f"{scale(total)} {scale.suffix}")
    if totals:
        found.append(("spent in all", ", ".join(totals)))
    return found


def held(report: Report) -> str:
    """The budget in words: '64 new tokens', '2.00 PFLOP'."""
    budget = report.get("budget") or {}
    amount, unit = finite(budget.get("amount")), str(budget.get("unit") or "")
    if amount is None:
        return str(budget.get("text") or "")
    scale = wording.cost_scale(unit, [amount])
    words = [scale(amount), scale.suffix, "" if wording.unit_suffix(unit) else wording.unit_title(unit)]
    return " ".join(word for word in words if word)


def work(report: Report) -> str:
    """What one unit of work is: that of which costs are the median."""
    if report.get("systems"):
        return "task"
    return "training" if report.get("curves") else "seed" if report.get("once") else "example"


def interval_words(report: Report) -> str:
    """'95 % intervals'."""
    confidence = finite((report.get("statistics") or {}).get("confidence"))
    return f"{100 * confidence:.4g} % intervals" if confidence else "intervals"


def counted(pair: Mapping[str, Any]) -> str:
    """'24 (12)': items and, where they are fewer, clusters."""
    n, clusters = pair.get("n"), pair.get("clusters")
    return "" if n is None else f"{n}" if clusters in (None, n) else f"{n} ({clusters})"


def flat(data: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Nested facts as (name, value) lines."""
    rows: list[tuple[str, str]] = []
    for key, value in data.items():
        name = f"{before}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            rows += flat(value, f"{name}: ")
        elif isinstance(value, list | tuple):
            rows.append((name, ", ".join(map(str, value))))
        elif value is not None:
            rows.append((name, ("no", "yes")[value] if isinstance(value, bool) else str(value)))
    return rows


def provenance(report: Report) -> list[tuple[str, str]]:
    """Everything that a number needs beside it, as lines."""
    return flat(report.get("provenance") or {}) + flat({"statistics": report.get("statistics") or {}})


def _both_ends(entry: Mapping[str, Any]) -> tuple[float, float] | None:
    low, high = finite(entry.get("low")), finite(entry.get("high"))
    return None if low is None or high is None else (low, high)


def _described(noun: Mapping[str, Any]) -> str:
    """'continuation, 12 examples, dtype float32'; hashes and the like stand under provenance."""
    rest = []
    for key, value in noun.items():
        if key in ("name", "config", "fingerprint", "sha256") or isinstance(value, bool):
            continue
        if isinstance(value, int | float):
            rest.append(f"{value:,} {key.replace('_', ' ')}")
        elif isinstance(value, str) and value:
            rest.append(f"{key.replace('_', ' ')} {value}")
    return ", ".join([str(noun.get("name") or ""), *rest])
