"""A bandit that sees the order of exemplars finds better tuples than as many random ones."""

from dataclasses import replace

from claims.prompting._labelled import held_out, interval, mapped
from claims.prompting._ordered import Ordered, Vectors
from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.core.seeds import generator
from trivium.evaluation.stats.verdicts import Verdict
from trivium.models.sources import load
from trivium.prompting.best_of_n import BestOfN
from trivium.prompting.ease import Ease

SYNTHETIC = 20
SEEDS = 3
BUDGET = 40
ITEMS = 20
TEST = 100
POOL = 40
CANDIDATES = 25
"""Of a round of the model's search; each is read as a text."""


def run(bar: Bar) -> ClaimResult:
    """A reward that is a known function of the order, then the small model with a noisy pool."""
    bar.total = SYNTHETIC + 2 * SEEDS
    ours, theirs = Ease(evaluations=BUDGET, draws=1, steps=500), BestOfN(evaluations=BUDGET)
    synthetic = []
    for seed in range(SYNTHETIC):
        pair = []
        for method in (ours, theirs):
            task = Ordered(pool=POOL, seed=seed)
            best = method.search(task, Vectors(task), generator=generator(seed, "claim"))  # type: ignore[arg-type]
            pair.append(task.quality(best.arm.order))
        synthetic.append(pair)
        bar.advance()
    wins = sum((a > b) + 0.5 * (a == b) for a, b in synthetic) / SYNTHETIC
    system, gaps, accuracies = load("smollm2-135m"), [], []
    for seed in range(SEEDS):
        pair = []
        for method in (Ease(evaluations=BUDGET, items=ITEMS, candidates=CANDIDATES), replace(theirs, items=ITEMS)):
            pair.append(held_out(method, mapped(seed, TEST), system, seed))
            bar.advance()
        accuracies.append(pair)
        gaps.append(pair[0] - pair[1])
    found = interval(gaps)
    verdict: Verdict = "not visible at this scale"
    if wins >= 0.7 and found["mean"] >= 0:
        verdict = "supported"
    elif wins <= 0.3 or found["high"] < 0:
        verdict = "contradicted"
    figures = {
        "share of synthetic seeds won": wins,
        "synthetic rewards (ease, best of n)": synthetic,
        "held-out accuracy (ease, best of n)": accuracies,
        "difference": found,
    }
    return ClaimResult(verdict, figures, "two intents under other names, one label in ten of the pool wrong, 3 shots")


claim = Claim(
    statement="With the same number of evaluations EASE finds orders of exemplars of larger reward than random "
    "search, and on a small model they are no worse on held-out items.",
    paper="Wu et al. 2024 (arXiv:2405.16122): better than subset selection, retrieval and influence on nearly all of "
    "19 instruction-induction tasks (counts not checked).",
    rule="Supported where EASE's tuple has the larger true reward in at least 70 % of 20 synthetic seeds (ties count "
    "half) and its held-out accuracy on SmolLM2-135M is at least that of best of n on average over 3 seeds. "
    "Contradicted at 30 % or below, or where the 95 % t-interval of that difference lies below 0; else not visible.",
    run=run,
)
