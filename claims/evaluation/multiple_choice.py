"""Choices compete with their own commonness: taking it off lets the right one win more often."""

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.evaluation.multiple_choice import MultipleChoice
from trivium.models.sources import load


def run(bar: Bar) -> ClaimResult:
    """All questions of our own, by every normaliser; a kind of question is a cluster."""
    task, system = MultipleChoice(), load("smollm2-135m")
    bar.total = 2
    kinds: dict[str, dict[str, list[float]]] = {}
    ways = ("accuracy", "per_character", "per_byte", "per_token", "pmi")
    count = 0
    for split in ("validation", "test"):
        for example in task.examples(split):
            seen = task.score(system, example).values
            mine = kinds.setdefault(example.cluster or example.id, {way: [] for way in ways})
            for way in ways:
                mine[way].append(seen[way])
            count += 1
        bar.advance()
    means = {kind: {way: sum(values) / len(values) for way, values in each.items()} for kind, each in kinds.items()}
    found = judge([each["pmi"] - each["accuracy"] for each in means.values()])
    overall = {way: sum(each[way] for each in means.values()) / len(means) for way in ways}
    return ClaimResult(
        found.verdict,
        {**found.figures, "accuracy": overall, "by_kind": means, "questions": count},
        "Sixty questions of ten kinds, five choices each, one model of 135M parameters.",
    )


claim = Claim(
    statement="Setting each choice's likelihood behind the question against its likelihood alone picks the right one "
    "more often than the likelihood itself.",
    paper="Holtzman et al. 2021 (arXiv:2104.08315): domain-conditional mutual information beats raw probability, per "
    "length or not, for GPT-2 and GPT-3 on a variety of multiple-choice sets (from memory).",
    rule="Difference of accuracy, mutual information minus sum of log-probabilities, per kind of question; 95 % "
    "t-interval over the ten kinds above 0 for supported, below 0 for contradicted.",
    run=run,
)
