"""The task tells a model that goes by the order of the options from one that knows the answer."""

from collections.abc import Callable, Sequence
from typing import Any

from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.core.prompt import PromptPlan, Question
from trivium.evaluation.order_sensitivity import OrderSensitivity
from trivium.models.sources import load
from trivium.prompting._steps import Changed


def weigher(how: str, right: str) -> Callable[[Any, Question, PromptPlan], Sequence[float]]:
    """Answers known beforehand: the option that stands first, the right one, or the first in the alphabet."""

    def weigh(system: Any, question: Question, plan: PromptPlan) -> Sequence[float]:
        if how == "first":
            return [-float(place) for place in range(len(question.answers))]
        if how == "right":
            return [float(answer.strip() == right) for answer in question.answers]
        return [-float(sorted(question.answers).index(answer)) for answer in question.answers]

    return weigh


def run(bar: Bar) -> ClaimResult:
    """Score three answerers whose sensitivity and accuracy are known."""
    system, task, figures = load("tiny"), OrderSensitivity(), {}
    for how in ("first", "right", "alphabet"):
        rows = []
        for example in task.examples("test"):
            right = example.fields["options"][example.fields["answer"]]
            put = Changed(task, weighs=weigher(how, right))
            rows.append(task.score(system, example, put).values)
            bar.advance(1)
        figures[how] = {name: sum(row[name] for row in rows) / len(rows) for name in ("changed", "accuracy", "spread")}
    known = (
        figures["first"]["changed"] == 1.0
        and figures["right"] == {"changed": 0.0, "accuracy": 1.0, "spread": 0.0}
        and figures["alphabet"]["changed"] == figures["alphabet"]["spread"] == 0.0
        and figures["alphabet"]["accuracy"] < 1.0
    )
    return ClaimResult(
        "supported" if known else "contradicted", figures, "an identity rather than a trend: it holds or it does not"
    )


claim = Claim(
    statement="The task finds every question order-sensitive for an answerer that takes the option listed first, and "
    "none for one that goes by the options' text, whether it is right or wrong.",
    paper="McIlroy-Young et al. 2024 (arXiv:2406.06581), section 4, measure accuracy over orders; no figure of theirs "
    "tests the measure itself.",
    rule="Over the 40 built-in questions: share of changed answers 1 for the first option; 0, with no spread, for the "
    "right option and for the first in the alphabet; accuracy 1 for the right option only.",
    run=run,
)
