"""Exemplars drawn at random help a small model to tell labels apart that mean nothing by themselves."""

from claims.prompting._labelled import held_out, mapped
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.models.sources import load
from trivium.prompting.random_exemplars import RandomExemplars

SEEDS = 5
SHOTS = 8
TEST = 60


def run(bar: Bar) -> ClaimResult:
    bar.total = 2 * SEEDS
    system, found = load("smollm2-135m"), {"eight": [], "none": []}
    for seed in range(SEEDS):
        for name, shots in (("eight", SHOTS), ("none", 0)):
            found[name].append(held_out(RandomExemplars(shots), mapped(seed, TEST), system, seed))
            bar.advance()
    gaps = [one - other for one, other in zip(found["eight"], found["none"], strict=True)]
    return judge(gaps, accuracy=found)


claim = Claim(
    statement="Eight random exemplars raise the accuracy of two labels whose names mean nothing.",
    paper="Brown et al. 2020 (arXiv:2005.14165): accuracy grows with the number of examples in the context.",
    rule="Paired difference over 5 seeds of held-out accuracy on SmolLM2-135M, eight exemplars minus none, 95 % "
    "t-interval above 0 for supported, below 0 for contradicted, otherwise not visible.",
    run=run,
)
