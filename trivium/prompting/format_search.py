"""Format search: the format of the grammar in which the model is most often right on the validation split.

Source
    The search of FormatSpread (Sclar et al. 2024, arXiv:2310.11324, section 4) for the best format alone.
Equation
    f* = argmax_f a_f over formats drawn from the grammar;   theta_f ~ Beta(alpha + s_f, beta + m_f - s_f), the next
    items are tried in argmax_f theta_f;   beta = 5, alpha = max(1.1, 5 a_0 / (1 - a_0))
Shapes
    task with fixed labels -> the task in one format; exemplars and answers are in it too
Cost
    ``budget`` prompts of the validation split, that of the original format on all of them included.
Caveats
    It sees the labels of the validation split. The accuracy that a format was chosen by is too high, which is why a
    comparison reports another split. The original format is always a candidate, and stays where none is better; of
    equally good ones it, else the one tried most often. A format tried on fewer items than ``least`` is not chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch

from trivium.core.method import method
from trivium.core.protocols import WordedTask
from trivium.models.system import System
from trivium.nn.bandit import Bandit, beta_prior
from trivium.prompting._steps import Changed, require_worded

Search = Literal["thompson", "ucb", "equal"]


@method(title="Format search", source="arXiv:2310.11324", year=2024, needs=["causal", "state"])
@dataclass(frozen=True)
class FormatSearch:
    """The best of some formats, found by trying."""

    formats: int = 24
    """How many to draw, the original one included."""
    search: Search = "thompson"
    budget: int = 240
    """Prompts that may be tried."""
    batch: int = 10
    """Items that a format is tried on at a time."""
    least: int = 20
    """Items that a format must have been tried on to be chosen."""

    def __post_init__(self) -> None:
        if self.search not in get_args(Search):
            raise ValueError(f"search must be one of {', '.join(get_args(Search))}; got {self.search!r}")
        for name in ("formats", "budget", "batch", "least"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def __call__(self, task: WordedTask, system: System, *, generator: torch.Generator) -> Changed:
        require_worded("format search", task)
        items = [task.read(example) for example in task.examples("validation")]
        items = [items[place] for place in torch.randperm(len(items), generator=generator).tolist()]
        if not items:
            raise ValueError("the validation split is empty, so that no format can be tried; give the task more items")
        wordings = [replace(task.wording, form=form) for form in task.formats(self.formats, generator)]

        def outcomes(arm: int, places: Sequence[int]) -> list[float]:
            some = [items[place] for place in places]
            found = task.weigh_all(system, [wordings[arm].ask(one.fields, task.labels) for one in some])
            said = [task.labels[list(weights).index(max(weights))] for weights in found]
            return [float(answer == one.label) for answer, one in zip(said, some, strict=True)]

        bandit = Bandit(len(wordings), len(items), outcomes)
        steps = (self.budget - len(items)) // self.batch
        if steps < 1:
            raise ValueError(
                f"a budget of {self.budget} prompts is used up by the {len(items)} items of the original format and "
                f"one batch of {self.batch}; raise it to {len(items) + self.batch} at least"
            )
        bandit.pull(0, len(items))
        prior = beta_prior(float(bandit.successes[0] / len(items)), len(items))
        draws = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        bandit.search(self.search, 1, self.batch, steps, prior, draws.beta)
        # of equal rates the last name wins: the most tried one, and before all others the original
        names = [f"{int(count):09d}" for count in bandit.totals]
        names[0] = "~"
        return Changed(task, words=wordings[bandit.chosen(1, names, self.least)])
