"""The claim of a calibration: it raises macro-F1 of the most label-biased template, as long as labels are balanced."""

from dataclasses import replace

from claims.prompting._selected import ITEMS, SNIPS, Templates, answers, number, paired, task
from trivium.compare.claim import ClaimResult
from trivium.core.progress import Bar
from trivium.core.protocols import Prompting
from trivium.evaluation.stats.verdicts import verdict
from trivium.models.sources import load
from trivium.models.system import System


def run(prompting: Prompting, bar: Bar) -> ClaimResult:
    return measured(load("smollm2-135m"), prompting, bar, ITEMS)


def measured(system: System, prompting: Prompting, bar: Bar, items: int) -> ClaimResult:
    """In the template that is most biased on validation items: calibrated minus plain, labels even and 9 to 1."""
    bar.total = 3
    even = task(items)
    worst = Templates.of(system, even).most_biased
    bar.advance()
    figures = {}
    for name, shares in (("even", ()), ("nine_to_one", (0.9, 0.1))):
        asked = replace(even, template=worst, shares=shares)
        plain, calibrated = answers(asked, system, None), answers(asked, system, prompting)
        found = paired("macro_f1", calibrated, plain).interval
        figures[name] = {
            "difference": found.mean,
            "low": found.low,
            "high": found.high,
            "items": found.n,
            "macro_f1": {"plain": number("macro_f1", plain), "calibrated": number("macro_f1", calibrated)},
            "label_bias": {"plain": number("label_bias", plain), "calibrated": number("label_bias", calibrated)},
        }
        bar.advance()
    low, high = figures["even"]["low"], figures["even"]["high"]
    return ClaimResult(
        verdict(low, high, 0.0) or "not visible at this scale",
        {"template": worst, **figures},
        f"{'SNIPS, weather against music' if SNIPS.is_dir() else 'own items'}; pool and items have the same shares of "
        "labels; 9 to 1 is shown and does not decide",
    )


RULE = (
    "In the template with the largest label bias on the validation split, the paired difference of macro-F1 on 150 "
    "test items with even labels: supported where its 95 % interval lies above 0, contradicted where below."
)
