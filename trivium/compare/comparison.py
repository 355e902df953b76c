"""A comparison: one open arrow, contenders that fill it in turn, everything else and the budget fixed.

    Comparison(vary="decoding", contenders=["greedy", "min_p(floor=0.05)"], system="tiny", seeds=3).run("runs/first")

Everything is checked before any work. A run that is stopped at any moment goes on when the same comparison is run on
the same folder, and ends with the same numbers.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from trivium.compare import contender as text
from trivium.compare import holes
from trivium.compare.executors import Executor, executor_of
from trivium.compare.findings import findings
from trivium.compare.folder import RunFolder, key_of
from trivium.compare.models import Models, Named, contender
from trivium.compare.plan import Plan, built, short
from trivium.compare.report import markdown, page, table
from trivium.compare.suites import Shown
from trivium.compare.work import Record, Unit, repeated
from trivium.core.budget import Budget
from trivium.core.errors import RunMismatch, UnknownName, did_you_mean
from trivium.core.method import card_of, find
from trivium.core.progress import Bar, progress
from trivium.core.provenance import environment, provenance

VERBS = {
    "architectures": ("build",), "drafting": ("start",), "routing": ("fit",), "probing": ("fit",),
    "curation": ("tag", "gather"), "vocabulary": ("transplant",),
}  # fmt: skip
"""By kind what a method can do, where it is not called itself."""


@dataclass(frozen=True)
class Report:
    """The outcome of a run: plain data (see ``record``), and the folder with its pages."""

    data: Mapping[str, Any]
    folder: Path

    @property
    def page(self) -> Path:
        return self.folder / "report.html"

    def contender(self, name: str) -> Mapping[str, Any]:
        """One contender's row, by its short name or its configuration."""
        for row in self.data["contenders"]:
            if name in (row["name"], row["config"]):
                return row
        known = [row["name"] for row in self.data["contenders"]]
        raise UnknownName(f"no contender is called {name!r}{did_you_mean(name, known)}")

    def __str__(self) -> str:
        out = Console(width=120, file=StringIO(), highlight=False)
        out.print(table(dict(self.data), width=120))
        return f"{out.file.getvalue()}report: {self.page}"  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Comparison:
    """What is compared. Raises for anything that makes no sense, as soon as it can be known."""

    vary: str
    """The kind whose arrow is left open."""
    contenders: Sequence[Any]
    """Methods, as objects or as text; the baseline is added where it is missing."""
    system: Any = None
    """A System or its name; for what is trained, the ``Training`` that stays fixed; nothing where models contend."""
    task: Any = None
    """A task, as an object or as text; of models also several of them; None takes the kind's own."""
    budget: Any = None
    """What a contender may spend, per example or per training, as a Budget or as text; None takes the kind's own."""
    seeds: int | Sequence[int] = 3
    baseline: Any = None
    """What every contender is set against; None takes the kind's own, with the settings it has among the contenders."""
    scales: Sequence[float] = ()
    """Shares of the budget, such as (0.25, 0.5), at which what is trained is trained too: then the report says how fast
    each contender gains from a larger budget."""
    trials: int = 0
    """Tuning trials of each contender on the validation split; the first is the contender as given."""
    trial_share: float | None = None
    """Share of the budget that each trial of what is trained has; None takes 1 / trials. What is best after a short
    training need not be best after a long one: 1.0 tells for sure, and costs as many budgets as there are trials."""
    tune: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    """Per contender (by name or text) the values that tuning may give to its fields."""
    name: str = ""
    """Title of the report."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What a report calls contenders, by their text; their short names where nothing is said."""
    shown: Shown | None = None
    """Tables by group of examples that a report has besides."""
    command: str = ""
    """What to type to repeat this, for the report; made up where it is empty."""

    def __post_init__(self) -> None:
        hole = holes.hole(self.vary)
        if isinstance(self.contenders, str) or not self.contenders:
            raise ValueError(f"contenders must be a list of at least one method, got {self.contenders!r}")
        methods = [_method(self.vary, contender) for contender in self.contenders]
        baseline = _baseline(self.vary, self.baseline, hole.baseline, methods)
        if text.describe(baseline) not in map(text.describe, methods):
            methods = [baseline, *methods]
        texts = [text.describe(method) for method in methods]
        for words, count in Counter(texts).items():
            if count > 1:
                raise ValueError(f"the contender {words} is given {count} times; give it once, or with other settings")
        if self.trials < 0 or (self.tune and not self.trials):
            raise ValueError(f"tuning needs trials of at least 1 (0 for none), got trials={self.trials}")
        if self.trial_share is not None and not (self.trials and hole.per_seed and 0 < self.trial_share <= 1):
            raise ValueError(
                f"trial_share is a share of the budget of a training, above 0 and at most 1, and needs trials; got "
                f"trial_share={self.trial_share} and trials={self.trials} in a comparison of {self.vary}"
            )
        for who in self.tune:
            if who not in texts and who not in map(short, texts):
                raise UnknownName(f"tune= names {who!r}, which is no contender{did_you_mean(who, texts)}")
        system = Models(methods) if hole.systems else _system(self.vary, self.system, hole)
        if hole.systems and not (self.system is None and self.budget is None and not self.trials):
            raise ValueError("models are compared on the same examples; leave system, budget and trials away")
        task = self.task
        if task is None:
            task = system.task() if isinstance(system, holes.RESTS) else hole.task
        fixed = {
            "contenders": tuple(methods),
            "baseline": baseline,
            "budget": _budget(self.vary, self.budget, hole),
            "seeds": _seeds(self.seeds),
            "scales": _scales(self.vary, self.scales, hole),
            "system": system,
            "task": _task(task, hole.systems),
        }
        for name, value in fixed.items():
            object.__setattr__(self, name, value)

    @cached_property
    def plan(self) -> Plan:
        """What will be done, with the system opened."""
        assert not isinstance(self.seeds, int)
        return Plan(
            self.vary,
            self.contenders,
            self.baseline,
            system=self.system,
            task=self.task,
            budget=self.budget,
            seeds=self.seeds,
            scales=self.scales,
            trials=self.trials,
            trial_share=self.trial_share,
            tune=self.tune,
            labels=self.labels,
            shown=self.shown,
        )

    def run(
        self,
        folder: str | Path,
        *,
        executor: str | Executor = "process",
        bar: Bar | None = None,
        show: bool | None = None,
        retry: bool = False,
    ) -> Report:
        """Do what is still missing in the folder, and write the report. ``retry`` does failed units again.

        Raises, before any work: NotOffered and ValueError for what cannot run; RunBusy, RunMismatch and OSError for a
        folder that cannot be used. KeyboardInterrupt leaves a run that goes on when this is called again.
        """
        runner, plan, here = executor_of(executor), self.plan, RunFolder(folder)
        plan.check()
        with here.held(plan.asked(folder, self.name, self.command), retry=retry):
            self._note_provenance(here)
            records = here.records()
            tuning, scoring = plan.tuning_units(), plan.scoring_units({})
            whole = sum(unit.cost for unit in (*tuning, *scoring))
            missing = sum(unit.cost for unit in (*_left(tuning, records), *_left(scoring, records)))
            with _one_bar(bar, f"comparing {self.vary}", whole, whole - missing, show) as shown:
                try:
                    self._do(here, runner, tuning, records, shown)
                    self._do(here, runner, plan.scoring_units(plan.chosen(records)), records, shown)
                except KeyboardInterrupt:
                    shown.say(
                        f"stopped; {len(records)} records are kept in {here.path}: run the same comparison on that "
                        "folder to go on"
                    )
                    raise
            return _written(here)

    def _do(self, here: RunFolder, runner: Executor, units: Sequence[Unit], records: list[Record], bar: Bar) -> None:
        """Do the units that have no record yet, writing each record down as it comes."""
        done = {key_of(record) for record in records}

        def keep(record: Record) -> None:
            if key_of(record) not in done:
                here.append(record)
                records.append(record)
                done.add(key_of(record))

        # The first seed shows who draws at all; what does not would only do the same again with the others.
        first = units[0].seed if units else None
        for part in ([u for u in units if u.seed == first], [u for u in units if u.seed != first]):
            same = {(r["config"], r["example"], r["phase"], r["trial"]): r for r in records if r.get("drew") is False}
            left = []
            for unit in _left(part, records):
                copy = repeated(unit, same)
                if copy is None:
                    left.append(unit)
                else:
                    keep(copy)
                    bar.advance(unit.cost)
            work = self.plan.work(here.path)
            try:
                for record in runner.run(work, left, bar) if left else ():
                    keep(record)
            finally:
                work.close()

    def _note_provenance(self, here: RunFolder) -> None:
        """Where the run began, and wherever else it went on."""
        known, now = here.provenance(), environment()
        if not known:
            identity = here.asked()["identity"]
            facts = {name: identity[name] for name in ("contenders", "system", "task", "examples", "budget", "seeds")}
            known = provenance(**facts)
        elif any(known.get(name) != now[name] for name in now):
            seen = [{name: place.get(name) for name in now} for place in known.get("continued", [])]
            if now not in seen:
                known["continued"] = [*known.get("continued", []), provenance()]
        here.write("provenance.json", json.dumps(known, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path, **given: Any) -> "Comparison":
        """The comparison that a run folder holds.

        What text cannot describe must be given: ``task=``, ``system=`` or ``contenders=``. Raises ValueError where it
        is not, and RunMismatch where what was given is not what was run.
        """
        asked = RunFolder(folder).asked()
        identity, again = asked["identity"], asked["again"]
        kind, (unit, amount, tolerance) = identity["kind"], identity["budget"]
        hole = holes.hole(kind)
        if again["task"] is None and hole.per_seed and not hole.task:  # the task is that of the fixed rest
            given = {"task": None, **given}
        parts = {
            "contenders": again["contenders"] if None not in again["contenders"] else None,
            "task": again["task"],
            "system": again["system"],
        }
        lost = [name for name, value in parts.items() if value is None and name not in given]
        if lost:
            raise ValueError(
                f"{folder} was run with {' and '.join(lost)} that text cannot describe; give "
                f"{', '.join(f'{name}=' for name in lost)} as in the first run"
            )
        made = dict(given)
        if "contenders" not in made:
            made["contenders"] = [built(kind, words) for words in again["contenders"]]
        if "task" not in made:
            made["task"] = text.build("evaluation", again["task"], longest=None)
        if "system" not in made and "contenders" not in again["system"]:
            source = again["system"]
            made["system"] = Named(**source["named"]) if "named" in source else hole.rest.read(source["training"])
        objects = {text.describe(c): c for c in made["contenders"] if not isinstance(c, str)}
        comparison = cls(
            vary=kind,
            baseline=objects.get(identity["baseline"], identity["baseline"]),
            budget=None if hole.systems else Budget(unit, amount, tolerance),
            seeds=identity["seeds"],
            scales=identity.get("scales", ()),
            trials=identity["trials"],
            trial_share=identity.get("trial_share"),
            tune=again["tune"],
            name=again["name"],
            **made,
        )
        now = comparison.plan.asked(folder, "", "")["identity"]
        changed = [name for name in identity if now.get(name) != identity[name]]
        if changed:
            raise RunMismatch(
                f"{folder} was run with another {changed[0]}: {identity[changed[0]]}, not {now[changed[0]]}"
            )
        return comparison


def remake(folder: str | Path) -> Report:
    """Make the report of a run again from its records; no model is needed, and the run may be unfinished."""
    return _written(RunFolder(folder))


def _written(here: RunFolder) -> Report:
    data = findings(here.asked(), here.records(), here.provenance())
    here.write("report.json", json.dumps(data, indent=1, allow_nan=False) + "\n")
    here.write("report.md", markdown(data))
    here.write("report.html", page(data))
    return Report(data, here.path)


def _method(kind: str, given: Any) -> Any:
    if holes.hole(kind).systems:
        return contender(given)
    made = text.build(kind, given) if isinstance(given, (str, text.Call)) else given
    if isinstance(made, type):
        raise TypeError(f"{made.__name__} is a class; give an object of it, such as {made.__name__}()")
    verbs = VERBS.get(kind, ("__call__",))
    if not any(callable(getattr(made, verb, None)) for verb in verbs):
        raise TypeError(f"{made!r} cannot be compared as {kind}: it has no {' or '.join(verbs)}")
    return made


def _task(task: Any, systems: bool) -> Any:
    """A task as an object; where models are compared, one or several of them as a battery."""
    several = list(task) if isinstance(task, list | tuple) else [task]
    found = [text.build("evaluation", one) if isinstance(one, str) else one for one in several]
    if systems:
        return (
            found[0] if len(found) == 1 and hasattr(found[0], "homes") else find("evaluation", "battery")(tuple(found))
        )
    if len(found) != 1:
        raise ValueError(
            f"one task is measured, got {len(found)}; only a comparison of models (evaluation) has several"
        )
    return found[0]


def _system(kind: str, system: Any, hole: holes.Hole) -> Any:
    if hole.per_seed:
        system = hole.rest() if system is None else system
        if not isinstance(system, hole.rest):
            raise TypeError(
                f"{kind} are compared by training them: give system={hole.rest.__name__}(...), got "
                f"{type(system).__name__}"
            )
        return system
    if system is None or isinstance(system, holes.RESTS):
        raise ValueError(f"a comparison of {kind} needs a system, such as system='tiny' or system=load(...)")
    return Named(system) if isinstance(system, str) else system


def _budget(kind: str, budget: Any, hole: holes.Hole) -> Budget:
    budget = Budget.parse(budget) if isinstance(budget, str) else hole.budget if budget is None else budget
    if budget.unit == "new_tokens":
        if hole.budget.unit != "new_tokens":
            raise ValueError(f"{kind} write no tokens, so their budget cannot be in new_tokens; try '{hole.budget}'")
        if budget.amount != int(budget.amount):
            raise ValueError(f"a budget in new_tokens must be a whole number, got {budget.amount}")
    return budget


def _baseline(vary: str, given: Any, usual: str, methods: Sequence[Any]) -> Any:
    """What was asked for, or else the first contender of the kind's usual method, or that method itself."""
    if given is not None:
        return _method(vary, given)
    if not usual:
        return methods[0]
    same = (method for method in methods if card_of(method).name == usual)
    return next(same, None) or _method(vary, usual)


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(int(seed) for seed in seeds)
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"seeds must be a number of at least 1, or a list without repeats; got {seeds!r}")
    return chosen


