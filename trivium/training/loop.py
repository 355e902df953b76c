"""The one training loop.

Whatever is random in a step is drawn from generators keyed by the seed and the step, and a batch is a function of its
step; so a run that was killed at any moment goes on from its last checkpoint to bitwise the same weights on a CPU.
"""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trivium.core import files
from trivium.core.budget import Budget, Spent
from trivium.core.capabilities import require_offers
from trivium.core.errors import BudgetExceeded
from trivium.core.meter import Meter
from trivium.core.method import card_of
from trivium.core.method import settings as settings_of
from trivium.core.progress import Bar
from trivium.core.protocols import LanguageModel, Objective
from trivium.training.checkpoint import Checkpoint, Checkpoints, restore
from trivium.training.execution import executed
from trivium.training.feed import Batches, Feed
from trivium.training.ledger import Ledger, affordable, cost_of_a_step
from trivium.training.parallel import World, agree, shard
from trivium.training.pipeline import Pipeline
from trivium.training.record import Curve, Row, finite, known_run, note_run
from trivium.training.settings import TrainingSettings
from trivium.training.trackers import Tracker
from trivium.training.update import Updater

log = logging.getLogger(__name__)

PATIENCE = 50
"""A run has diverged once so many losses in a row exceed the first one by more than 1."""

FREE = ("keep", "checkpoint_every", "recompute", "mesh")
"""Settings that may change when a run goes on."""

Evaluate = Callable[[LanguageModel], dict[str, float]]
Sample = Callable[[LanguageModel], str]


@dataclass(frozen=True)
class TrainingResult:
    """What came of a training run."""

    steps: int
    """Updates in the curve, by this call and those that it resumed."""
    curve: tuple[Row, ...]
    spent: Spent
    """By all processes; what was lost to a kill and done again counts once."""
    diverged: str | None = None
    """Why the run was ended early; None where it was not."""

    @property
    def loss(self) -> float:
        """The training loss of the last step; NaN where it was not finite."""
        last = self.curve[-1]["loss"] if self.curve else None
        return math.nan if last is None else last

    @property
    def evaluation(self) -> dict[str, float]:
        """The figures of the last evaluation; empty where there was none."""
        return next((row["evaluation"] for row in reversed(self.curve) if "evaluation" in row), {})


def train(
    model: LanguageModel,
    objective: Objective,
    batches: Batches,
    settings: TrainingSettings,
    *,
    folder: str | Path | None = None,
    budget: Budget | None = None,
    evaluate: Evaluate | None = None,
    sample: Sample | None = None,
    trackers: Sequence[Tracker] = (),
    bar: Bar | None = None,
) -> TrainingResult:
    """Train ``model`` in place.

    With a folder the run leaves ``run.json``, ``curve.jsonl`` and ``checkpoints/`` there, and goes on from the newest
    whole checkpoint if it finds one. With a budget and no ``settings.steps``, as many steps are made as it pays for at
    the cost measured on a real step, or fewer where later ones are dearer. ``evaluate`` maps the model to figures,
    ``sample`` to a text that stands in the curve beside them; what they spend is not training and counts towards no
    budget. ``trackers`` are told every row. Under torchrun the processes share the work as ``settings.mesh`` says, and
    the model comes back in parts; the last checkpoint has it whole. A model in stages writes no samples, for it keeps
    no state.

    Raises BudgetExceeded where more is spent than promised, RunBusy where another process is at work in the folder,
    RunMismatch where the folder holds another run, NotOffered where the objective does not suit the model. A loss that
    diverges is a result, not an error.
    """
    who = f"training with {card_of(objective).name}"
    require_offers(who, model, card_of(objective).needs)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("no parameter of this model requires a gradient, so there is nothing to train; unfreeze some")
    if settings.steps is None and budget is None:
        raise ValueError("training has no end: give settings.steps or a budget")
    home = None if folder is None else Path(folder)
    device = model.device
    world = World.join(device, settings.mesh)

    with contextlib.ExitStack() as stack:
        if home is not None:
            world.lead(lambda: stack.enter_context(files.locked(home)))
        stack.enter_context(_prepared(model))
        meter = stack.enter_context(Meter())
        feed = stack.enter_context(Feed(batches, world, device))
        size = sum(parameter.numel() for parameter in model.parameters())
        agree(model, world)
        pipeline = Pipeline(model, world) if world.degree("pp") > 1 else None
        shard(model, world, None if pipeline is None else pipeline.stage)
        stack.enter_context(executed(model, settings))
        update = Updater(model, objective, settings, world, pipeline)

        facts = {
            "settings": {name: value for name, value in settings_of(settings).items() if name not in FREE},
            "objective": _described(objective),
            "budget": None if budget is None else settings_of(budget),
            "parameters": size,
            "data": feed.fingerprint(),
        }
        known = world.lead(lambda: None if home is None else known_run(home, facts))
        if known is not None:
            steps: int = known["steps"]
        else:
            steps = settings.steps or 0
            if budget is not None and not (settings.steps and budget.unit == "seconds"):
                cost = cost_of_a_step(update, feed, meter, budget)
                steps = world.lead(lambda: affordable(who, cost, budget, settings.steps))
            if home is not None:
                world.lead(lambda: note_run(home, {**facts, "steps": steps}))

        checkpoints = None if home is None else Checkpoints(home / "checkpoints", settings.keep)

        def look() -> Checkpoint | None:
            if checkpoints is None:
                return None
            checkpoints.tidy()
            return checkpoints.latest()

        found, start = world.lead(look), 0
        so_far: Mapping[str, Any] = {"curve": [], "spent": Spent().to_dict()}
        if found is not None:
            start, so_far = found.step, found.facts
            restore(found, model, update.optimizers, world)
            log.info("going on from step %d of %d", start, steps)
        curve = Curve(home / "curve.jsonl" if home is not None and world.first else None, so_far["curve"])
        stack.callback(curve.close)
        told = trackers if world.first else ()
        for one in told:
            stack.callback(one.close)
            one.start(facts, start)
        ledger = Ledger(meter, Spent(**so_far["spent"]), world, device)
        share = bar.total / steps if bar is not None else 0.0
        if bar is not None and start:
            bar.advance(start * share)

        def save(step: int) -> None:
            if checkpoints is not None:
                state = {"curve": [finite(row) for row in curve.rows], "spent": ledger.spent.to_dict()}
                checkpoints.write(step, model, update.optimizers, state, world)

        def record(row: Row, figures: Tensor, *, evaluated: bool = False) -> None:
            loss, norm, count = figures.tolist()
            if count == 0:
                raise ValueError(f"the batch of step {row['step']} has no token to predict; drop empty documents")
            row |= {"loss": loss, "gradient_norm": norm}
            if evaluated and math.isfinite(loss):
                with ledger.paused(), _evaluating(model):
                    seen = model if pipeline is None else pipeline.whole
                    if evaluate is not None:
                        row["evaluation"] = {name: float(value) for name, value in evaluate(seen).items()}
                    if sample is not None and "state" in seen.offers:
                        row["sample"] = sample(seen)
            curve.append(row)
            for one in told:
                one.row(row)
            if bar is not None and world.first and "sample" in row:
                bar.say(f"step {row['step'] + 1}: {row['sample']}")
            if bar is not None:
                bar.advance(share, note=f"loss {loss:.3f}, {row['tokens'] / row['seconds']:.0f} tokens/s")

        reason = diverged(curve.rows)
        unread: tuple[Row, Tensor] | None = None
        purse = _Purse(None if settings.steps else budget, curve.rows)
        for step, batch, tokens in feed.walk(steps if purse.empty else start, steps):
            with ledger.timed():
                figures = update(step, steps, batch, tokens)
            spent = ledger.spent
            row = {
                "step": step,
                "learning_rate": settings.rate(step, steps),
                "tokens": spent.tokens,
                "flops": spent.flops,
                "seconds": spent.seconds,
            }
            if unread is not None:  # figures are read a step late: they are there by now, and nothing waits for them
                record(*unread)
            unread = (row, figures)
            purse.pay(row)
            last = step + 1 == steps or purse.empty
            evaluates = last or _due(step, settings.evaluate_every)
            saves = last or _due(step, settings.checkpoint_every)
            check = partial(_overrun, who, spent, budget)
            over = world.lead(check) if budget is not None and budget.unit == "seconds" else check()  # clocks differ
            if evaluates or saves or over:
                record(*unread, evaluated=evaluates)
                unread = None
            reason = diverged(curve.rows)
            if reason is not None:
                log.warning("%s ended early: %s", who, reason)
                break
            if saves or over:
                save(step + 1)
            if over is not None:
                raise over
            if last:
                break
        return TrainingResult(len(curve.rows), tuple(curve.rows), ledger.spent, reason)


