"""Noisy vote: private examples in disjoint prompts vote for the answer, and noise hides what each of them said.

Source
    Papernot et al. 2017, "Semi-supervised Knowledge Transfer for Deep Learning from Private Training Data",
    arXiv:1610.05755 (the vote); Wu et al. 2024, "Privacy-Preserving In-Context Learning for Large Language Models",
    arXiv:2305.01639 (in prompts).
Equation
    vote_g = argmax_y weight(y | the examples of group g, x);   counts_y = sum_g 1[vote_g = y]
    answer = argmax_y counts_y + noise_y;   Gumbel(2 / epsilon) or Laplace(2 / epsilon): epsilon-private each question;
    Normal(sigma): rho = 1 / sigma^2 each question, sigma such that one question alone is epsilon-private at delta
Shapes
    a worded task and a system -> the task, whose weights are 1 for the answer and 0 for the others
Cost
    Nothing to find; for each question one prompt per group, in a batch.
Caveats
    Neighbours are sets in which one record is another. What is released is the answer alone; ``epsilon`` is of one
    question, and the budget's ``total`` of all of them is what counts: beyond it questions are refused. A question
    that was asked before has the same answer and costs nothing. Whoever knows the seed can take the noise off: for
    private use the generator must be seeded by what nobody knows. Noise is drawn in float64, whose gaps are an attack
    of their own that is not dealt with. Groups, shots and templates chosen on the private records leak too.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

import torch

from trivium.core import seeds
from trivium.core.method import method
from trivium.core.privacy import Gaussian, Mechanism, PrivacyBudget, Pure
from trivium.core.prompt import Parts, PromptPlan, Question
from trivium.core.protocols import WordedTask
from trivium.core.wording import Exemplar
from trivium.models.system import System
from trivium.nn.noisy import Noise, counted, winners
from trivium.prompting._exemplars import written
from trivium.prompting._steps import Changed, require_worded

log = logging.getLogger(__name__)


@method(title="Noisy vote", source="arXiv:2305.01639", year=2024, needs=["causal", "state"])
@dataclass(frozen=True)
class NoisyVote:
    """The pool is private: no prompt holds more than one group of it, and no answer rests on one of them."""

    groups: int = 10
    """Prompts that vote."""
    each: int = 2
    """Private examples in each of them."""
    noise: Noise = "gumbel"
    """None is a plain majority, with no privacy."""
    epsilon: float = 8.0
    """Of one question by itself."""
    total: float = 1000.0
    """The epsilon of all questions together, beyond which they are refused."""
    delta: float = 1e-5
    """The chance that epsilon does not hold; of Gaussian noise, and of many questions together."""

    def __post_init__(self) -> None:
        if self.groups < 2 or self.each < 1:
            raise ValueError(f"groups must be at least 2 and each at least 1, got {self.groups} and {self.each}")
        if self.noise not in get_args(Noise):
            raise ValueError(f"noise must be one of {', '.join(get_args(Noise))}; got {self.noise!r}")
        self.budget()

    @property
    def mechanism(self) -> Mechanism:
        if self.noise == "gaussian":
            return Gaussian.of(self.epsilon, self.delta, 2**0.5)
        return Pure(self.epsilon)

    def budget(self) -> PrivacyBudget:
        """A fresh one, of which nothing is spent."""
        return PrivacyBudget(self.mechanism, self.total, self.delta)

    @property
    def scale(self) -> float:
        """Of the noise."""
        mechanism = self.mechanism
        return mechanism.sigma if isinstance(mechanism, Gaussian) else 2 / self.epsilon

    def __call__(self, task: WordedTask, system: System, *, generator: torch.Generator) -> Changed:
        return self.voting(task, generator=generator).task

    def voting(self, task: WordedTask, *, generator: torch.Generator) -> "Voting":
        """The vote with its budget. Raises ValueError for a pool of fewer records than the groups take."""
        require_worded("noisy_vote", task)
        wanted = self.groups * self.each
        if len(task.pool) < wanted:
            raise ValueError(
                f"the pool has {len(task.pool)} records, too few for {self.groups} groups of {self.each}; lower one"
            )
        dealt = torch.randperm(len(task.pool), generator=generator)[:wanted].view(self.groups, self.each).tolist()
        secret = int(torch.randint(2**62, (), generator=generator))
        parts = tuple(tuple(task.pool[at] for at in group) for group in dealt)
        return Voting(self, task, parts, secret, self.budget())


@dataclass(frozen=True)
class Voting:
    """Groups at work. ``budget`` says what has been given away; ``answers`` are those that were."""

    recipe: NoisyVote
    of: WordedTask
    groups: Sequence[Sequence[Exemplar]] = field(repr=False)
    secret: int = field(repr=False)
    budget: PrivacyBudget
    answers: dict[Question, int] = field(default_factory=dict, repr=False)

    @property
    def task(self) -> Changed:
        """The task, asked by this vote."""
        words = replace(self.of.wording, exemplars=())
        return Changed(self.of, words=words, lays=_lay, weighs=self.weigh, tells=lambda: {"privacy": self.spent})

    @property
    def spent(self) -> str:
        """What has been given away, in words."""
        return "no noise and no privacy" if self.recipe.noise == "none" else str(self.budget)

    def prompts(self, question: Question) -> list[Question]:
        """The question behind the examples of each group."""
        *before, item = question.segments
        form = self.of.wording.form
        shown = [Parts(*(written(form, one) for one in group)) for group in self.groups]
        return [replace(question, segments=(*before, parts, item)) for parts in shown]

    def votes(self, system: System, question: Question) -> list[int]:
        """The place of each group's answer; private, not to be released."""
        weights = self.of.weigh_all(system, self.prompts(question))
        return [list(one).index(max(one)) for one in weights]

    def weigh(self, system: System, question: Question, plan: PromptPlan) -> list[float]:
        """1 for the answer of the noisy vote. Raises BudgetExceeded, before any work, for a new question beyond it."""
        if question not in self.answers:
            if self.recipe.noise != "none":
                self.budget.take()
            counts = counted(torch.tensor([self.votes(system, question)]), len(question.answers))
            noise = seeds.generator(self.secret, question.text)
            self.answers[question] = int(winners(counts, self.recipe.noise, self.recipe.scale, generator=noise)[0])
            log.info("noisy_vote: %s", self.spent)
        return [float(place == self.answers[question]) for place in range(len(question.answers))]


def _lay(system: System, question: Question) -> PromptPlan:
    """What is asked, as plain text, whatever becomes of the exemplars that groups put before it."""
    return PromptPlan.flat(system.blocks(question.segments)).to(system.model.device)
