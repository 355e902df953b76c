"""Half of a model foretells its refusals better than its embeddings do, and dealt labels teach nothing."""

from claims.evaluation._desk import DEPTH, desk
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.data.policy import policy
from trivium.evaluation.surrogates import Surrogates

SEEDS, PROMPTS, MIDDLE = 3, 300, DEPTH // 2


def run(bar: Bar) -> ClaimResult:
    """F1 and balanced accuracy at every depth, on forms that were held out."""
    bar.total = SEEDS
    task = Surrogates(prompts=PROMPTS, limit=3)
    curves, balanced, always, control, gaps = [], [], [], [], []
    for seed in range(SEEDS):
        labelled = task.label(desk(seed), policy(PROMPTS, seed))
        found = [task.agreement(labelled, depth) for depth in range(DEPTH + 1)]
        curves.append([one.refused for one in found])
        balanced.append([one.balanced for one in found])
        always.append(found[0].always)
        control.append(task.agreement(labelled, MIDDLE, permuted=True).balanced)
        gaps.append(found[MIDDLE].refused - max(found[0].refused, found[0].always))
        bar.advance(note=f"{found[MIDDLE].refused:.2f}")
    judged = judge(gaps)
    return ClaimResult(
        judged.verdict,
        {
            **judged.figures,
            "f1_by_depth": curves,
            "balanced_accuracy_by_depth": balanced,
            "f1_of_always_refusing": always,
            "balanced_accuracy_of_dealt_labels": control,
        },
        f"{DEPTH}-layer models taught a harmless policy; forms of prompts are held out",
    )


claim = Claim(
    statement="Half of a model's layers with a linear head foretell its refusals better than its embeddings do, and "
    "than always refusing.",
    paper="Noirot Ferrand et al. 2025 (arXiv:2501.16534), abstract: F1 above 0.80 with as little as 20 % of the model.",
    rule=f"Over {SEEDS} seeds, F1 of refusals at half the depth less the larger of that at depth 0 and of always "
    "refusing: 95 % t-interval above 0 for supported, below for contradicted.",
    run=run,
)
