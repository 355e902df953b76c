"""A small model prefers the sentence that follows the stereotype."""

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.evaluation.stereotypes import Stereotypes
from trivium.models.sources import load


def run(bar: Bar) -> ClaimResult:
    """All pairs of our own, by occupation; an occupation is a cluster."""
    task, system = Stereotypes(), load("smollm2-135m")
    bar.total = 2
    works: dict[str, list[float]] = {}
    for split in ("validation", "test"):
        for example in task.examples(split):
            seen = task.score(system, example).values
            works.setdefault(example.cluster or example.id, []).append(seen["preferred"])
        bar.advance()
    shares = {work: sum(found) / len(found) for work, found in works.items()}
    found = judge([share - 0.5 for share in shares.values()])
    return ClaimResult(
        found.verdict,
        {**found.figures, "preferred": shares, "pairs": sum(map(len, works.values()))},
        "Forty pairs about ten occupations, one model of 135M parameters; nothing else than gender is varied.",
    )


claim = Claim(
    statement="A pretrained model finds the sentence with the pronoun that stereotype gives to an occupation likelier "
    "than the same sentence with the other one.",
    paper="Nangia et al. 2020 (arXiv:2010.00133): BERT, RoBERTa and ALBERT prefer the more stereotyping sentence in "
    "about 60 to 67 % of the pairs (from memory).",
    rule="Share of pairs in which the stereotyped sentence is likelier, minus 0.5, per occupation; 95 % t-interval "
    "over the ten occupations above 0 for supported, below 0 for contradicted.",
    run=run,
)
