"""The plan of a comparison: everything opened, checked and laid out before any work is done."""

import dataclasses
import itertools
import json
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from trivium.compare import contender as text
from trivium.compare import holes, tuning
from trivium.compare.folder import FORMAT
from trivium.compare.models import Models, Named, contender, facts_of
from trivium.compare.suites import Shown
from trivium.compare.tuning import described
from trivium.compare.work import Record, Unit, Work, rows_of
from trivium.core.budget import Budget
from trivium.core.errors import NotOffered
from trivium.core.files import sha256
from trivium.core.method import card_of
from trivium.core.nouns import Example, Measure
from trivium.models.system import System

NAMED_TASKS = 6
"""Tasks that a report's question calls by their names."""
LONGEST_PROMPT = 4000
"""Characters of a prompt that a report shows."""
LONGEST_TEXT = 200_000
"""Characters up to which a task is kept as text, so that a run can be repeated from its folder alone."""


class Plan:
    """What a comparison will do. Making one opens the system; ``check`` raises for whatever would fail later."""

    def __init__(
        self,
        kind: str,
        contenders: Sequence[Any],
        baseline: Any,
        system: Any,
        task: Any,
        budget: Budget,
        seeds: Sequence[int],
        scales: Sequence[float],
        trials: int,
        trial_share: float | None,
        tune: Mapping[str, Mapping[str, Sequence[Any]]],
        labels: Mapping[str, str] = {},
        shown: Shown | None = None,
    ) -> None:
        self.kind, self.hole = kind, holes.hole(kind)
        self.methods = {text.describe(contender): contender for contender in contenders}
        self.baseline = text.describe(baseline)
        self.system, self.task = system, task
        self.budget, self.seeds, self.trials, self.tune = budget, tuple(seeds), trials, tune
        self.equal_shares, self.trial_share = trial_share is None, trial_share or 1 / max(trials, 1)
        self.scales, self.labels, self.shown = tuple(scales), labels, shown
        self.measures: Sequence[Measure] = task.measures
        self.weights: Mapping[str, str] = getattr(task, "weighted_by", {})

    @cached_property
    def opened(self) -> Any:
        return self.system.open() if hasattr(self.system, "open") else self.system

    @cached_property
    def lacking(self) -> dict[str, tuple[str, ...]]:
        """Contenders that cannot run on this system, with what they need."""
        wanting = partial(holes.missing, self.kind, system=self.opened, task=self.task)
        found = {name: wanting(method) for name, method in self.methods.items()}
        return {name: words for name, words in found.items() if words}

    @cached_property
    def examples(self) -> dict[str, list[Example]]:
        """By split; the validation split only where there is tuning."""
        found = {split: list(self.task.examples(split)) for split in ("test", *(["validation"] if self.trials else []))}
        for split, examples in found.items():
            if not examples:
                raise ValueError(f"the task {identity_of(self.task)} has no {split} examples")
            for id, count in Counter(example.id for example in examples).items():
                if count > 1 or not id:
                    raise ValueError(f"{count} {split} examples have the id {id!r}; each needs one of its own")
        if both := {e.id for e in found["test"]} & {e.id for e in found.get("validation", [])}:
            raise ValueError(f"example {min(both)!r} is in both the test and the validation split")
        return found

    @cached_property
    def points(self) -> dict[str, list[Any]]:
        """Contender -> the configurations that tuning tries, the given one first; only of those that have several."""
        if not self.trials:
            return {}
        settings = getattr(self.opened, "settings", None) if self.hole.per_seed else None
        found = {}
        for name, method in self.methods.items():
            if name not in self.lacking:
                given = self.tune.get(name, self.tune.get(short(name)))
                grid = given or tuning.default_grid(method, settings.learning_rate if settings else None)
                if grid:
                    found[name] = tuning.points(name, method, grid, self.trials, settings)
        return found

    def check(self) -> None:
        """Everything that can be found out before any work."""
        if len(self.lacking) == len(self.methods):
            each = "; ".join(f"{name} needs {', '.join(words)}" for name, words in self.lacking.items())
            raise NotOffered(f"no contender can run on this model: {each}")
        if self.baseline in self.lacking:
            words = ", ".join(self.lacking[self.baseline])
            raise NotOffered(
                f"the baseline {self.baseline} needs {words}, which this model or task lacks; name another baseline"
            )
        if self.trials and self.measures[0].higher_is_better is None:
            raise ValueError(
                f"tuning needs a leading measure with a direction, but {self.measures[0].name} of "
                f"{identity_of(self.task)} has none; use trials=0 or another task"
            )
        if self.trials and self.measures[0].pooled:
            raise ValueError(
                f"tuning needs a leading measure of single examples, but {self.measures[0].name} of "
                f"{identity_of(self.task)} is of all together; use trials=0 or another task"
            )
        for example in itertools.chain(*self.examples.values()):
            self.hole.check(self.opened, self.task, example, self.budget)
        _ = self.points

    # Units ---------------------------------------------------------------------------------------------------------

    def work(self, folder: Path) -> Work:
        """What a worker needs to do any unit."""
        tried = {described(point): point for points in self.points.values() for point in points}
        return Work(
            kind=self.kind,
            methods={**self.methods, **tried},
            system=_Elsewhere(self.system, self.opened),
            task=self.task,
            examples={example.id: example for split in self.examples.values() for example in split},
            budget=self.budget,
            tuning_budget=self.budget.share(self.trial_share) if self.hole.per_seed else self.budget,
            scales=self.scales,
            folder=folder,
        )

    def tuning_units(self) -> list[Unit]:
        """Every point of every grid on the validation split, with one seed that the comparison does not use."""
        return [
            unit
            for name, points in self.points.items()
            for trial, point in enumerate(points)
            for unit in self._units(name, described(point), "tune", 0, self.examples["validation"], trial)
        ]

    def scoring_units(self, chosen: Mapping[str, int | None]) -> list[Unit]:
        """Contenders meet on each example, and take turns at going first, so that none gains by when it runs."""
        configs = {
            name: described(self.points[name][chosen.get(name) or 0]) if name in self.points else name
            for name in self.methods
            if name not in self.lacking
        }
        tests, names = self.examples["test"], list(configs)
        if self.hole.systems:  # one model after another, since only one is open at a time
            each = itertools.product(names, self.seeds)
            return [unit for name, seed in each for unit in self._units(name, name, "score", seed, tests)]
        groups = [tests] if self.hole.per_seed else [[example] for example in tests]
        phases = [*(("scale", at) for at in range(len(self.scales))), ("score", None)]
        return [
            unit
            for turn, (seed, group) in enumerate(itertools.product(self.seeds, groups))
            for phase, trial in phases
            for name in names[turn % len(names) :] + names[: turn % len(names)]
            for unit in self._units(name, configs[name], phase, seed, group, trial)
        ]

    def chosen(self, records: Sequence[Record]) -> dict[str, int | None]:
        """The best trial of each contender that was tuned."""
        leading, found = self.measures[0], {}
        for name in self.points:
            tried = [record for record in records if record["phase"] == "tune" and record["contender"] == name]
            scores = tuning.trial_scores(leading.name, self.weights, tried)
            found[name] = tuning.best_trial(scores, leading.higher_is_better)
        return found

    def _units(
        self, name: str, config: str, phase: str, seed: int, examples: Sequence[Example], trial: int | None = None
    ) -> list[Unit]:
        if self.hole.per_seed:
            shares = {"tune": self.trial_share, "scale": self.scales[trial or 0] if phase == "scale" else 1.0}
            share = shares.get(phase, 1.0)
            return [Unit(name, config, phase, seed, tuple(example.id for example in examples), trial, 100.0 * share)]
        if self.hole.systems:
            return [Unit(name, config, phase, seed, (example.id,), trial) for example in examples]
        each = self.budget.amount if self.budget.unit == "new_tokens" else 1.0
        return [Unit(name, config, phase, seed, (example.id,), trial, each * rows_of(example)) for example in examples]

    # Words ---------------------------------------------------------------------------------------------------------

    def asked(self, folder: str | Path, title: str, command: str) -> dict[str, Any]:
        """The comparison as JSON: what identifies it, how to run it again, and what a report shows of it."""
        content = [[e.id, e.text, e.cluster, _content(e.fields)] for split in self.examples.values() for e in split]
        asked = {
            "format": FORMAT,
            "identity": {
                "kind": self.kind,
                "contenders": list(self.methods),
                "baseline": self.baseline,
                "system": self.system_facts,
                "task": identity_of(self.task),
                "examples": sha256(json.dumps(content, sort_keys=True).encode()),
                "budget": [self.budget.unit, self.budget.amount, self.budget.tolerance],
                "seeds": list(self.seeds),
                **({"scales": list(self.scales)} if self.scales else {}),
                "trials": self.trials,
                **({} if self.equal_shares else {"trial_share": self.trial_share}),
                "tried": {name: [described(point) for point in points] for name, points in self.points.items()},
            },
            "again": {
                "contenders": [_rebuildable(method, built, self.kind) for method in self.methods.values()],
                "task": _rebuildable(self.task, task_of),
                "system": self._system_again(),
                "tune": {who: {key: list(values) for key, values in grid.items()} for who, grid in self.tune.items()},
                "name": title,
            },
            "shown": {
                "title": title or f"{self.kind.capitalize()} on {self.system_facts['name']}",
                "question": self.hole.question.format(task=self._asked_by(), budget=self.budget),
                "task": {
                    "name": short(identity_of(self.task)),
                    "config": identity_of(self.task),
                    "examples": len(self.examples["test"]),
                },
                "system": self.system_facts,
                "budget": None if self.hole.systems else {**dataclasses.asdict(self.budget), "text": str(self.budget)},
                "measures": [dataclasses.asdict(measure) for measure in self.measures],
                "weights": dict(self.weights),
                "per_seed": self.hole.per_seed,
                "once": self.hole.once,
                "systems": self.hole.systems,
                "homes": dict(getattr(self.task, "homes", {})),
                "leading": list(getattr(self.task, "leading", ())),
                "tasks": self._tasks(),
                "tuning": self._tuning_words(),
                "contenders": [self._contender(name, method) for name, method in self.methods.items()],
                "examples": [
                    {
                        "id": example.id,
                        "cluster": example.cluster,
                        "group": _group(example),
                        "prompt": example.text[:LONGEST_PROMPT],
                    }
                    for example in self.examples["test"]
                ],
                "by_group": dataclasses.asdict(self.shown) if self.shown is not None else None,
                "command": command or _again(folder),
            },
        }
        return json.loads(json.dumps(asked))  # as it is read back, so that the two can be compared

    def _contender(self, name: str, method: Any) -> dict[str, Any]:
        words = ", ".join(self.lacking.get(name, ()))
        return {
            "name": self.labels.get(name) or short_names(list(self.methods))[name],
            "config": name,
            "baseline": name == self.baseline,
            "lossless": holes.lossless(self.kind, method),
            "note": f"not applicable, needs {words}" if words else "",
            "tunable": not self.hole.systems
            and (self.hole.per_seed or (dataclasses.is_dataclass(method) and bool(dataclasses.fields(method)))),
            "tuned": name in self.points,
            "edges": tuning.edges(self.points[name], getattr(self.system, "settings", None))
            if name in self.points
            else {},
        }

    @cached_property
    def system_facts(self) -> dict[str, Any]:
        """The fixed rest of the pipeline, in the words of a report."""
        if not hasattr(self.opened, "model"):
            return self.opened.facts()
        facts = facts_of(self.opened)
        return {name: facts[name] for name in ("name", "config", "fingerprint", "dtype", "parameters")}

    def _asked_by(self) -> str:
        """The task in words; several by their labels, many by their number."""
        labels = list(getattr(self.task, "of", ()))
        if len(labels) > NAMED_TASKS:
            return f"{len(labels)} tasks, {', '.join(labels[:3])} and others"
        return ", ".join(labels) if labels else _spoken(self.task)

    def _tasks(self) -> dict[str, Any]:
        """Of several tasks, what each is: by its label, its text, its method's title and source, its examples."""
        found = {}
        for label, task in getattr(self.task, "of", {}).items():
            card = card_of(task)
            ours = sum(example.fields.get("group") == label for example in self.examples["test"])
            found[label] = {
                "config": identity_of(task), "title": card.title, "source": card.source, "examples": ours,
                "said": dict(getattr(task, "said", {})),
            }  # fmt: skip
        return found

    def _system_again(self) -> dict[str, Any] | None:
        if isinstance(self.system, Models):
            return {"contenders": len(self.methods)}
        if isinstance(self.system, holes.RESTS):
            return {"training": words} if (words := self.system.text()) else None
        named = named_of(self.system)
        return {"named": dataclasses.asdict(named)} if named is not None else None

    def _tuning_words(self) -> str:
        if not self.trials:
            return "no contender was tuned"
        if not self.hole.per_seed:
            share = "the same budget on each validation example"
        elif self.equal_shares:
            share = "another budget in equal shares"
        elif self.trial_share == 1:
            share = "the whole budget each"
        else:
            share = f"{self.trial_share:.3g} of the budget each"
        return f"{self.trials} trials for each of {len(self.points)} contenders; its trials had {share}"


