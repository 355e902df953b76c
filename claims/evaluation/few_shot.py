"""Labels that mean nothing are learned from eight examples in the prompt, from some draws of examples better."""

import statistics

from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.evaluation.few_shot import FewShot
from trivium.evaluation.stats.intervals import clustered_interval
from trivium.evaluation.stats.verdicts import verdict
from trivium.models.sources import load

MODEL = "smollm2-135m"
DRAWS = 5
ITEMS = 90
SHOTS = (0, 1, 2, 4, 8)


def run(bar: Bar) -> ClaimResult:
    """Every question with five draws of its examples; a question's gain is the mean of its draws."""
    system = load(MODEL)
    bar.total = DRAWS
    gains: list[list[float]] = []
    curves: list[list[float]] = []
    clusters: list[str] = []
    for seed in range(DRAWS):
        bar.note(f"draw {seed}")
        task = FewShot(items=ITEMS, shots=SHOTS, seed=seed)
        asked = task.examples("test")
        seen = [task.score(system, example).values for example in asked]
        clusters = [example.cluster for example in asked]
        gains.append([values["gain"] for values in seen])
        curves.append([statistics.fmean(values[f"accuracy_{k}"] for values in seen) for k in SHOTS])
        bar.advance()
    found = clustered_interval([statistics.fmean(column) for column in zip(*gains, strict=True)], clusters)
    word = verdict(found.low, found.high)
    by_draw = [statistics.fmean(row) for row in gains]
    return ClaimResult(
        word or "not visible at this scale",
        {
            "gain": found.mean,
            "low": found.low,
            "high": found.high,
            "questions": found.n,
            "mappings": found.clusters,
            "accuracy_by_shots": {
                str(k): statistics.fmean(column) for k, column in zip(SHOTS, zip(*curves, strict=True), strict=True)
            },
            "gain_by_draw": by_draw,
            "standard_deviation_over_draws": statistics.stdev(by_draw),
        },
        "Words of two kinds with labels of nonsense, a mapping per pair of kinds; labels per token; the standard "
        "deviation over draws of examples is shown and does not decide.",
    )


claim = Claim(
    statement="With eight examples in the prompt a model learns labels that mean nothing: accuracy rises from none.",
    paper="Brown et al. 2020: few-shot beats zero-shot on most tasks, and the more so the larger the model (figures "
    "not checked).",
    rule="Accuracy at 8 examples minus accuracy at none, per question the mean over 5 draws of examples: the 95 % "
    "interval over mappings above 0 for supported, below 0 for contradicted, otherwise not visible.",
    run=run,
)
