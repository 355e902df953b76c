"""Set-based prompting leaves nothing of the order, and answers no worse than the worst order of plain prompting."""

from claims.prompting._asked import asked, mean, source
from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.evaluation.stats.intervals import mean_interval
from trivium.evaluation.stats.verdicts import Verdict
from trivium.prompting.plain import Plain
from trivium.prompting.set_based import SetBased


def run(bar: Bar) -> ClaimResult:
    sets, free, plain = (asked(method, bar) for method in (SetBased(), SetBased(canonical=False), Plain()))
    accuracy, by_order = sets["accuracies"][0], plain["accuracies"]
    pairs = zip(sets["right"], plain["right"], strict=True)
    difference = mean_interval([mean(one) - mean(other) for one, other in pairs])
    exact = not any(sets["changed"]) and max(sets["spread"]) == 0.0
    close = not any(free["changed"]) and max(free["spread"]) < 1e-3
    verdict: Verdict = "supported"
    if not exact or not close or accuracy < min(by_order):
        verdict = "contradicted"
    elif not any(plain["changed"]):
        verdict = "not visible at this scale"
    figures = {
        "questions": len(sets["changed"]),
        "changed": {"set_based": mean(sets["changed"]), "plain": mean(plain["changed"])},
        "largest_spread_nats": {
            "canonical": max(sets["spread"]),
            "not canonical": max(free["spread"]),
            "plain": max(plain["spread"]),
        },
        "accuracy": accuracy,
        "plain_accuracy_by_order": by_order,
        "accuracy_within_the_spread": min(by_order) <= accuracy <= max(by_order),
        "difference_of_accuracy": {"mean": difference.mean, "low": difference.low, "high": difference.high},
    }
    return ClaimResult(verdict, figures, f"{source()}, 8 orders of the options each; difference against the mean order")


claim = Claim(
    statement="With set-based prompting no answer and no log-probability depends on the order of the options, and "
    "accuracy is not below that of the worst order of plain prompting.",
    paper="McIlroy-Young et al. 2024 (arXiv:2406.06581): no variation over orders by construction; accuracy on "
    "CommonsenseQA and MMLU usually within the spread of the orders (models of 7 B and more; figures not checked).",
    rule="Supported where over 8 orders no answer changes and log-probabilities agree to the last bit (within 1e-3 "
    "nats without canonical order), and accuracy is at least that of plain prompting's worst order. Contradicted where "
    "one of these fails; not visible where plain prompting's answers do not change either.",
    run=run,
)
