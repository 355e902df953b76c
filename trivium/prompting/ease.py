"""EASE: search for one ordered tuple of exemplars that is good for every question, by a neural bandit.

Source
    Wu, Lin, Dai, Hu, Shu, Ng, Jaillet and Low 2024, "Prompt Optimization with EASE? Efficient Ordering-aware Automated
    Selection of Exemplars", arXiv:2405.16122, section 3 and the settings of the authors' code.
Equation
    h(E) = vector of the text of the ordered tuple E;   r(E) = accuracy of the validation items behind E
    f = network on h, fitted anew to all (h, r);   ucb(E) = f(E) + sqrt(reg explore sum_j g_j(E)^2 / U_j)
    candidates: of many random tuples those whose exemplars are nearest to the validation items by optimal transport
    next E = argmax ucb over candidates;   U += g(E)^2;   at the end the evaluated E of largest r
Shapes
    a worded task and a system -> the task with its exemplars
Cost
    ``evaluations`` times ``items`` prompts, one embedding per candidate, and each round ``steps`` of a small network.
Caveats
    A tuple that is best on a few items is partly lucky: it is evaluated once more on ``fresh`` items, and both numbers
    are logged. The authors take 165 evaluations of 5 exemplars, 40 of them at random, 50 candidates out of 2,500 in
    each of twenty batches and 1,000 steps; the defaults here are smaller, for small models and budgets. Their code
    updates U for the best candidate of every batch and lets labels take part in the transport; ``strict=False`` does
    the same. Sentence vectors come from the system's own states unless an encoder is named; a text that the encoder
    would cut is refused. Inputs are standardised by the data so far; what does not vary there stays 0. Where all
    rewards so far are alike there is nothing to fit, and the network is as it began.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.protocols import WordedTask
from trivium.models.system import System
from trivium.nn.neural_bandit import beginning, bounds, fitted, gradients, network
from trivium.nn.transport import transport_costs
from trivium.prompting._exemplars import (
    Arm,
    Embedder,
    Found,
    Trials,
    check_pool,
    embedder,
    found,
    orders,
    parted,
    worded,
    written,
)
from trivium.prompting._steps import Changed, require_worded

log = logging.getLogger(__name__)


@method(title="EASE", source="arXiv:2405.16122", year=2024, needs=["causal", "state"])
@dataclass(frozen=True)
class Ease:
    """The best of the tuples that a bandit has tried."""

    shots: int = 3
    """Exemplars of a tuple."""
    evaluations: int = 40
    """Tuples that are evaluated at most."""
    start: int = 15
    """Of which so many at random, to begin with."""
    items: int = 20
    """Validation items that a tuple is evaluated on."""
    fresh: int = 20
    """Further ones for the winner, as far as there are any."""
    candidates: int = 50
    """Tuples of a batch among which the bound decides."""
    draws: int = 50
    """Random tuples for each of them, of which transport keeps the nearest; 1 keeps all."""
    batches: int = 1
    """Batches of candidates in a round."""
    steps: int = 200
    """Of Adam, in each fit of the network."""
    width: int = 100
    """Of each of its three hidden layers."""
    reg: float = 0.1
    """Weight of the parameters' size, and U at first."""
    explore: float = 0.01
    """How much the uncertainty counts."""
    strict: bool = True
    """U is updated for what is evaluated alone, and no label takes part in transport; else as in the authors' code."""
    encoder: str = ""
    """What makes vectors of texts, such as minilm-l6; by default the system's own states."""
    instructions: tuple[str, ...] = ()
    """Instructions to choose among together with the exemplars, each ending as it is to end; by default the task's."""
    pool: int = 100
    """Exemplars of the task's pool that are considered, from its beginning."""

    def __post_init__(self) -> None:
        least = {"shots": 1, "evaluations": 1, "start": 1, "items": 1, "fresh": 0, "candidates": 1, "draws": 1,
                 "batches": 1, "steps": 1, "width": 1, "pool": 1}  # fmt: skip
        for name, number in least.items():
            if getattr(self, name) < number:
                raise ValueError(f"{name} must be at least {number}, got {getattr(self, name)}")
        if self.start > self.evaluations:
            raise ValueError(f"start must be at most evaluations, got {self.start} of {self.evaluations}")
        if not (self.reg > 0 and self.explore >= 0):
            raise ValueError(f"reg must be positive and explore not negative, got {self.reg} and {self.explore}")
        if len(set(self.instructions)) < len(self.instructions):
            raise ValueError("instructions must differ from each other")

    def __call__(self, task: WordedTask, system: System, *, generator: torch.Generator) -> Changed:
        best = self.search(task, system, generator=generator)
        log.info("ease: %.3f on the items of the search, %s on fresh ones", best.reward, best.fresh)
        return Changed(task, words=worded(task, best.arm))

    def search(self, task: WordedTask, system: System, *, generator: torch.Generator) -> Found:
        """The best tuple, and what every trial was worth. Raises ValueError for a pool of fewer exemplars than shots,
        or an encoder to which all tuples look alike."""
        require_worded("ease", task)
        check_pool(min(self.pool, len(task.pool)), self.shots)
        items, fresh = parted(task, self.items, self.fresh, generator)
        trials = Trials(task, system, items, self.evaluations)
        vectors = embedder(system, self.encoder)
        for arm in self._random(task, generator):
            trials.reward(arm)
            if len(trials.known) >= self.start or self._done(trials):
                break
        if trials.left and not self._done(trials):
            self._rounds(task, trials, vectors, generator)
        return found(trials, fresh)

    def _done(self, trials: Trials) -> bool:
        return trials.known[trials.best] >= 1.0 or len(trials.known) >= self._arms(trials.task)

    def _arms(self, task: WordedTask) -> int:
        """How many there are."""
        ways, pool = max(len(self.instructions), 1), min(self.pool, len(task.pool))
        for taken in range(self.shots):
            ways *= pool - taken
        return ways

    def _random(self, task: WordedTask, generator: torch.Generator) -> Iterator[Arm]:
        """New arms for ever."""
        while True:
            yield from self._arms_of(task, orders(64, min(self.pool, len(task.pool)), self.shots, generator), generator)

    def _arms_of(self, task: WordedTask, rows: Tensor, generator: torch.Generator) -> list[Arm]:
        said = self.instructions or (task.wording.instruction,)
        which = torch.randint(len(said), (len(rows),), generator=generator).tolist()
        return [Arm(tuple(row), said[at]) for row, at in zip(rows.tolist(), which, strict=True)]

    def _rounds(self, task: WordedTask, trials: Trials, vectors: Embedder, generator: torch.Generator) -> None:
        """Fit, choose, evaluate, until the budget is spent."""
        seen: dict[Arm, Tensor] = {}

        def embedded(arms: list[Arm]) -> Tensor:
            new = [arm for arm in dict.fromkeys(arms) if arm not in seen]
            if new:
                seen.update(zip(new, self._vectors(task, new, vectors), strict=True))
            return torch.stack([seen[arm] for arm in arms])

        carried = self._ground(task, trials, vectors) if self.draws > 1 else None
        net = network(embedded([trials.best]).shape[1], self.width, generator=generator)
        begin = beginning(net)
        spread = torch.full((sum(p.numel() for p in begin.values()),), self.reg, dtype=torch.float64)
        while trials.left and not self._done(trials):
            arms = list(trials.known)
            x, y = embedded(arms), torch.tensor(list(trials.known.values()), dtype=torch.float64)
            middle, scale = x.mean(0), x.std(0, correction=0)
            if len(arms) > 1 and not (x != x[0]).any():
                raise ValueError("the encoder gives all tuples the same vector; take another one")
            scale = torch.where(scale > 1e-12, scale, 1.0)
            learnt = begin
            if not (y == y[0]).all():
                learnt = fitted(net, begin, (x - middle) / scale, y, steps=self.steps, decay=self.reg / len(arms))
            best: tuple[float, Arm, Tensor] | None = None
            for _ in range(self.batches):
                options = [arm for arm in self._nearest(task, carried, generator) if arm not in trials.known]
                if not options:
                    continue
                inputs = (embedded(options) - middle) / scale
                value, more = bounds(net, learnt, inputs, spread, reg=self.reg, explore=self.explore)
                at = int((value + more).argmax())
                if best is None or float(value[at] + more[at]) > best[0]:
                    best = float(value[at] + more[at]), options[at], inputs[at]
                if not self.strict:
                    spread = spread + gradients(net, learnt, inputs[at][None])[0].square()
            if best is None:  # all that was drawn is known: a new random one, or the end where they are hard to find
                new = [arm for arm in islice(self._random(task, generator), 4096) if arm not in trials.known]
                if not new:
                    return
                trials.reward(new[0])
                continue
            trials.reward(best[1])
            if self.strict:
                spread = spread + gradients(net, learnt, best[2][None])[0].square()

    def _vectors(self, task: WordedTask, arms: list[Arm], vectors: Embedder) -> Tensor:
        """(arms, width): of the text of the exemplars, in which their order shows, and of the instruction beside it."""
        form = task.wording.form
        texts = ["".join(written(form, task.pool[place]) for place in arm.order) for arm in arms]
        found = vectors(texts)
        if not self.instructions:
            return found
        said = {text: vectors([text])[0] for text in self.instructions}
        return torch.cat([found, torch.stack([said[arm.instruction] for arm in arms])], 1)

    def _ground(self, task: WordedTask, trials: Trials, vectors: Embedder) -> Tensor:
        """(pool, items): 1 - cosine between exemplars and validation items."""
        form, pool = task.wording.form, list(task.pool)[: self.pool]
        if self.strict:
            ours, theirs = [form.ask(one.fields) for one in pool], [task.read(one).fields for one in trials.items]
            return 1 - vectors(ours) @ vectors([form.ask(fields) for fields in theirs]).T
        labelled = [task.read(one) for one in trials.items]
        return 1 - vectors([written(form, one) for one in pool]) @ vectors([written(form, one) for one in labelled]).T

    def _nearest(self, task: WordedTask, carried: Tensor | None, generator: torch.Generator) -> list[Arm]:
        """A batch of candidates."""
        rows = orders(self.candidates * self.draws, min(self.pool, len(task.pool)), self.shots, generator)
        if carried is not None:
            kept = transport_costs(carried, rows).topk(min(self.candidates, len(rows)), largest=False).indices
            rows = rows[kept.sort().values]
        return list(dict.fromkeys(self._arms_of(task, rows, generator)))
