"""Units of work: what one contender does on one example with one seed, or in one training, as records.

A ``Work`` holds all that is needed to do any unit, and can be sent to another process. Units do not depend on each
other or on their order. A contender that fails at a unit (too much spent, numbers that are not finite, input that it
refuses) gives a record with the reason; anything else is a fault of the program and ends the run.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from trivium.compare.holes import Hole, hole
from trivium.compare.training import TrainedSystem
from trivium.core import meter, seeds
from trivium.core.budget import Budget, Spent
from trivium.core.errors import BadAnswer, NotFinite, TriviumError, Unreachable
from trivium.core.files import sha256
from trivium.core.nouns import Example, Observation
from trivium.core.progress import Bar
from trivium.models import answers
from trivium.models.answers import AnswerCache

GIVEN_UP = 2
"""Tasks after which a server that fails is not asked any more."""
FAILURES = (TriviumError, ValueError, ArithmeticError, RuntimeError)
"""What a contender may fail with; RuntimeError is what PyTorch raises, out of memory included."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Unit:
    """One contender with one seed on some examples: one example where the hole is filled per example, all that are
    still missing where it is trained. ``config`` is what runs, which tuning may have changed from ``contender``."""

    contender: str
    config: str
    phase: str
    seed: int
    examples: tuple[str, ...]
    trial: int | None = None
    cost: float = 1.0