def diverged(curve: list[Row]) -> str | None:
    """Why a run has diverged: a loss that is not finite, or PATIENCE of them more than 1 above the first."""
    if not curve:
        return None
    first, last = curve[0]["loss"], curve[-1]["loss"]
    if last is None or not math.isfinite(last):
        return f"the loss was not finite at step {curve[-1]['step']}"
    if len(curve) > PATIENCE and all(row["loss"] > first + 1.0 for row in curve[-PATIENCE:]):
        return f"{PATIENCE} losses up to step {curve[-1]['step']} exceeded the first one, {first:.3f}, by more than 1"
    return None


def _due(step: int, every: int | None) -> bool:
    return every is not None and (step + 1) % every == 0


class _Purse:
    """Whether the budget still pays for a step as dear as the dearest one, where steps differ: a run that would exceed
    its budget ends a little before its schedule does. Clocks differ between processes, so seconds are not looked at."""

    def __init__(self, budget: Budget | None, curve: Sequence[Row]) -> None:
        self.budget = budget if budget is not None and budget.unit in ("flops", "tokens") else None
        self.spent = self.dearest = 0.0
        for row in curve:
            self.pay(row)

    def pay(self, row: Row) -> None:
        if self.budget is not None:
            self.dearest = max(self.dearest, row[self.budget.unit] - self.spent)
            self.spent = row[self.budget.unit]

    @property
    def empty(self) -> bool:
        budget = self.budget
        return budget is not None and self.spent + self.dearest > budget.amount * (1 + budget.tolerance)


def _overrun(who: str, spent: Spent, budget: Budget | None) -> BudgetExceeded | None:
    if budget is not None:
        try:
            budget.check(who, spent)
        except BudgetExceeded as error:
            return error
    return None


def _described(objective: Objective) -> object:
    """The objective as run.json holds it; one that is no dataclass goes by its name."""
    try:
        return {"method": card_of(objective).path, **settings_of(objective)}
    except TypeError:
        return getattr(objective, "__qualname__", type(objective).__qualname__)


@contextlib.contextmanager
def _prepared(model: nn.Module) -> Iterator[None]:
    """In training mode, and with the global generators given back as they were."""
    was = model.training
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        model.train()
        try:
            yield
        finally:
            model.train(was)


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train()
