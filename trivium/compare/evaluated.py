"""What a report of models has besides: cells that say why they are empty, rates of wins, calibration, a checklist."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from trivium.compare.checklist import checklist
from trivium.core.budget import Spent
from trivium.evaluation.stats.calibration import ece, reliability

Report = Mapping[str, Any]

WIN_RATE = "win_rate"
GROUPS, EACH = 10, 5
"""Bars of a reliability diagram at most, and about how many items each holds at least."""
NOT_APPLICABLE, FAILED = "not applicable", "failed"
LACKING = frozenset({"NotOffered", "Withheld"})
"""Errors by which a model says that it lacks what a task needs."""


def parts(run: Any, data: dict[str, Any]) -> dict[str, Any]:
    """From the records of a run and the report so far: the rest of a report of models."""
    leading: list[str] = run.shown["leading"]
    rows = {entry["config"]: entry for entry in data["contenders"]}
    models = run.shown["system"].get("models", {})
    for config, entry in rows.items():
        entry["absent"] = absent(run, config, entry["measures"])
        entry["facts"] = models.get(config, {})
        entry["note"] = note(run, entry)
    rates = win_rates({name: entry["measures"] for name, entry in rows.items()}, data["measures"], leading)
    measures = list(data["measures"])
    if rates:
        title = "Mean win rate"
        measures.insert(0, {"name": WIN_RATE, "title": title, "higher_is_better": True, "unit": "", "binary": False,
                            "ratio": False, "pooled": ""})  # fmt: skip
        for config, rate in rates.items():
            rows[config]["measures"][WIN_RATE] = {"mean": rate, "low": None, "high": None, "n": len(leading),
                                                  "clusters": len(leading)}  # fmt: skip
    homes: dict[str, list[str]] = {}
    for measure in (one["name"] for one in run.measures if one["name"] in run.homes):
        homes.setdefault(run.homes[measure], []).append(measure)
    found = {
        "systems": True,
        "measures": measures,
        "leading": [WIN_RATE, *leading] if rates else leading,
        "tasks": {label: {**run.shown["tasks"].get(label, {}), "measures": names} for label, names in homes.items()},
        "calibration": calibration(run),
        "spreads": spreads(run),
    }
    return found | {"checklist": checklist(run.shown, data | found)}


def by_task(run: Any, config: str) -> dict[str, dict[str, float]]:
    """What a model's answers to each task cost in all."""
    spent: dict[str, Spent] = {}
    for (example, _), record in run.done[config].items():
        task = run.info[example]["group"] if run.homes else ""
        spent[task] = spent.get(task, Spent()) + Spent(**record["spent"])
    return {task: amount.to_dict() for task, amount in spent.items()}


def absent(run: Any, config: str, measures: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Measures without a value, each with a word and a reason; never silently nothing, and never 0."""
    found = {}
    for measure in (one["name"] for one in run.measures):
        failed = run.failures(config, measure)
        reasons = Counter(record["error"]["message"] for record in failed)
        if measure in measures and not failed:
            continue
        if failed:
            lacks = all(record["error"]["type"] in LACKING for record in failed)
            why, count = reasons.most_common(1)[0]
            often = "" if lacks else f" ({count} of {len(failed)} that failed)"
            found[measure] = {"word": NOT_APPLICABLE if lacks else FAILED, "why": f"{why}{often}"}
        else:
            said = Counter(
                why
                for record in run.done[config].values()
                if (why := (record["output"].get("absent") or {}).get(measure)) is not None
            )
            why = said.most_common(1)[0][0] if said else "no example gives a value"
            found[measure] = {"word": NOT_APPLICABLE, "why": why}
    return found


def note(run: Any, entry: Mapping[str, Any]) -> str:
    """What failed, as it was; what a model lacks stands in the cells themselves."""
    if not any(one["type"] not in LACKING for one in entry["failed"]):
        return "; ".join(part for part in entry["note"].split("; ") if part.rpartition("failed: ")[2] not in LACKING)
    return entry["note"]


def win_rates(
    values: Mapping[str, Mapping[str, Any]], measures: Sequence[Mapping[str, Any]], leading: Sequence[str]
) -> dict[str, float]:
    """Per model the mean over tasks of the share of the other models that it beats; a tie counts a half, so that the
    rates of M models add up to M / 2 where all have every task. Empty for a model alone."""
    if len(values) < 2:
        return {}
    sign = {one["name"]: {True: 1.0, False: -1.0}.get(one["higher_is_better"]) for one in measures}
    shares: dict[str, list[float]] = {model: [] for model in values}
    for measure in leading:
        if (way := sign.get(measure)) is None:
            continue
        at = {model: way * found[measure]["mean"] for model, found in values.items() if measure in found}
        for model, mine in at.items():
            others = [theirs for other, theirs in at.items() if other != model]
            if others:
                shares[model].append(sum((mine > theirs) + 0.5 * (mine == theirs) for theirs in others) / len(others))
    return {model: float(np.mean(found)) for model, found in shares.items() if found}


def calibration(run: Any) -> dict[str, dict[str, Any]]:
    """Task -> model -> groups of near-equal size by confidence, with how often the model was right in each."""
    found: dict[str, dict[str, Any]] = {}
    for config, name in run.names.items():
        rows: dict[str, list[list[float]]] = {}
        for (example, _), record in run.done[config].items():
            if "calibration" in record.get("vectors", {}):
                rows.setdefault(run.info[example]["group"], []).append(record["vectors"]["calibration"])
        for task, pairs in rows.items():
            confidence, correct = np.array(pairs, float).T
            right, groups = np.floor(correct), max(1, min(GROUPS, len(pairs) // EACH))
            found.setdefault(task, {})[name] = {
                "groups": [asdict(group) for group in reliability(confidence, right, groups=groups)],
                "n": len(pairs),
                "ece_mass": ece(confidence, right),
                "ece_width": ece(confidence, right, binning="width"),
            }
    return found


def spreads(run: Any) -> dict[str, dict[str, Any]]:
    """Task -> model, by the way it answers -> "rates" of all formats, "observed" spreads of the searches, "null", how
    many of the spreads of chance lie in each of the equal bins from 0 to 1, and "p" of each search, as far as known."""
    found: dict[str, dict[str, Any]] = {}
    for config, name in run.names.items():
        for (example, _), record in run.done[config].items():
            for way, one in (record["output"].get("spread") or {}).items():
                label = f"{name}, written" if way == "writing" else name
                place = found.setdefault(run.info[example]["group"], {}).setdefault(
                    label, {"name": name, "rates": [], "observed": [], "null": [], "p": []}
                )
                place["rates"] += [right / count for right, count in one["rates"].values()]
                place["observed"].append(one["observed"])
                if "null" in one:
                    before = place["null"] or [0] * len(one["null"])
                    place["null"] = [a + b for a, b in zip(before, one["null"], strict=True)]
                    place["p"].append(one["p"])
    return found