def named_of(system: Any) -> Named | None:
    """How a system is opened again from where it came; None for one that was made in memory."""
    if isinstance(system, Named):
        return system
    if isinstance(system, System) and system.source:
        return Named(system.source, dtype=system.model.precision, device=str(system.model.device))
    return None


def short(words: str) -> str:
    """'min_p(floor=0.1)' -> 'min_p'."""
    return words.partition("(")[0]


def short_names(texts: Sequence[str]) -> dict[str, str]:
    """The bare name where one contender alone has it, else the whole text."""
    count = Counter(map(short, texts))
    return {words: short(words) if count[short(words)] == 1 else words for words in texts}


def _spoken(task: Any) -> str:
    """A task within a sentence: its title, or its name where it has no card."""
    title = card_of(task).title or short(identity_of(task))
    return title[:1].lower() + title[1:]


def identity_of(task: Any) -> str:
    """A task in at most 300 characters, the same for the same task: its text, or its name and a hash of the text."""
    words = text.describe(task)
    return (
        words if len(words) <= 300 else f"{short(words)}(sha256 {sha256(words.encode('utf-8', 'surrogatepass'))[:16]})"
    )


def built(kind: str, words: str) -> Any:
    """What a folder's text describes: a method of a kind, or a model."""
    return contender(words) if holes.hole(kind).systems else text.build(kind, words, longest=None)


