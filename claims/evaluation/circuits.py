"""The heads that a pretrained model loses a task without are few, and the same on other prompts."""

from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.evaluation.circuits import Circuits
from trivium.models.sources import load

PAIRS = 4
"""Of each split; every head is knocked out on the positives of both."""
LEAST, CHANCE = 0.9, 0.6
FEW = 0.1
"""Part of all heads that a circuit may have."""


def run(bar: Bar) -> ClaimResult:
    system = load("smollm2-135m")
    task = Circuits(("ioi",), pairs=PAIRS, batch_size=64)
    (example,), (other,) = task.examples("test"), task.examples("validation")
    bar.note("prompts of the test split")
    truth = task.truth(system, example, bar)
    bar.done = 0
    bar.note("other prompts")
    elsewhere = task.truth(system, other, bar)
    found = task.score(system, example, elsewhere.found.lost)
    values = dict(found.values)
    few = values["circuit"] <= FEW
    if values["auc"] >= LEAST and values["f1"] > values["f1_permuted"] and few:
        verdict = "supported"
    else:
        verdict = "contradicted" if values["auc"] < CHANCE or not few else "not visible at this scale"
    return ClaimResult(
        verdict,
        {
            **values,
            "gap": truth.gap,
            "gap_elsewhere": elsewhere.gap,
            "heads": truth.heads.nonzero().tolist(),
            "heads_elsewhere": elsewhere.heads.nonzero().tolist(),
        },
        "Single knockouts by the mean over negatives; heads that stand in for each other are missed on both sides.",
    )


claim = Claim(
    statement="The circuit that knockouts find for indirect objects has few heads, and other prompts find the same.",
    paper="Wang et al. 2022: 26 of 144 heads of GPT-2 small, tested on prompts of several templates; O'Neill and Bui "
    "2024 take it for the truth.",
    rule="SmolLM2-135M, 4 prompts and 4 others: what each head loses on the others, as scores of the circuit (heads "
    "that take more than 20 % of the gap) of the first, has an AUC of at least 0.9 and an F1 above that of permuted "
    "scores, and the circuit has at most 10 % of all heads: supported. An AUC below 0.6 or a larger circuit: "
    "contradicted.",
    run=run,
)
