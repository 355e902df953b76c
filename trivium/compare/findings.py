"""From records to the report: means with intervals, costs, paired differences and verdicts, examples side by side.

Everything here is a function of ``comparison.json``, ``records.jsonl`` and ``provenance.json``, so a report can be made
again at any time without the model. The shape of the result is described in ``record``.
"""

import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from trivium.compare import evaluated, pooled_rows, scaling
from trivium.compare.pooled import Pooled
from trivium.compare.pooled_rows import PooledRows
from trivium.compare.tuning import best_trial, trial_scores
from trivium.core.budget import UNITS
from trivium.evaluation.stats import intervals, multiplicity, paired, verdicts
from trivium.evaluation.stats.intervals import Interval
from trivium.evaluation.stats.paired import Pair

Record = Mapping[str, Any]

SHOWN_EXAMPLES = 60
SHOWN_BYTES = 2_000_000
"""About how much of the examples of several tasks a report holds: as many of each task as fit."""
LONGEST_SHOWN = 20_000
RATES = {
    "new_tokens_per_second": ("new_tokens", "seconds", "tokens generated per second"),
    "new_tokens_per_call": ("new_tokens", "calls", "tokens generated per forward pass of any model"),
    "tokens_per_second": ("tokens", "seconds", "training tokens per second"),
}

KEPT = {
    "documents_kept": "documents that curation kept",
    "tokens_kept": "tokens of the documents that curation kept",
    "epochs": "times that the training went through its documents",
    "curation_seconds": "processor seconds of curation",
}
"""Figures of a training that stand beside its costs, by their names among its facts."""


