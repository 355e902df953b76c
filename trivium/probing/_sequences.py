"""Probes that read whole sequences: words by sentence, leaves by tree, and gradient steps on batches of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core import meter

FEWEST = 10
"""Groups below which none is held out to tell when to stop."""


ENOUGH = 1e-4
"""Share of the loss by which an epoch must lower it to count as better, so that training ends."""


@dataclass(frozen=True)
class Sequences:
    """``rows`` (groups, longest) where in the examples each member stands, in their order; ``real`` marks members."""

    rows: Tensor
    real: Tensor

    @staticmethod
    def of(groups: Tensor) -> "Sequences":
        """Of groups numbered from 0; members keep their order."""
        order = groups.argsort(stable=True)
        sizes = torch.bincount(groups)
        real = torch.arange(int(sizes.max()), device=groups.device) < sizes[:, None]
        rows = torch.zeros(real.shape, dtype=torch.int64, device=groups.device)
        rows[real] = order
        return Sequences(rows, real)

    def __len__(self) -> int:
        return len(self.rows)

    def of_groups(self, some: Tensor) -> "Sequences":
        """Some of the groups, no longer than the longest of them."""
        real = self.real[some]
        longest = int(real.sum(1).max())
        return Sequences(self.rows[some, :longest], real[:, :longest])

    def back(self, values: Tensor) -> Tensor:
        """(groups, longest, ...) -> (examples, ...)"""
        found = torch.zeros(int(self.real.sum()), *values.shape[2:], dtype=values.dtype, device=values.device)
        found[self.rows[self.real]] = values[self.real]
        return found


def one_tree(groups: Tensor | None, examples: int) -> Tensor:
    """Groups, all examples being one where nothing is said."""
    return torch.zeros(examples, dtype=torch.int64) if groups is None else groups


@dataclass(frozen=True)
class Steps:
    """Adam in batches of groups. The rate falls to a tenth whenever an epoch does not lower the loss of the groups that
    are held out (a share ``validation`` of them), and the best weights are kept; it ends after ``patience`` epochs
    without a better one."""

    rate: float
    batch_size: int
    epochs: int
    patience: int
    validation: float

    def __call__(
        self,
        weights: Sequence[Tensor],
        sequences: Sequences,
        loss: Callable[[Sequences], Tensor],
        penalty: Callable[[], Tensor],
        generator: torch.Generator,
    ) -> None:
        """Change the weights in place, to the best that were seen."""
        count = len(sequences)
        order = torch.randperm(count, generator=generator)
        held = round(self.validation * count) if count >= FEWEST else 0
        kept, out = order[held:], order[:held]
        solver = torch.optim.Adam(weights, lr=self.rate)
        plan = torch.optim.lr_scheduler.ReduceLROnPlateau(solver, factor=0.1, patience=0)
        best, since = torch.finfo(torch.float64).max, 0
        saved = [weight.detach().clone() for weight in weights]
        with torch.enable_grad():
            for _ in range(self.epochs):
                learned = 0.0
                for some in kept[torch.randperm(len(kept), generator=generator)].split(self.batch_size):
                    batch = sequences.of_groups(some.to(sequences.rows.device))
                    meter.spend(evaluations=int(batch.real.sum()))
                    solver.zero_grad()
                    cost = loss(batch)
                    (cost + penalty()).backward()
                    solver.step()
                    learned += float(cost.detach()) * len(some)
                with torch.no_grad():
                    value = learned / len(kept)
                    if held:
                        batches = [sequences.of_groups(some.to(sequences.rows.device)) for some in out.split(256)]
                        meter.spend(evaluations=sum(int(batch.real.sum()) for batch in batches))
                        value = sum(float(loss(batch)) * len(batch) for batch in batches) / held
                plan.step(value)
                since = 0 if value < best - ENOUGH * abs(best) else since + 1
                if value < best:
                    best = value
                    for into, weight in zip(saved, weights, strict=True):
                        into.copy_(weight.detach())
                if since >= self.patience:
                    break
        with torch.no_grad():
            for weight, into in zip(weights, saved, strict=True):
                weight.copy_(into)
                weight.requires_grad_(False)


def check_steps(rank: int | None, rate: float, validation: float, **counts: int) -> None:
    """Raise ValueError for settings of training that cannot be."""
    if rank is not None and rank < 1:
        raise ValueError(f"rank must be at least 1, got {rank}")
    if not 0.0 < rate < float("inf"):
        raise ValueError(f"rate must be positive and finite, got {rate}")
    if not 0.0 <= validation < 1.0:
        raise ValueError(f"validation is a share of the groups, 0 to below 1; got {validation}")
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