@dataclass(frozen=True)
class Work:
    """Everything fixed, and the contenders by their configuration."""

    kind: str
    methods: Mapping[str, Any]
    system: Any
    """A System, a Training, or something with ``open()`` that gives one, opened where the work is done."""
    task: Any
    examples: Mapping[str, Example]
    """Of the test and, where there is tuning, the validation split."""
    budget: Budget
    tuning_budget: Budget
    folder: Path
    scales: Sequence[float] = ()
    """Shares of the budget of the phase "scale", by the number that a unit has as its trial."""
    _opened: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {"elsewhere": True}}

    @property
    def hole(self) -> Hole:
        return hole(self.kind)

    def opened(self) -> Any:
        """The system, loaded once per process."""
        if "system" not in self._opened:
            self._opened["system"] = self.system.open() if hasattr(self.system, "open") else self.system
        return self._opened["system"]

    def do(self, unit: Unit, bar: Bar | None = None) -> Iterator[Record]:
        """Do one unit; its records come as they are finished. The bar advances by ``unit.cost`` in all."""
        if self.hole.systems:
            yield self._weigh(unit, unit.examples[0], bar)
            if bar is not None:
                bar.advance(unit.cost)
        elif self.hole.fill is not None:
            yield self._fill(unit, unit.examples[0])
            if bar is not None:
                bar.advance(unit.cost)
        else:
            yield from self._train(unit, bar)

    def _budget(self, unit: Unit) -> Budget:
        if unit.phase == "scale":
            return replace(self.budget, amount=self.budget.amount * self.scales[unit.trial or 0])
        return self.tuning_budget if unit.phase == "tune" else self.budget

    def _fill(self, unit: Unit, example_id: str) -> Record:
        example, system = self.examples[example_id], self.opened()
        found = self._found(unit) if self.hole.once else self._filled(unit, example)
        if isinstance(found.output, Exception):
            return _record(unit, example_id, found.spent, found.output)
        try:
            seen = self.task.score(system, example, found.output)
            made = _record(unit, example_id, found.spent, seen, self.hole.show(system, found.output))
            timed = getattr(self.task, "timed", False)  # then a repeat is worth its while even if nothing is drawn
            return made | {"drew": timed or found.drew}
        except FAILURES as error:
            return _record(unit, example_id, found.spent, error)

    def _weigh(self, unit: Unit, example_id: str, bar: Bar | None) -> Record:
        """A model on one example. What it answers is kept in the folder, so that a task that asks all of its questions
        together need not ask them again after a stop. What a server failed at, after all its retries, is not asked
        again for every other example of the task, nor anything once several tasks have come to that."""
        example, system = self.examples[example_id], self.opened().opened(self.methods[unit.config])
        lost = self._opened.setdefault(("lost", unit.config), {})
        task = example.fields.get("group", "")
        if task in lost or len(lost) >= GIVEN_UP:
            return _record(unit, example_id, Spent(), lost.get(task) or next(iter(lost.values()))) | {"drew": False}
        counted = meter.Meter(who=unit.contender)
        try:
            with counted, answers.keeping(self._answers(system), bar):
                seen: Observation | Exception = self.task.score(system, example, None)
        except FAILURES as error:
            seen = error
            if isinstance(error, (Unreachable, BadAnswer)):
                lost[task] = error
        made = _record(unit, example_id, counted.spent, seen, {"prompt": example.text})
        return made | {"drew": False}

    def _answers(self, system: Any) -> AnswerCache | None:
        """The answers of this model in the folder; of one process only, and of a model that can be told from others."""
        if "elsewhere" in self._opened or not getattr(system, "fingerprint", ""):
            return None
        of, cache = self._opened.get("answers", (None, None))
        if of is not system:
            if cache is not None:
                cache.close()
            cache = AnswerCache(self.folder / "answers", system)
            self._opened["answers"] = system, cache
        return cache

    def close(self) -> None:
        """Let go of what is open in the folder."""
        if (held := self._opened.pop("answers", None)) is not None:
            held[1].close()

    def _found(self, unit: Unit) -> "_Filled":
        """What the contender gives once for all examples of a seed. It is the same in every process, and each record
        says what it cost."""
        key = ("found", unit.config, unit.phase, unit.seed)
        if key not in self._opened:
            self._opened[key] = self._filled(unit, None)
        return self._opened[key]

    def _filled(self, unit: Unit, example: Example | None) -> "_Filled":
        """The contender at work, under its budget."""
        system, budget = self.opened(), self._budget(unit)
        assert self.hole.fill is not None
        if example is not None and budget.unit == "new_tokens":  # those of a row; an example may be a batch of them
            budget = replace(budget, amount=budget.amount * rows_of(example))
        device = system.model.device if hasattr(system, "model") else "cpu"
        names = (self.kind,) if example is None else (example.id, self.kind)
        generator = seeds.generator(seed_of(unit), *names, device=device)
        fresh = generator.get_state()
        counted = meter.Meter(budget, who=unit.contender)
        try:
            with counted:
                output = self.hole.fill(
                    self.methods[unit.config], system, self.task, example, self._budget(unit), generator
                )
        except FAILURES as error:
            output = error
        return _Filled(output, counted.spent, not torch.equal(fresh, generator.get_state()))

    def _train(self, unit: Unit, bar: Bar | None) -> Iterator[Record]:
        assert self.hole.train is not None
        budget, examples = self._budget(unit), [self.examples[name] for name in unit.examples]
        evaluation = unit.cost * EVALUATION_SHARE if unit.examples else 0.0
        part = _Part(bar, unit.cost - evaluation)
        phase = f"scale{unit.trial}" if unit.phase == "scale" else unit.phase
        home = self.folder / "trainings" / f"{sha256(unit.config.encode())[:12]}-{phase}-{unit.seed}"
        counted = meter.Meter(who=unit.contender)
        try:
            with counted:
                trained = self.hole.train(
                    self.methods[unit.config], self.opened(), seed_of(unit), budget, home, part.bar
                )
            budget.check(unit.contender, trained.spent)
            yield _record(unit, "", trained.spent, Observation(trained.facts, _told(trained)))
        except FAILURES as error:
            yield _record(unit, "", counted.spent, error)
            if bar is not None:
                part.finish()
                bar.advance(evaluation)
            return
        part.finish()
        for example in examples:
            scored = meter.Meter(who=unit.contender)
            try:
                with scored:
                    observation: Observation | Exception = self.task.score(trained.system, example, None)
            except FAILURES as error:
                observation = error
            yield _record(unit, example.id, scored.spent, observation)
            if bar is not None:
                bar.advance(evaluation / len(examples))


