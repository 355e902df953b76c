"""Exemplars that are like the question serve better than others."""

from claims.prompting._labelled import held_out, mapped
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.models.sources import load
from trivium.prompting.nearest_exemplars import NearestExemplars
from trivium.prompting.random_exemplars import RandomExemplars

SEEDS = 5
TEST = 60


def run(bar: Bar) -> ClaimResult:
    bar.total = 2 * SEEDS
    system, found = load("smollm2-135m"), {"nearest": [], "random": []}
    for seed in range(SEEDS):
        for name, method in (("nearest", NearestExemplars()), ("random", RandomExemplars())):
            found[name].append(held_out(method, mapped(seed, TEST), system, seed))
            bar.advance()
    gaps = [one - other for one, other in zip(found["nearest"], found["random"], strict=True)]
    return judge(gaps, accuracy=found)


claim = Claim(
    statement="Three exemplars nearest to each question give a higher accuracy than three random ones.",
    paper="Liu et al. 2022 (arXiv:2101.06804): nearest examples beat random ones on GPT-3, by 41.9 % on ToTTo and "
    "45.5 % on Natural Questions (abstract).",
    rule="Paired difference over 5 seeds of held-out accuracy on SmolLM2-135M, nearest minus random, 95 % t-interval "
    "above 0 for supported, below 0 for contradicted, otherwise not visible.",
    run=run,
)
