"""The best of many random tuples does better on held-out items than one random tuple."""

from claims.prompting._labelled import held_out, mapped
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.models.sources import load
from trivium.prompting.best_of_n import BestOfN
from trivium.prompting.random_exemplars import RandomExemplars

SEEDS = 5
TRIALS = 20
TEST = 60


def run(bar: Bar) -> ClaimResult:
    bar.total = 2 * SEEDS
    system, found = load("smollm2-135m"), {"best of n": [], "one": []}
    for seed in range(SEEDS):
        for name, method in (("best of n", BestOfN(evaluations=TRIALS)), ("one", RandomExemplars())):
            found[name].append(held_out(method, mapped(seed, TEST), system, seed))
            bar.advance()
    gaps = [one - other for one, other in zip(found["best of n"], found["one"], strict=True)]
    return judge(gaps, accuracy=found)


claim = Claim(
    statement="The best of 20 random tuples of exemplars, chosen on 20 items, is better on held-out items than one.",
    paper="No paper; random search, the baseline of every search for exemplars.",
    rule="Paired difference over 5 seeds of held-out accuracy on SmolLM2-135M, 95 % t-interval above 0 for supported, "
    "below 0 for contradicted, otherwise not visible.",
    run=run,
)