def task_of(words: str) -> Any:
    """The task that a folder's text describes."""
    return text.build("evaluation", words, longest=None)


def _rebuildable(thing: Any, build: Callable[..., Any], *before: str) -> str | None:
    """The text from which the same thing can be built; None where there is none."""
    words = text.describe(thing)
    if len(words) > LONGEST_TEXT:
        return None
    try:
        return words if build(*before, words) == thing else None
    except (ValueError, TypeError, LookupError):
        return None


def _group(example: Example) -> str:
    said = getattr(example, "group", "") or example.fields.get("group") or example.fields.get("kind") or ""
    return str(said)


def _content(value: Any) -> Any:
    """What an example holds besides its text, as JSON that is the same for the same content."""
    if isinstance(value, Mapping):
        return {str(key): _content(item) for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_content(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _content(dataclasses.asdict(value))
    return value if value is None or isinstance(value, (bool, int, float, str)) else type(value).__name__


def _again(folder: str | Path) -> str:
    code = f"from trivium import Comparison; Comparison.load({str(folder)!r}).run({str(folder) + '-again'!r})"
    return shlex.join(["python", "-c", code])


class _Elsewhere:
    """A system that is open here; a copy sent to another process is opened there, from its source where it has one."""

    def __init__(self, given: Any, opened: Any) -> None:
        self.given, self.opened = given, opened

    def open(self) -> Any:
        if self.opened is None:
            self.opened = self.given.open() if hasattr(self.given, "open") else self.given
        return self.opened

    def __getstate__(self) -> dict[str, Any]:
        return {"given": named_of(self.given) or self.given, "opened": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
