"""The best single expert loses less than an expert drawn for each prompt."""

from claims.routing._router import seen
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.routing.best_single import BestSingle
from trivium.routing.random_expert import RandomExpert


def run(bar: Bar) -> ClaimResult:
    found = seen({"best_single": BestSingle(), "random": RandomExpert()}, bar)
    pairs = zip(found["random"]["regret"], found["best_single"]["regret"], strict=True)
    return judge([one - other for one, other in pairs], arms=found)


claim = Claim(
    statement="Over prompts of six sorts the best single of six experts has less regret than one drawn at random.",
    paper="No paper; the baseline that a router has to beat.",
    rule="Paired difference over 5 seeds of the mean regret in bits per byte, random minus best single, 95 % "
    "t-interval above 0 for supported, below 0 for contradicted, otherwise not visible.",
    run=run,
)
