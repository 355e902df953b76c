"""From records to the report: means with intervals, costs, paired differences and verdicts, examples side by side.

Everything here is a function of ``comparison.json``, ``records.jsonl`` and ``provenance.json``, so a report can be made
again at any time without the model. The shape of the result is described in ``record``.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from trivium.compare import statistics
from trivium.compare.statistics import Interval, Pair
from trivium.compare.tuning import best_trial, trial_scores
from trivium.core.budget import UNITS

Record = Mapping[str, Any]

SHOWN_EXAMPLES = 60
LONGEST_SHOWN = 20_000
RATES = {
    "new_tokens_per_second": ("new_tokens", "seconds", "tokens generated per second"),
    "new_tokens_per_call": ("new_tokens", "calls", "tokens generated per forward pass of any model"),
    "tokens_per_second": ("tokens", "seconds", "training tokens per second"),
}


def findings(asked: Mapping[str, Any], records: Iterable[Record], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The report of a run as plain data."""
    shown, identity = asked["shown"], asked["identity"]
    run = _Run(shown, [record for record in records if record["phase"] == "score"], identity["seeds"])
    tuning = [record for record in records if record["phase"] == "tune"]
    pairs = _pairs(run)
    tested = sum(pair.p_holm is not None for *_, pair in pairs)
    contenders = [_contender(run, entry, pairs, tuning) for entry in shown["contenders"]]
    spent_units = dict.fromkeys(unit for contender in contenders for unit in contender["spent"])
    meanings = UNITS | {name: meaning for name, (_, _, meaning) in RATES.items()}
    return {
        "title": shown["title"],
        "kind": identity["kind"],
        "question": shown["question"],
        "task": shown["task"],
        "once": run.once,
        "system": shown["system"],
        "budget": shown["budget"],
        "baseline": run.names[identity["baseline"]],
        "smoke": run.smoke,
        "measures": shown["measures"],
        "units": {unit: meanings[unit] for unit in spent_units},
        "contenders": contenders,
        "pairs": [_pair_dict(run, a, measure, pair) for a, measure, pair in pairs],
        "examples": _examples(run),
        "curves": _curves(run),
        "tuning": {
            "trials": identity["trials"],
            "split": "validation",
            "counted": shown["tuning"],
        },
        "statistics": {
            "interval": sorted({pair.interval.method for _, _, pair in pairs}),
            "test": sorted({pair.test for _, _, pair in pairs}),
            "items": "training seeds" if run.per_seed else "examples, each averaged over its seeds",
            "family": f"{tested} pairs of a contender and the baseline on a measure with a direction",
            "seed": 0,
            "confidence": 0.95,
        },
        "provenance": dict(provenance),
        "command": shown["command"],
    }


