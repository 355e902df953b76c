"""The task's first template is no oracle: some other template is better, on items that did not choose it."""

from claims.prompting._selected import ITEMS, Templates, task
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.evaluation.prompt_choice import PromptChoice
from trivium.models.sources import load
from trivium.models.system import System


def run(bar: Bar) -> ClaimResult:
    """Two intents of SNIPS, twelve templates."""
    return measured(load("smollm2-135m"), bar, ITEMS)


def measured(system: System, bar: Bar, items: int) -> ClaimResult:
    """The oracle of the validation split against the first template, item by item of the test split."""
    bar.total = 2
    asked = task(items)
    best, _ = PromptChoice(asked).oracle(system, "validation")
    bar.advance()
    every = Templates.of(system, asked)
    bar.advance()
    differences = [
        one.values["accuracy"] - first.values["accuracy"]
        for one, first in zip(every.seen[best], every.seen[0], strict=True)
    ]
    return judge(
        differences,
        note="one number per test item; the oracle is chosen by the labels of the validation split",
        oracle=best,
        macro_f1_by_template=every.f1,
    )


claim = Claim(
    statement="The best of twelve templates on validation items classifies more test items right than the first one.",
    paper="Yang et al. 2024 (arXiv:2305.14877): scores are set against an oracle prompt since prompts differ widely "
    "(figures not checked).",
    rule="Paired difference of accuracy per test item: supported where its 95 % interval lies above 0, contradicted "
    "where below. Where the first template is the best, the difference is 0 throughout: not visible.",
    run=run,
)