@dataclass(frozen=True)
class _Filled:
    """What a contender gave, or what it failed with; what that took; and whether it drew random numbers."""

    output: Any
    spent: Spent
    drew: bool


EVALUATION_SHARE = 0.1
"""Share of a training unit on the bar that stands for scoring the examples."""


class _Part:
    """A bar of its own for one training, shown as its share of the whole bar."""

    def __init__(self, whole: Bar | None, share: float) -> None:
        self.whole, self.share, self.given = whole, share, 0.0
        self.bar = _Scaled(1.0, part=self) if whole is not None else None

    def show(self, done: float, note: str | None) -> None:
        assert self.whole is not None
        upto = min(max(done, 0.0), 1.0) * self.share
        self.whole.advance(max(upto - self.given, 0.0), note)
        self.given = max(upto, self.given)

    def finish(self) -> None:
        if self.whole is not None:
            self.show(1.0, None)


@dataclass
class _Scaled(Bar):
    """What a training gets for a bar: it sets its own ``total``."""

    part: _Part | None = None

    def advance(self, amount: float = 1.0, note: str | None = None) -> None:
        self.done += amount
        if self.part is not None and self.total > 0:
            self.part.show(self.done / self.total, note)

    def note(self, text: str) -> None:
        if self.part is not None and self.part.whole is not None:
            self.part.whole.note(text)

    def say(self, text: str) -> None:
        if self.part is not None and self.part.whole is not None:
            self.part.whole.say(text)


def _told(trained: TrainedSystem) -> dict[str, Any]:
    return {"curve": trained.curve, "positions": trained.positions}


def rows_of(example: Example) -> int:
    """How many rows an example puts to a decoder at once."""
    return int(example.fields.get("rows", 1))


def seed_of(unit: Unit) -> int:
    """Tuning never sees the seeds of the comparison."""
    return seeds.derive(unit.seed, "tune") if unit.phase == "tune" else unit.seed


def repeated(unit: Unit, records: Mapping[tuple[str, str, str, int | None], Record]) -> Record | None:
    """The record of a unit that need not be done: with another seed it drew nothing, so it would do the same again."""
    if len(unit.examples) != 1:
        return None
    known = records.get((unit.config, unit.examples[0], unit.phase, unit.trial))
    if known is None:
        return None
    return {**known, "contender": unit.contender, "seed": unit.seed, "repeats": known["seed"]}


def _record(
    unit: Unit, example: str, spent: Spent, result: Observation | Exception, shown: Mapping[str, Any] | None = None
) -> Record:
    values: dict[str, float] = {}
    output: Mapping[str, Any] = {}
    if isinstance(result, Observation):
        values = {name: float(value) for name, value in result.values.items()}
        output = {**(shown or {}), **result.shown}
        wrong = [name for name, value in values.items() if not math.isfinite(value)]
        if wrong:
            result = NotFinite(f"{unit.contender} measured {wrong[0]} = {values[wrong[0]]} on {example or 'training'}")
            values = {}
        elif not all(math.isfinite(x) for vector in result.vectors.values() for x in vector):
            result, values = NotFinite(f"{unit.contender} gave a vector that is not finite on {example}"), {}
    vectors = _rounded(result.vectors) if isinstance(result, Observation) else {}
    return {
        "contender": unit.contender,
        "config": unit.config,
        "phase": unit.phase,
        "trial": unit.trial,
        "seed": unit.seed,
        "example": example,
        "values": values,
        "spent": spent.to_dict(),
        "output": _jsonable(output),
        **({"vectors": vectors} if vectors else {}),
        "error": {"type": type(result).__name__, "message": str(result)} if isinstance(result, Exception) else None,
    }


def _rounded(vectors: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Five significant figures: what is pooled is unharmed, and the line half as long."""
    return {name: [float(f"{float(x):.5g}") for x in vector] for name, vector in vectors.items()}


def _jsonable(value: Any) -> Any:
    """Plain JSON values; numbers of numpy and torch become Python's, numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return _jsonable(value.tolist())
    if isinstance(value, Sequence):
        return [_jsonable(item) for item in value]
    return str(value)
