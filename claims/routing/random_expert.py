"""An expert drawn at random is the best one as often as chance has it."""

from claims.routing._router import seen
from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.evaluation.stats.intervals import mean_interval
from trivium.routing.random_expert import RandomExpert

EXPERTS = 6


def run(bar: Bar) -> ClaimResult:
    right = seen({"random": RandomExpert()}, bar)["random"]["right"]
    found = mean_interval(right)
    assert found.low is not None
    assert found.high is not None
    inside = found.low <= 1 / EXPERTS <= found.high
    figures = {"right": right, "mean": found.mean, "low": found.low, "high": found.high, "chance": 1 / EXPERTS}
    return ClaimResult("supported" if inside else "contradicted", figures)


claim = Claim(
    statement="A random expert is the best of six for one prompt in six.",
    paper="No paper; chance, beside which shares of right choices are read.",
    rule="Supported where the 95 % t-interval over 5 seeds of the share of right choices holds 1/6, else contradicted.",
    run=run,
)
