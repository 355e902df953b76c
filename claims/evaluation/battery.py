"""A dense matrix: one run over all scenarios measures most metrics at each, and says of every other cell why not."""

import tempfile

from trivium.compare import batteries
from trivium.compare.claim import Claim, ClaimResult
from trivium.compare.comparison import Comparison
from trivium.core.progress import Bar
from trivium.evaluation.battery import Battery

ITEMS = 12
MODEL = "tiny"
METRICS = {
    "accuracy": ("accuracy", "f1", "bits_per_byte", "reciprocal_rank"),
    "calibration": ("ece_mass",),
    "robustness": ("robustness",),
    "fairness": ("fairness",),
    "bias": ("bias_gender", "bias_race", "stereotype_gender"),
    "toxicity": ("toxicity",),
    "efficiency": ("modelled_seconds",),
}
"""HELM's seven metrics -> the measures of which one is enough."""
DENSE = 98 / 112
"""The paper's share of measured cells."""


def run(bar: Bar) -> ClaimResult:
    """The suite 'helm' on the model that ships; which cells have a value is no matter of the model's size."""
    labels, tasks = zip(*batteries.battery("helm"), strict=True)
    tasks = tuple(batteries.limited(task, ITEMS, None) for task in tasks)
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison("evaluation", [MODEL], task=Battery(tasks, labels), seeds=1)
        (row,) = comparison.run(folder, bar=bar).data["contenders"]
    filled, reasons, silent = 0, 0, []
    for label in labels:
        for metric, measures in METRICS.items():
            names = [f"{label}.{measure}" for measure in measures]
            if any(name in row["measures"] for name in names):
                filled += 1
            elif all(row["absent"].get(name, {}).get("why") for name in names):
                reasons += 1
            else:
                silent.append(f"{label}: {metric}")
    share = filled / (len(labels) * len(METRICS))
    word = "contradicted" if silent else "supported" if share >= DENSE else "not visible at this scale"
    return ClaimResult(
        word,
        {"scenarios": len(labels), "metrics": len(METRICS), "share": share, "reasons": reasons, "silent": silent},
        "Bias and toxicity are of written texts only, and what is only read has neither answers nor copies.",
    )


claim = Claim(
    statement="One run over all scenarios gives a value in at least 87.5 % of the cells of scenario by metric, and a "
    "reason in every other.",
    paper="Liang et al. 2022: 7 metrics at 16 core scenarios, measured in 98 of 112 cells, 87.5 % (abstract).",
    rule="Supported where at least 87.5 % of the cells have a value and every other a reason; contradicted where a "
    "cell has neither; otherwise not visible.",
    run=run,
)