def _scales(vary: str, scales: Sequence[float], hole: holes.Hole) -> tuple[float, ...]:
    """Ascending. Raises ValueError for what is no share of a training's budget."""
    if scales and not hole.per_seed:
        raise ValueError(f"scales are shares of a training's budget, and nothing is trained in a comparison of {vary}")
    for scale in scales:
        if not 0.0 < scale < 1.0:
            raise ValueError(f"a scale is a share of the budget between 0 and 1, which are left out; got {scale}")
    if len(set(scales)) < len(scales):
        raise ValueError(f"scales must differ, got {tuple(scales)}")
    return tuple(sorted(float(scale) for scale in scales))


def _left(units: Sequence[Unit], records: Sequence[Record]) -> list[Unit]:
    """The units, or what of them, that have no record yet. A training that failed has nothing left to score."""
    done = {key_of(record): record["error"] is not None for record in records}
    left = []
    for unit in units:
        key = lambda example: (unit.contender, unit.phase, unit.trial, unit.seed, example)  # noqa: E731, B023
        examples = tuple(example for example in unit.examples if key(example) not in done)
        if examples and not done.get(key(""), False):
            left.append(replace(unit, examples=examples))
    return left


def _one_bar(bar: Bar | None, label: str, whole: float, done: float, show: bool | None) -> AbstractContextManager[Bar]:
    if bar is None:
        return progress(label, whole, done=done, show=show)
    bar.advance(done)
    return nullcontext(bar)
