"""What training has spent, what a step costs, and how many steps a budget pays for."""

import contextlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist

from trivium.core.budget import Budget, Spent
from trivium.core.errors import BudgetExceeded
from trivium.core.meter import Meter
from trivium.training.feed import Feed
from trivium.training.parallel import World, local
from trivium.training.update import Updater

REHEARSALS = 5
"""Timed steps from which a budget in seconds is turned into steps, after one that is not timed."""

SUMS = ("flops", "calls", "backwards", "evaluations", "positions", "new_tokens", "tokens")
SHARED = ("flops", "calls", "backwards", "evaluations", "positions")
"""Of these every process spends a part; tokens are counted for the whole batch."""


class Ledger:
    """The meter's sums since the ledger was opened, over all processes, without what happens while it is paused."""

    def __init__(self, meter: Meter, before: Spent, world: World, device: torch.device) -> None:
        self.meter, self.before, self.world, self.device = meter, before, world, device
        self.seconds = 0.0
        self.left_out: dict[str, Any] = dict.fromkeys(SUMS, 0)
        self.left_out = self._counted()

    def _counted(self) -> dict[str, Any]:
        spent = self.meter.spent
        return {name: getattr(spent, name) - self.left_out[name] for name in SUMS}

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Count the seconds of the block."""
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Count nothing of the block."""
        start = self._counted()
        yield
        for name, amount in self._counted().items():
            self.left_out[name] += amount - start[name]

    @property
    def spent(self) -> Spent:
        sums = self._everywhere(self._counted())
        return self.before + replace(Spent(**sums), seconds=self.seconds, peak_bytes=self.meter.spent.peak_bytes)

    def _everywhere(self, counted: dict[str, Any]) -> dict[str, Any]:
        """Over all processes. Those of one stage spend alike; those that share a matrix make one call together, but the
        operations of each are its own."""
        world = self.world
        if world.degree("pp") == 1:
            times = {name: world.size if name == "flops" else world.degree("dp") for name in SHARED}
            return {name: n * times.get(name, 1) for name, n in counted.items()}
        sums = torch.tensor([counted[name] for name in SHARED], dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        summed = dict(zip(SHARED, sums.tolist(), strict=True))
        each = {name: round(n if name == "flops" else n / world.degree("tp")) for name, n in summed.items()}
        return counted | each


def cost_of_a_step(update: Updater, feed: Feed, meter: Meter, budget: Budget) -> Spent:
    """What a real step costs, measured: one or a few are made, and the model is put back as it was."""
    tensors = [local(tensor) for tensor in (*update.model.parameters(), *update.model.buffers()) if not tensor.is_meta]
    before = [tensor.detach().clone() for tensor in tensors]
    batch, tokens = feed.make(0)
    ledger = Ledger(meter, Spent(), update.world, feed.device)
    update(0, 1, batch, tokens).tolist()
    cost = ledger.spent
    seconds = []
    for _ in range(REHEARSALS if budget.unit == "seconds" else 0):
        start = time.perf_counter()
        update(0, 1, batch, tokens).tolist()
        seconds.append(time.perf_counter() - start)
    with torch.no_grad():
        for tensor, value in zip(tensors, before, strict=True):
            tensor.copy_(value)
    update.renew()
    return replace(cost, seconds=statistics.median(seconds) if seconds else 0.0)


def affordable(who: str, cost: Spent, budget: Budget, steps: int | None) -> int:
    """The steps that a budget pays for, or the given ones if it pays for them; raises BudgetExceeded if not."""
    each = cost.of(budget.unit)
    if each <= 0:
        raise ValueError(f"a step of training spends no {budget.unit}; give its budget in flops, tokens or seconds")
    most = int(budget.amount / each * (1 + 1e-9))  # so that ten steps' worth is ten steps
    if steps is None and most < 1:
        raise BudgetExceeded(
            f"one step of {who} spends {each:.4g} {budget.unit}, more than the whole budget of {budget}"
        )
    if steps is None:
        return most
    spent = steps * each
    if spent > budget.amount * (1 + budget.tolerance):
        raise BudgetExceeded(
            f"{who} would spend {spent:.4g} of {budget.amount:.4g} {budget.unit} ({spent / budget.amount - 1:+.1%}); "
            f"the tolerance is {budget.tolerance:.0%}. Lower steps to {most}"
        )
    return steps