class _Run:
    """The scored records, by contender, example and seed."""

    def __init__(self, shown: Mapping[str, Any], records: Sequence[Record], seeds: Sequence[int]) -> None:
        self.shown, self.seeds = shown, seeds
        self.per_seed: bool = shown["per_seed"]
        self.once: bool = shown.get("once", False)  # folders of earlier versions do not say
        self.names: dict[str, str] = {entry["config"]: entry["name"] for entry in shown["contenders"]}
        self.measures: list[Mapping[str, Any]] = shown["measures"]
        self.binary = {measure["name"] for measure in self.measures if measure.get("binary")}
        self.weights: Mapping[str, str] = shown["weights"]
        self.info = {example["id"]: example for example in shown["examples"]}
        self.done: dict[str, dict[tuple[str, int], Record]] = defaultdict(dict)
        self.failed: dict[str, list[Record]] = defaultdict(list)
        self.trained: dict[str, dict[int, Record]] = defaultdict(dict)
        for record in records:
            if record["error"] is not None:
                self.failed[record["contender"]].append(record)
            elif record["example"]:
                self.done[record["contender"]][record["example"], record["seed"]] = record
            else:
                self.trained[record["contender"]][record["seed"]] = record
        items = len(seeds) if self.per_seed else len({self.cluster(name) for name in self.info})
        self.smoke = items < (statistics.FEWEST_SEEDS if self.per_seed else statistics.FEWEST_ITEMS)

    def cluster(self, example: str) -> str:
        return self.info[example]["cluster"] or example

    def value(self, contender: str, measure: str, example: str, seed: int) -> tuple[float, float] | None:
        """The value and its weight, None where there is none."""
        record = self.done[contender].get((example, seed))
        if record is None or measure not in record["values"]:
            return None
        weight = self.weights.get(measure)
        return record["values"][measure], record["values"][weight] if weight else 1.0

    def by_example(self, contenders: Sequence[str], measure: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Examples, values (contenders, examples) averaged over the seeds that all have, weights (examples,)."""
        names, values, weights = [], [], []
        for example in self.info:
            found = [[self.value(c, measure, example, seed) for c in contenders] for seed in self.seeds]
            whole = [row for row in found if all(cell is not None for cell in row)]
            if whole:
                cells = np.array(whole, float)  # (seeds, contenders, value and weight)
                names.append(example)
                values.append((cells[..., 0] * cells[..., 1]).sum(0) / np.maximum(cells[..., 1].sum(0), 1e-300))
                weights.append(cells[..., 1].mean())
        return names, np.array(values).T, np.array(weights)

    def by_seed(self, contenders: Sequence[str], measure: str) -> tuple[list[int], np.ndarray]:
        """Seeds and values (contenders, seeds): each the weighted mean over the examples that all of them have."""
        seeds, values = [], []
        for seed in self.seeds:
            found = [[self.value(c, measure, example, seed) for c in contenders] for example in self.info]
            whole = [row for row in found if all(cell is not None for cell in row)]
            if whole:
                cells = np.array(whole, float)
                seeds.append(seed)
                values.append((cells[..., 0] * cells[..., 1]).sum(0) / cells[..., 1].sum(0))
        return seeds, np.array(values).T

    def summary(self, contender: str, measure: str) -> Interval | None:
        if self.per_seed:
            _, values = self.by_seed([contender], measure)
            return statistics.mean_interval(values[0].tolist()) if values.size else None
        names, values, weights = self.by_example([contender], measure)
        if not names:
            return None
        clusters = [self.cluster(name) for name in names]
        weighed = weights if measure in self.weights else None
        return statistics.summary(values[0], clusters, weighed, binary=measure in self.binary)

    def pair(self, a: str, b: str, measure: str) -> Pair | None:
        if self.per_seed:
            _, values = self.by_seed([a, b], measure)
            return statistics.paired_seeds(values[0], values[1]) if values.size else None
        names, values, weights = self.by_example([a, b], measure)
        if not names:
            return None
        clusters = [self.cluster(name) for name in names]
        weighed = weights if measure in self.weights else None
        return statistics.paired(values[0], values[1], clusters, weighed, binary=measure in self.binary)


def _pairs(run: _Run) -> list[tuple[str, str, Pair]]:
    """Each contender against the baseline on each measure that has a direction: the family that Holm covers."""
    baseline = next(entry["config"] for entry in run.shown["contenders"] if entry["baseline"])
    found = [
        (config, measure["name"], pair)
        for config in run.names
        if config != baseline
        for measure in run.measures
        if measure["higher_is_better"] is not None and (pair := run.pair(config, baseline, measure["name"])) is not None
    ]
    direction = {measure["name"]: measure["higher_is_better"] for measure in run.measures}
    fewest = statistics.FEWEST_SEEDS if run.per_seed else statistics.FEWEST_ITEMS
    judged = []
    for (a, measure, _), pair in zip(found, statistics.with_holm([pair for *_, pair in found]), strict=True):
        whole = not run.failed[a] and not run.failed[baseline]  # what is left after failures is a chosen sample
        judged.append((a, measure, statistics.judged(pair, direction[measure], fewest=fewest) if whole else pair))
    return judged


def _pair_dict(run: _Run, a: str, measure: str, pair: Pair) -> dict[str, Any]:
    baseline = next(entry["name"] for entry in run.shown["contenders"] if entry["baseline"])
    interval = pair.interval
    return {
        "a": run.names[a],
        "b": baseline,
        "measure": measure,
        "difference": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "p": pair.p,
        "p_holm": pair.p_holm,
        "verdict": "" if run.smoke else pair.verdict or "",
        "n": interval.n,
        "clusters": interval.clusters,
        "method": interval.method,
        "test": pair.test,
        "detectable": interval.detectable,
        "correlation": pair.correlation,
    }


def _contender(
    run: _Run, entry: Mapping[str, Any], pairs: Sequence[tuple[str, str, Pair]], tuning: Sequence[Record]
) -> dict[str, Any]:
    config = entry["config"]
    measures = {}
    for measure in run.measures:
        found = run.summary(config, measure["name"])
        if found is not None:
            measures[measure["name"]] = {
                "mean": found.mean, "low": found.low, "high": found.high, "n": found.n, "clusters": found.clusters,
            }  # fmt: skip
    return {
        "name": entry["name"],
        "config": config,
        "lossless": entry["lossless"],
        "baseline": entry["baseline"],
        "note": _note(run, entry, pairs),
        "measures": measures,
        "by_group": _by_group(run, config),
        "spent": _spent(run, config),
        "failed": _failures(run.failed[config]),
        "tuned": _tuned(entry, run, [record for record in tuning if record["contender"] == config]),
    }


def _note(run: _Run, entry: Mapping[str, Any], pairs: Sequence[tuple[str, str, Pair]]) -> str:
    """Not applicable, untuned (a loser that was given no trials though it has settings), what failed."""
    notes = [entry["note"]] if entry["note"] else []
    leading = run.measures[0]
    if entry["tunable"] and not entry["tuned"] and not entry["baseline"] and leading["higher_is_better"] is not None:
        sign = 1 if leading["higher_is_better"] else -1
        behind = [p for a, measure, p in pairs if a == entry["config"] and measure == leading["name"]]
        if behind and sign * behind[0].interval.mean < 0:
            notes.append("untuned")
    failed = run.failed[entry["config"]]
    if failed:
        units = len(run.done[entry["config"]]) + len(run.trained[entry["config"]]) + len(failed)
        reasons = ", ".join(sorted({record["error"]["type"] for record in failed}))
        notes.append(f"{len(failed)} of {units} failed: {reasons}")
    return "; ".join(notes)


def _failures(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Failures by their reason; an example and seed at which each happened first."""
    counts = Counter((record["error"]["type"], record["error"]["message"]) for record in records)
    first = {}
    for record in records:
        first.setdefault((record["error"]["type"], record["error"]["message"]), record)
    return [
        {"example": first[reason]["example"], "seed": first[reason]["seed"], "type": reason[0], "message": reason[1],
         "count": count}
        for reason, count in counts.most_common(20)
    ]  # fmt: skip


def _by_group(run: _Run, config: str) -> dict[str, dict[str, float]]:
    """Plain means per group of examples, where the task has groups."""
    groups: dict[str, dict[str, float]] = {}
    for measure in run.measures:
        names, values, weights = run.by_example([config], measure["name"])
        of = [run.info[name]["group"] for name in names]
        for group in dict.fromkeys(of):
            if group:
                inside = [n for n, name in enumerate(of) if name == group]
                groups.setdefault(group, {})[measure["name"]] = float(
                    np.average(values[0][inside], weights=weights[inside])
                )
    return groups


def _spent(run: _Run, config: str) -> dict[str, dict[str, float]]:
    """Per unit of work (an example, a training, or a seed where the hole is filled once) the median and the quartiles
    of each cost, and the sum of all."""
    records = run.trained[config].values() if run.per_seed else run.done[config].values()
    if run.once:
        records = {record["seed"]: record for record in records}.values()
    rows = [dict(record["spent"]) for record in records]
    for row in rows:
        for name, (above, below, _) in RATES.items():
            if row[above] and row[below]:
                row[name] = row[above] / row[below]
    spent = {}
    for unit in [*UNITS, *RATES]:
        amounts = [row[unit] for row in rows if unit in row]
        if any(amounts):
            low, middle, high = np.quantile(amounts, [0.25, 0.5, 0.75])
            spent[unit] = {"median": float(middle), "low": float(low), "high": float(high)}
            if unit not in RATES:
                spent[unit]["total"] = float(sum(amounts))
    return spent


def _tuned(entry: Mapping[str, Any], run: _Run, records: Sequence[Record]) -> list[dict[str, Any]]:
    """The points that were tried on the validation split, with the leading measure of each."""
    points = trial_scores(run.measures[0]["name"], run.weights, records)
    chosen = best_trial(points, run.measures[0]["higher_is_better"])
    return [
        {"config": config, "value": value, "chosen": trial == chosen}
        for trial, (config, value) in sorted(points.items())
    ]


def _examples(run: _Run) -> list[dict[str, Any]]:
    """Prompts with every contender's output beside each other; the first seeds where there are many."""
    shown = []
    for seed in run.seeds:
        for example in run.info.values():
            outputs = {}
            for config, name in run.names.items():
                record = run.done[config].get((example["id"], seed))
                failure = next(
                    (r for r in run.failed[config] if (r["example"], r["seed"]) == (example["id"], seed)), None
                )
                if record is not None or failure is not None:
                    outputs[name] = _output(record, failure)
            if outputs and len(shown) < SHOWN_EXAMPLES:
                shown.append(
                    {"id": example["id"], "group": example["group"], "seed": seed, "prompt": example["prompt"],
                     "outputs": outputs}
                )  # fmt: skip
    return shown


def _output(record: Record | None, failure: Record | None) -> dict[str, Any]:
    output = record["output"] if record is not None else {}
    error = failure["error"] if failure is not None else None
    return {
        "text": str(output.get("text", ""))[:LONGEST_SHOWN],
        "spans": output.get("spans", []),
        "values": record["values"] if record is not None else {},
        "html": output.get("html"),
        "error": f"{error['type']}: {error['message']}" if error else "",
    }


def _curves(run: _Run) -> dict[str, dict[str, Any]]:
    return {
        run.names[config]: {str(seed): record["output"].get("curve", []) for seed, record in sorted(by_seed.items())}
        for config, by_seed in run.trained.items()
        if by_seed
    }
