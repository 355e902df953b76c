"""Private few-shot generation: exemplars written from private ones, token by token, under differential privacy.

Source
    Tang, Shin, Inan, Manoel, Mireshghallah, Lin, Gopi, Kulkarni and Sim 2024, "Privacy-Preserving In-Context Learning
    with Differentially Private Few-Shot Generation", arXiv:2309.11765, algorithm 1.
Equation
    for each token: every private record of the label is drawn with probability q and goes to one of M groups at random;
    p_g = next token behind the records of group g, over the K likeliest tokens of a prompt without private records
    token = argmax  mean_g p_g + Normal(sigma / M);   L2 sensitivity sqrt(2) / M,   so that sigma = multiplier sqrt(2)
Shapes
    a worded task and a system -> the task with exemplars that may be shown for ever
Cost
    M + 1 prompts for each new token, which share nothing, since every token has records of its own.
Caveats
    Neighbours are sets in which a record is left out; its label, and how many records a label has, are taken as known,
    so that labels, whose records are apart, do not add up. ``epsilon`` is the total of a label: of all its exemplars
    and all their tokens, had they been as long as ``limit``; noise is chosen for it before anything is drawn. Records
    are drawn independently, which the accountant assumes, so that groups differ in size and may be empty; the paper
    draws M N of them without replacement. With fewer records than M times N all are used and sampling amplifies
    nothing. Whoever knows the seed can take the noise off: for private use seed the generator by what nobody knows.
    Settings and templates chosen on the private records leak. A text that comes out empty is left out. Items must have
    one field.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.privacy import PrivacyBudget, SampledGaussian
from trivium.core.protocols import WordedTask
from trivium.core.wording import Exemplar
from trivium.models.system import System
from trivium.nn.noisy import noisy_token
from trivium.prompting._steps import Changed, require_worded

log = logging.getLogger(__name__)


@method(title="Private few-shot generation", source="arXiv:2309.11765", year=2024, needs=["causal", "state"])
@dataclass(frozen=True)
class DpFewShot:
    """The pool is private; what is shown in prompts is made from it, and gives away no more than epsilon."""

    shots: int = 1
    """Exemplars to make for each label."""
    groups: int = 10
    """M: prompts whose next tokens are averaged."""
    each: int = 2
    """N: private records in each of them, on average."""
    limit: int = 16
    """Tokens of an exemplar at most; one ends at a line break too."""
    top: int = 100
    """K: tokens that may be written, the likeliest of the public prompt."""
    epsilon: float = 8.0
    """The total, of a label's records."""
    delta: float = 1e-5
    """The chance that epsilon does not hold; well below one over the records."""

    def __post_init__(self) -> None:
        for name, least in (("shots", 1), ("groups", 2), ("each", 1), ("limit", 1), ("top", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        PrivacyBudget(SampledGaussian(1.0, 1.0), self.epsilon, self.delta)

    def __call__(self, task: WordedTask, system: System, *, generator: torch.Generator) -> Changed:
        made, budgets = self.exemplars(task, system, generator=generator)
        spent = "; ".join(f"{label}: {budget}" for label, budget in budgets.items())
        log.info("dp_few_shot, %s", spent)
        return Changed(task, words=replace(task.wording, exemplars=made), tells=lambda: {"privacy": spent})

    def exemplars(
        self, task: WordedTask, system: System, *, generator: torch.Generator
    ) -> tuple[tuple[Exemplar, ...], dict[str, PrivacyBudget]]:
        """Label by label in turn, and what the records of each label have given away. Raises ValueError for a label
        without records, or items of several fields."""
        require_worded("dp_few_shot", task)
        names = {name for one in task.pool for name in one.fields}
        if len(names) != 1:
            raise ValueError(f"exemplars are written for items of one field, these have {', '.join(sorted(names))}")
        name, form = names.pop(), task.wording.form
        made, budgets = [], {}
        for label in task.labels:
            records = [one.fields[name] for one in task.pool if one.label == label]
            if not records:
                raise ValueError(f"the pool has no record of the label {label!r} to write exemplars from")
            budgets[label] = self.budget(len(records))
            said = form.reply(label).strip()
            made.append([self.written(system, said, records, budgets[label], generator) for _ in range(self.shots)])
        turns = [Exemplar({name: text}, label) for texts in zip(*made, strict=True)
                 for text, label in zip(texts, task.labels, strict=True) if text]  # fmt: skip
        return tuple(turns), budgets

    def rate(self, records: int) -> float:
        """q: the probability that a record takes part in a token."""
        return min(1.0, self.groups * self.each / records)

    def budget(self, records: int) -> PrivacyBudget:
        """For all tokens of a label, with the noise that they need."""
        mechanism = SampledGaussian.of(self.epsilon, self.delta, self.rate(records), self.shots * self.limit)
        return PrivacyBudget(mechanism, self.epsilon, self.delta)

    def written(
        self, system: System, label: str, records: Sequence[str], budget: PrivacyBudget, generator: torch.Generator
    ) -> str:
        """One exemplar's text. Raises BudgetExceeded where the budget does not pay for its tokens."""
        mechanism = budget.mechanism
        assert isinstance(mechanism, SampledGaussian)
        sigma, ids = mechanism.multiplier * 2**0.5, []
        for _ in range(self.limit):
            budget.take()
            groups = self.grouped(records, generator)
            logits = next_logits(system, [*(prompt(label, group) for group in groups), prompt(label, ())], ids)
            token = noisy_token(logits[:-1], logits[-1], self.top, sigma, generator=generator)
            if token in system.stop.tokens:
                break
            ids.append(token)
            if "\n" in system.tokenizer.decode(ids).lstrip():
                break
        return system.tokenizer.decode(ids).strip().split("\n")[0].strip()

    def grouped(self, records: Sequence[str], generator: torch.Generator) -> list[list[str]]:
        """The records that take part, in their groups: each by itself, whatever the others do."""
        drawn = torch.rand(len(records), generator=generator) < self.rate(len(records))
        group = torch.randint(self.groups, (len(records),), generator=generator)
        return [
            [records[int(at)] for at in (drawn & (group == one)).nonzero()[:, 0].tolist()] for one in range(self.groups)
        ]


def prompt(label: str, records: Sequence[str]) -> str:
    """Records of a label, and the beginning of another one; without records it is public."""
    return "".join(f"Label: {label}\nText: {text}\n\n" for text in records) + f"Label: {label}\nText:"


@torch.no_grad()
def next_logits(system: System, prompts: Sequence[str], ids: Sequence[int]) -> Tensor:
    """(prompts, vocab): of the token behind each prompt and the tokens written so far, in one pass. A prompt that is
    too long is cut on the left."""
    most = system.model.max_positions
    rows = [[*system.prompt(text)[0].tolist(), *ids] for text in prompts]
    rows = [row if most is None else row[-most:] for row in rows]
    width = max(map(len, rows))
    fed = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=system.model.device)
    lengths = torch.tensor([len(row) for row in rows], device=fed.device)[:, None]
    mask = torch.arange(width, device=fed.device) >= width - lengths
    logits = system.model(fed, mask=None if bool(mask.all()) else mask, logits_to_keep=1).logits[:, -1]
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
