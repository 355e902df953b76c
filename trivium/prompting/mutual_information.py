"""Prompt selection by probabilities: the template whose answers are sure for each item and varied over items.

Source
    Sorensen et al. 2022, arXiv:2203.11364 (MI), and Yang, Kim, Jang, Ye, Lee, Seo 2024, "Improving Probability-based
    Prompt Selection Through Unified Evaluation and Analysis", arXiv:2305.14877: MI_G, MI_L, MI_GL, GE, GE_M, LE, MDL,
    MDL_M, ZLP, ZPM, ZMV, PPL, PPL_L as variants of it, with calibration of what is chosen by and what is answered with.
Equation
    p[t, x, y] = softmax_y w(y | x in template t);   MI(t) = H(mean_x p[t, x, .]) - mean_x H(p[t, x, .])
    t* = argmax_t MI(t);   with calibration, p[t, x, y] / b[t, y] renormalised in the place of p
    b: mean_x p ("cbm"), the mean over content-free texts of exp w ("contextual"), exp w of the empty text ("pmi_dc")
Shapes
    task with fixed labels and its templates -> the task in one template, or for scores by item in one for each item
Cost
    Templates x pool prompts with their answers; where a prompt is chosen by item, again as many for each item asked,
    which a comparison counts to asking.
Caveats
    No label is looked at. The pool is the first ``pool`` items of the validation split: what is chosen depends on how
    many there are, and calibration by marginals takes their labels to be about balanced (see the claim, where they are
    9 to 1). In double precision without a floor under logarithms; the authors' code adds 1e-7, so that its MI may be
    negative. Their summary takes the HIGHEST perplexity where a prompt is chosen for all items; here PPL, too, takes
    the lowest, as the paper says. LE is kept as it is listed, the largest being chosen: the most unsure prompt. Of
    equals the first template is chosen.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.nouns import Example
from trivium.core.prompt import PromptPlan, Question
from trivium.core.protocols import WordedTask
from trivium.core.wording import Wording
from trivium.models.scoring import Pair, prefix, score_pairs
from trivium.models.system import System
from trivium.nn import prompt_selection
from trivium.nn.prompt_selection import PER_ITEM, calibrated
from trivium.prompting._calibration import Calibration, bias, pool_questions, weights, without
from trivium.prompting._steps import Changed, require_worded

Score = Literal[
    "mi", "mi_g", "mi_l", "mi_gl", "ge", "ge_m", "le", "mdl", "mdl_m", "zlp", "zpm", "zmv", "ppl", "ppl_l"
]  # fmt: skip
BY_ITEM = PER_ITEM | {"ppl_l"}


@method(title="Prompt selection by mutual information", source="arXiv:2305.14877", year=2024, needs=["causal", "state"])
@dataclass(frozen=True)
class MutualInformation:
    """One of the task's templates, chosen without labels."""

    score: Score = "mi"
    choose_by: Calibration = "none"
    """Calibration of the probabilities that a template is chosen by: the paper's mode P, where not "none"."""
    answer_by: Calibration = "none"
    """Calibration of the answers in the chosen template: the paper's mode A; with the other, its mode PA."""
    renormalise: Literal["mean", "softmax"] = "mean"
    """How calibrated probabilities are made to sum to 1 before a template is chosen by them."""
    pool: int | None = 40
    """Items of the validation split that are looked at; None takes all."""

    def __post_init__(self) -> None:
        for name, values in (("score", Score), ("choose_by", Calibration), ("answer_by", Calibration)):
            if getattr(self, name) not in get_args(values):
                raise ValueError(f"{name} must be one of {', '.join(get_args(values))}; got {getattr(self, name)!r}")
        if self.renormalise not in ("mean", "softmax"):
            raise ValueError(f"renormalise must be 'mean' or 'softmax', got {self.renormalise!r}")
        if self.pool is not None and self.pool < 1:
            raise ValueError(f"pool must be at least 1 item, or None for all, got {self.pool}")
        if self.score in BY_ITEM and self.answer_by != "none":
            raise ValueError(
                f"{self.score} chooses a template for each item, and answers are calibrated for one template; leave "
                "answer_by='none', or take a score that chooses one for all"
            )

    def __call__(self, task: WordedTask, system: System, *, generator: torch.Generator) -> Changed:
        require_worded("prompt selection", task)
        wordings = [replace(task.wording, form=form) for form in task.templates]
        if not wordings:
            raise ValueError("the task has no templates to choose among")
        if self.score == "ppl_l":
            return Changed(task, asks=self._for_each(task, system, wordings, lambda asked: -asked))
        pool = [pool_questions(task, wording, self.pool) for wording in wordings]
        if self.score == "ppl":
            costs = torch.stack([perplexities(system, questions) for questions in pool])
            return Changed(task, words=wordings[int(costs.mean(1).argmin())])
        found = [weights(task, system, questions) for questions in pool]  # (items, answers) of each template
        taken = [
            bias(task, system, wording, self.choose_by, asked) for wording, asked in zip(wordings, found, strict=True)
        ]
        p = self._probabilities(torch.stack(found), torch.stack(taken))
        if self.score in PER_ITEM:
            varied = 0.0
            if self.score != "mdl":
                varied = prompt_selection.global_entropy(p, hard=self.score == "mi_gl")[:, None]

            def judge(asked: Tensor) -> Tensor:
                own = self._probabilities(asked[:, None], torch.stack(taken))
                return (varied - prompt_selection.entropy(own))[:, 0]

            return Changed(task, asks=self._for_each(task, system, wordings, judge))
        best = int(prompt_selection.scores(p, self.score).argmax())  # type: ignore[arg-type]
        known = taken[best] if self.answer_by == self.choose_by else None
        known = bias(task, system, wordings[best], self.answer_by, found[best]) if known is None else known
        return Changed(task, words=wordings[best], turns=without(known, self.answer_by))

    def _probabilities(self, found: Tensor, taken: Tensor) -> Tensor:
        """Weights (templates, items, answers), what to take away (templates, answers) -> probabilities."""
        p = found.softmax(-1)
        return p if self.choose_by == "none" else calibrated(p, taken.exp(), how=self.renormalise)

    def _for_each(
        self, task: WordedTask, system: System, wordings: list[Wording], judge: Callable[[Tensor], Tensor]
    ) -> Callable[[Example], Question]:
        """Asks an item in the template of its own that has the largest score."""
        known: dict[str, Question] = {}

        def ask(example: Example) -> Question:
            if example.id not in known:
                fields = task.read(example).fields
                questions = [wording.ask(fields, task.labels) for wording in wordings]
                by_text = self.score == "ppl_l"
                told = perplexities(system, questions) if by_text else weights(task, system, questions)
                known[example.id] = questions[int(judge(told).argmax())]
            return known[example.id]

        return ask


def perplexities(system: System, questions: list[Question]) -> Tensor:
    """(questions,) of each prompt as a text, without its answer, in double precision."""
    first, pairs = prefix(system), []
    for question in questions:
        ids = tuple(PromptPlan.flat(system.blocks(question.segments)).ids.tolist())
        pairs.append(Pair((first,), ids[1:] if ids[0] == first and len(ids) > 1 else ids))
    found = score_pairs(system, pairs)
    return torch.tensor([-one.total / len(one.ids) for one in found], dtype=torch.float64).exp()
