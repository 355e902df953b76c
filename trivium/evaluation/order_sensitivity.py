"""Order sensitivity: does the answer to a multiple-choice question change when its options change places?

Source
    McIlroy-Young et al. 2024, "Order-Independence Without Fine Tuning", arXiv:2406.06581, section 4: accuracy over
    orderings of the options. Scores of answers as in the lm-evaluation-harness ('acc', and its mean per token).
Equation
    l_r(i) = sum_t log p(t-th token of option i | the question with its options in order r, earlier tokens of i)
    answer_r = argmax_i l_r(i);   changed = 1[answer_r differs for some r];   accuracy = mean_r 1[answer_r is right]
    spread = max_i (max_r l_r(i) - min_r l_r(i))
Shapes
    a task with its prompting, and one example -> an Observation with one number per measure
Cost
    For each order one pass over the prompt and one over all options; spent on scoring and charged to no prompting.
Caveats
    Questions of up to four options are put in all m! orders, others in the order given, its reverse and a fixed random
    sample, so that "changed" is a lower bound there. Options are listed without letters and the answer is the option's
    text, not its letter; letters would be an order of their own. They stand before the question, with which a small
    model is right more often. The sum of log-probabilities favours short options, their mean long ones. Of equally good
    options the one given first wins, in every order; an option that occurs twice counts as one. The built-in questions
    ask for the kind of a word; CommonsenseQA (Talmor et al. 2019, arXiv:1811.00937) is read from a file of yours.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch

from trivium.core import seeds
from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.prompt import Parts, PromptPlan, Question
from trivium.core.protocols import PromptTask
from trivium.data import choices, splits
from trivium.models.planned import answer_logprobs
from trivium.models.system import System

FEW = 4
"""Options up to which every order is asked."""


@method(title="Order sensitivity", source="arXiv:2406.06581", year=2024, needs=["causal", "state"])
@dataclass(frozen=True)
class OrderSensitivity:
    """Multiple-choice questions, each asked with its options in several orders."""

    path: str = ""
    """A file of questions such as CommonsenseQA's validation.jsonl; by default 40 questions of our own."""
    items: int | None = 60
    """Questions to take from the file's beginning; half as many behind them are for validation. None takes all."""
    orders: int = 8
    """Orders per question of five options or more; all of them where there are no more, or up to four options."""
    score_by: Literal["sum", "mean"] = "sum"
    """An answer's log-probability is the sum, or the mean, over its tokens."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("changed", "Answer changes with the order", False, binary=True),
        Measure("accuracy", "Accuracy, mean over orders", True),
        Measure("given", "Accuracy in the given order", True, binary=True),
        Measure("best", "Right in some order", None, binary=True),
        Measure("worst", "Right in every order", True, binary=True),
        Measure("spread", "Largest change of a log-probability", False, "nats"),
        Measure("prompt_tokens", "Tokens of the prompt", None),
    )

    def __post_init__(self) -> None:
        if self.items is not None and self.items < 1:
            raise ValueError(f"items must be at least 1 question, or None for all, got {self.items}")
        if self.orders < 2:
            raise ValueError(f"orders must be at least 2, the one given and another; got {self.orders}")
        if self.score_by not in ("sum", "mean"):
            raise ValueError(f"score_by must be 'sum' or 'mean', got {self.score_by!r}")

    def examples(self, split: str) -> Sequence[Example]:
        splits.check(split)
        return [
            Example(
                one.id,
                _question(one.question, one.options).text,
                cluster=one.group,
                fields={"question": one.question, "options": one.options, "answer": one.answer, "group": one.group},
            )
            for one in self._items(split)
        ]

    def _items(self, split: str) -> Sequence[choices.Choice]:
        if not self.path:
            return choices.made(split)
        found = choices.read(self.path)
        return splits.part(found, self.items, split)

    # The three steps that a prompting method may change ---------------------------------------------------------------

    def ask(self, example: Example) -> Question:
        return _question(example.fields["question"], example.fields["options"])

    def lay(self, system: System, question: Question) -> PromptPlan:
        return PromptPlan.flat(system.blocks(question.segments)).to(system.model.device)

    def weigh(self, system: System, question: Question, plan: PromptPlan) -> list[float]:
        answers = [system.blocks([answer])[-1] for answer in question.answers]
        found = answer_logprobs(system.model, plan, answers)  # type: ignore[arg-type]
        return [sum(each) / (len(each) if self.score_by == "mean" else 1) for each in found]

    # Scoring ----------------------------------------------------------------------------------------------------------

    def orderings(self, options: int) -> list[tuple[int, ...]]:
        """The orders that questions of so many options are asked in, the given one first; the same for all of them."""
        if options <= FEW or math.factorial(options) <= self.orders:
            return list(itertools.permutations(range(options)))
        given = tuple(range(options))
        found = dict.fromkeys([given, given[::-1]])
        generator = seeds.generator(0, "orders", options)
        while len(found) < self.orders:
            found[tuple(torch.randperm(options, generator=generator).tolist())] = None
        return list(found)

    def permuted(self, example: Example, order: Sequence[int]) -> Example:
        """The example with its options in another order: entry n of ``order`` is the option that stands there."""
        fields = dict(example.fields)
        fields["options"] = tuple(example.fields["options"][place] for place in order)
        fields["answer"] = list(order).index(example.fields["answer"])
        return replace(example, text=_question(fields["question"], fields["options"]).text, fields=fields)

    def score(self, system: System, example: Example, output: PromptTask) -> Observation:
        """Ask the example in every order, by the steps of ``output``."""
        options, answer = example.fields["options"], example.fields["answer"]
        orders = self.orderings(len(options))
        table = torch.zeros(len(orders), len(options), dtype=torch.float64)  # by option as given, whatever the order
        tokens = 0
        for row, order in enumerate(orders):
            question = output.ask(self.permuted(example, order))
            plan = output.lay(system, question)
            table[row, list(order)] = torch.tensor(output.weigh(system, question, plan), dtype=torch.float64)
            tokens = max(tokens, len(plan))
        chosen = table.argmax(1).tolist()
        right = [options[place] == options[answer] for place in chosen]
        said = {options[place]: chosen.count(place) for place in dict.fromkeys(chosen)}
        words = ", ".join(f"{text} ({count} of {len(orders)})" for text, count in said.items())
        return Observation(
            {
                "changed": float(len(said) > 1),
                "accuracy": sum(right) / len(right),
                "given": float(right[0]),
                "best": float(any(right)),
                "worst": float(all(right)),
                "spread": float((table.amax(0) - table.amin(0)).max()),
                "prompt_tokens": float(tokens),
            },
            {"text": f"answers: {words}; right: {options[answer]}", "chosen": chosen},
        )


def _question(question: str, options: Sequence[str]) -> Question:
    parts = Parts(*(f"\n- {option}" for option in options))
    return Question(
        ("Options:", parts, f"\nQuestion: {question}\nAnswer:"), answers=tuple(f" {option}" for option in options)
    )