def findings(asked: Mapping[str, Any], records: Iterable[Record], provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The report of a run as plain data."""
    shown, identity, records = asked["shown"], asked["identity"], list(records)
    run = _Run(shown, [record for record in records if record["phase"] == "score"], identity["seeds"])
    tuning = [record for record in records if record["phase"] == "tune"]
    pairs = _pairs(run)
    tested = sum(pair.p_holm is not None for *_, pair in pairs)
    contenders = [_contender(run, entry, pairs, tuning) for entry in shown["contenders"]]
    spent_units = dict.fromkeys(unit for contender in contenders for unit in contender["spent"])
    meanings = UNITS | {name: meaning for name, (_, _, meaning) in RATES.items()} | KEPT
    data = {
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
        "by_group": _tables(run),
        "examples": _examples(run),
        "curves": _curves(run, "curve"),
        **(_trained(run, identity, records) if run.per_seed else {}),
        "tuning": {
            "trials": identity["trials"],
            "split": "validation",
            "counted": shown["tuning"],
        },
        "statistics": {
            "interval": sorted({pair.interval.method for _, _, pair in pairs}),
            "test": sorted({pair.test for _, _, pair in pairs}),
            "items": "training seeds" if run.per_seed else "examples, each averaged over its seeds",
            "family": f"{tested} pairs of a contender and the baseline on "
            + ("the leading measure of each task" if run.systems else "a measure with a direction"),
            "seed": 0,
            "confidence": 0.95,
        },
        "provenance": dict(provenance),
        "command": shown["command"],
    }
    return data | evaluated.parts(run, data) if run.systems else data


class _Run:
    """The scored records, by contender, example and seed."""

    def __init__(self, shown: Mapping[str, Any], records: Sequence[Record], seeds: Sequence[int]) -> None:
        self.shown, self.seeds = shown, seeds
        self.per_seed: bool = shown["per_seed"]
        self.once: bool = shown.get("once", False)  # folders of earlier versions do not say
        self.names: dict[str, str] = {entry["config"]: entry["name"] for entry in shown["contenders"]}
        self.measures: list[Mapping[str, Any]] = shown["measures"]
        self.binary = {measure["name"] for measure in self.measures if measure.get("binary")}
        self.ratio = {measure["name"] for measure in self.measures if measure.get("ratio")}
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
        self.systems: bool = shown.get("systems", False)
        self.homes: Mapping[str, str] = shown.get("homes", {})
        self.pooled = {m["name"]: self._pooled(m["name"], m["pooled"]) for m in self.measures if m.get("pooled")}
        self.fewest = verdicts.FEWEST_SEEDS if self.per_seed else verdicts.FEWEST
        self.items = len(seeds) if self.per_seed else len({self.cluster(name) for name in self.info})

    @property
    def smoke(self) -> bool:
        """Whether there is too little for any verdict."""
        return self.items < self.fewest

    def cluster(self, example: str) -> str:
        return self.info[example]["cluster"] or example

    def failures(self, contender: str, measure: str) -> list[Record]:
        """What failed of the examples that the measure is about."""
        home = self.homes.get(measure)
        return [r for r in self.failed[contender] if home is None or self.info[r["example"]]["group"] == home]

    def _pooled(self, measure: str, statistic: str) -> Pooled | PooledRows:
        """Over all outputs; what an example's output is set against is the same for all contenders."""
        if statistic in pooled_rows.STATISTICS:
            key, home = pooled_rows.STATISTICS[statistic].key, self.homes.get(measure)
            rows: dict[str, dict[str, list[Sequence[float]]]] = {config: defaultdict(list) for config in self.names}
            for config, records in self.done.items():
                for (example, _), record in sorted(records.items()):
                    if key in record.get("vectors", {}) and home in (None, self.info[example]["group"]):
                        rows[config][example].append(record["vectors"][key])
            return PooledRows(statistic, rows, {example: self.cluster(example) for example in self.info})
        own: dict[str, dict[str, list[Sequence[float]]]] = {config: defaultdict(list) for config in self.names}
        reference: dict[str, Sequence[float]] = {}
        for config, records in self.done.items():
            for (example, _), record in sorted(records.items()):
                if "reference" in record.get("vectors", {}):
                    own[config][example].append(record["vectors"]["own"])
                    reference.setdefault(example, record["vectors"]["reference"])
        return Pooled(statistic, own, reference, {example: self.cluster(example) for example in reference})

    def value(self, contender: str, measure: str, example: str, seed: int) -> tuple[float, float] | None:
        """The value and its weight, None where there is none."""
        record = self.done[contender].get((example, seed))
        if record is None or measure not in record["values"]:
            return None
        weight = self.weights.get(measure)
        return record["values"][measure], record["values"][weight] if weight else 1.0

    def by_example(self, contenders: Sequence[str], measure: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Examples, values (contenders, examples) averaged over the seeds that all have, weights (examples,). Of what
        is compared by ratios, the logarithms of the medians over these seeds."""
        names, values, weights = [], [], []
        for example in self.info:
            found = [[self.value(c, measure, example, seed) for c in contenders] for seed in self.seeds]
            whole = [row for row in found if all(cell is not None for cell in row)]
            if whole:
                cells = np.array(whole, float)  # (seeds, contenders, value and weight)
                names.append(example)
                if measure in self.ratio:
                    values.append(np.median(np.log(cells[..., 0]), 0))
                else:
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
                mean = (cells[..., 0] * cells[..., 1]).sum(0) / cells[..., 1].sum(0)
                values.append(np.log(mean) if measure in self.ratio else mean)
        return seeds, np.array(values).T

    def summary(self, contender: str, measure: str) -> Interval | None:
        if measure in self.pooled:
            return self.pooled[measure].summary(contender)
        if self.per_seed:
            _, values = self.by_seed([contender], measure)
            return intervals.mean_interval(values[0].tolist()) if values.size else None
        names, values, weights = self.by_example([contender], measure)
        if not names:
            return None
        clusters = [self.cluster(name) for name in names]
        weighed = weights if measure in self.weights else None
        return intervals.summary(values[0], clusters, weighed, binary=measure in self.binary)

    def pair(self, a: str, b: str, measure: str) -> Pair | None:
        if measure in self.pooled:
            return self.pooled[measure].pair(a, b)
        if self.per_seed:
            _, values = self.by_seed([a, b], measure)
            return paired.paired_seeds(values[0], values[1]) if values.size else None
        names, values, weights = self.by_example([a, b], measure)
        if not names:
            return None
        clusters = [self.cluster(name) for name in names]
        weighed = weights if measure in self.weights else None
        return paired.paired(values[0], values[1], clusters, weighed, binary=measure in self.binary)


def _shown(x: float | None, ratio: bool) -> float | None:
    """A number of a summary as it is shown: what was averaged as a logarithm, as itself."""
    return math.exp(x) if ratio and x is not None else x


def _pairs(run: _Run) -> list[tuple[str, str, Pair]]:
    """Each contender against the baseline on each measure that has a direction: the family that Holm covers."""
    baseline = next(entry["config"] for entry in run.shown["contenders"] if entry["baseline"])
    family = run.shown.get("leading") or [measure["name"] for measure in run.measures]
    found = [
        (config, measure["name"], pair)
        for config in run.names
        if config != baseline
        for measure in run.measures
        if measure["name"] in family
        and measure["higher_is_better"] is not None
        and (pair := run.pair(config, baseline, measure["name"])) is not None
    ]
    direction = {measure["name"]: measure["higher_is_better"] for measure in run.measures}
    if not run.per_seed:
        run.fewest = verdicts.fewest_clusters(sum(pair.p is not None for *_, pair in found))
    judged = []
    for (a, measure, _), pair in zip(found, multiplicity.with_holm([pair for *_, pair in found]), strict=True):
        # What is left after failures is a chosen sample.
        whole = not run.failures(a, measure) and not run.failures(baseline, measure)
        judged.append((a, measure, multiplicity.judged(pair, direction[measure], fewest=run.fewest) if whole else pair))
    return judged


def _pair_dict(run: _Run, a: str, measure: str, pair: Pair) -> dict[str, Any]:
    baseline = next(entry["name"] for entry in run.shown["contenders"] if entry["baseline"])
    interval, ratio = pair.interval, measure in run.ratio
    return {
        "a": run.names[a],
        "b": baseline,
        "measure": measure,
        "difference": _shown(interval.mean, ratio),
        "low": _shown(interval.low, ratio),
        "high": _shown(interval.high, ratio),
        "p": pair.p,
        "p_holm": pair.p_holm,
        "verdict": "" if run.smoke else pair.verdict or "",
        "n": interval.n,
        "clusters": interval.clusters,
        "fewest": run.fewest,
        "method": interval.method,
        "test": pair.test,
        "detectable": _shown(interval.detectable, ratio),
        "correlation": pair.correlation,
    }


def _contender(
    run: _Run, entry: Mapping[str, Any], pairs: Sequence[tuple[str, str, Pair]], tuning: Sequence[Record]
) -> dict[str, Any]:
    config = entry["config"]
    tuned = _tuned(entry, run, [record for record in tuning if record["contender"] == config])
    edge = next((entry.get("edges", {}).get(trial["config"], "") for trial in tuned if trial["chosen"]), "")
    measures = {}
    for measure in run.measures:
        found = run.summary(config, measure["name"])
        if found is not None:
            mean, low, high = (_shown(x, measure["name"] in run.ratio) for x in (found.mean, found.low, found.high))
            measures[measure["name"]] = {
                "mean": mean, "low": low, "high": high, "n": found.n, "clusters": found.clusters,
            }  # fmt: skip
    return {
        "name": entry["name"],
        "config": config,
        "lossless": entry["lossless"],
        "baseline": entry["baseline"],
        "note": "; ".join(filter(None, (_note(run, entry, pairs), edge))),
        "measures": measures,
        "by_group": _by_group(run, config),
        "spent": _spent(run, config),
        "failed": _failures(run.failed[config]),
        "tuned": tuned,
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
    """Plain means per group of examples, where the task has groups. Several tasks have measures of their own."""
    if run.homes:
        return {}
    groups: dict[str, dict[str, float]] = {}
    for measure in run.measures:
        names, values, weights = run.by_example([config], measure["name"])
        of = [run.info[name]["group"] for name in names]
        for group in dict.fromkeys(of):
            if group:
                inside = [n for n, name in enumerate(of) if name == group]
                mean = float(np.average(values[0][inside], weights=weights[inside]))
                shown = _shown(mean, measure["name"] in run.ratio)
                groups.setdefault(group, {})[measure["name"]] = mean if shown is None else shown
    return groups


def _tables(run: _Run) -> list[dict[str, Any]]:
    """Where a suite asks for it: per group of examples a row for each contender, with its speed over that of others."""
    asked = run.shown.get("by_group")
    if not asked:
        return []
    groups: dict[str, set[str]] = {}
    for example in run.info.values():
        groups.setdefault(example["group"], set()).add(example["id"])
    known = {name: config for config, name in run.names.items()}
    against = [name for name in asked["against"] if name in known]
    tables = []
    for group, inside in groups.items():
        rows = []
        for config, name in run.names.items():
            ratios = {other: _ratio(run, config, known[other], asked["ratio"], inside) for other in against}
            values = {column: _mean(run, config, column, inside) for column in (*asked["columns"], asked["bound"])}
            levels = [_mean(run, config, f"{asked['levels']}_{level}", inside) for level in range(1, LEVELS + 1)]
            if any(value is not None for value in values.values()):
                first, bound = ratios.get(against[0]) if against else None, values[asked["bound"]]
                rows.append(
                    {"name": name, "ratios": ratios, "values": values, "levels": levels,
                     "efficiency": first / bound if first and bound else None}
                )  # fmt: skip
        tables.append({"group": group, "against": against, "columns": [*asked["columns"]], "bound": asked["bound"],
                       "levels": asked["levels"], "rows": rows})  # fmt: skip
    return tables


LEVELS = 8
"""Depths of a draft that a table shows."""


def _mean(run: _Run, config: str, measure: str, inside: Set[str]) -> float | None:
    names, values, _ = run.by_example([config], measure)
    found = [value for name, value in zip(names, values[0] if names else (), strict=True) if name in inside]
    return _shown(float(np.mean(found)), measure in run.ratio) if found else None


def _ratio(run: _Run, config: str, other: str, measure: str, inside: Set[str]) -> float | None:
    """Of speeds, over the examples that both have: the geometric mean of the ratios of their medians."""
    names, values, _ = run.by_example([config, other], measure)
    found = [values[0][at] - values[1][at] for at, name in enumerate(names) if name in inside]
    return math.exp(float(np.mean(found))) if found else None


def _spent(run: _Run, config: str) -> dict[str, dict[str, float]]:
    """Per unit of work (an example, a training, a seed where the hole is filled once, or a task where models are put to
    several) the median and the quartiles of each cost, and the sum of all."""
    records = run.trained[config].values() if run.per_seed else run.done[config].values()
    if run.systems:
        records = [{"spent": spent} for spent in evaluated.by_task(run, config).values()]
    if run.once:
        records = {record["seed"]: record for record in records}.values()
    rows = [dict(record["spent"]) for record in records]
    if run.per_seed:
        for row, record in zip(rows, records, strict=True):
            row.update({name: record["values"][name] for name in KEPT if name in record["values"]})
    for row in rows:
        for name, (above, below, _) in RATES.items():
            if row[above] and row[below]:
                row[name] = row[above] / row[below]
    spent = {}
    for unit in [*UNITS, *RATES, *KEPT]:
        amounts = [row[unit] for row in rows if unit in row]
        if any(amounts):
            low, middle, high = np.quantile(amounts, [0.25, 0.5, 0.75])
            spent[unit] = {"median": float(middle), "low": float(low), "high": float(high)}
            if unit in UNITS:
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
    """Prompts with the contenders' outputs beside each other; the first ones where there are many, of several tasks the
    first of each."""
    shown: list[dict[str, Any]] = []
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
            if outputs and (len(shown) < SHOWN_EXAMPLES or run.homes):
                shown.append(
                    {"id": example["id"], "group": example["group"], "seed": seed, "prompt": example["prompt"],
                     "outputs": outputs}
                )  # fmt: skip
    return _fitting(shown) if run.homes else shown


def _fitting(examples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One of each group in turn until the report is full; of every group at least one."""
    groups: dict[str, list[int]] = {}
    for at, example in enumerate(examples):
        groups.setdefault(example["group"], []).append(at)
    chosen: list[int] = []
    room = SHOWN_BYTES
    for turn, places in enumerate(itertools.zip_longest(*groups.values())):
        for at in places:
            if at is not None and (turn == 0 or room > 0):
                room -= len(json.dumps(examples[at]))
                chosen.append(at)
    return [examples[at] for at in sorted(chosen)]


def _output(record: Record | None, failure: Record | None) -> dict[str, Any]:
    output = record["output"] if record is not None else {}
    error = failure["error"] if failure is not None else None
    return {
        "text": str(output.get("text", ""))[:LONGEST_SHOWN],
        "spans": output.get("spans", []),
        "values": record["values"] if record is not None else {},
        "html": output.get("html"),
        **{name: output[name] for name in ("choices", "tokens", "copies") if output.get(name)},
        "error": f"{error['type']}: {error['message']}" if error else "",
    }


def _trained(run: _Run, identity: Mapping[str, Any], records: Sequence[Record]) -> dict[str, Any]:
    """What there is besides of contenders that were trained: the loss by position, orders by what is held equal, and
    where there were several budgets, how fast each gains from a larger one."""
    leading, (unit, amount, _) = run.measures[0], identity["budget"]
    levels = []
    for at, scale in enumerate(identity.get("scales", ())):
        own = [record for record in records if record["phase"] == "scale" and record["trial"] == at]
        levels.append(scaling.Level(amount * scale, _by_seed(_Run(run.shown, own, identity["seeds"]), unit)))
    levels.append(scaling.Level(amount, _by_seed(run, unit)))
    curves = _curves(run, "curve")
    return {
        "positions": _curves(run, "positions"),
        "rankings": scaling.rankings(curves),
        "scaling": scaling.scaling(
            levels, run.names[identity["baseline"]], leading["higher_is_better"], run.smoke
        ),
    }  # fmt: skip


def _by_seed(run: _Run, unit: str) -> dict[str, dict[int, tuple[float, float]]]:
    """Of each contender and seed what was spent, and the leading measure."""
    found = {}
    for config, name in run.names.items():
        seeds, values = run.by_seed([config], run.measures[0]["name"])
        found[name] = {
            seed: (float(run.trained[config][seed]["spent"][unit]), float(value))
            for seed, value in zip(seeds, values[0] if seeds else (), strict=True)
            if seed in run.trained[config]
        }
    return found


def _curves(run: _Run, what: str) -> dict[str, dict[str, Any]]:
    return {
        run.names[config]: {str(seed): record["output"].get(what, []) for seed, record in sorted(by_seed.items())}
        for config, by_seed in run.trained.items()
        if by_seed
    }
