"""What the cheapest expert saves in size it pays in loss."""

from claims.routing._router import seen
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.routing.cheapest import Cheapest
from trivium.routing.tryage import Tryage


def run(bar: Bar) -> ClaimResult:
    found = seen({"cheapest": Cheapest(), "tryage": Tryage()}, bar)
    pairs = zip(found["cheapest"]["regret"], found["tryage"]["regret"], strict=True)
    result = judge([one - other for one, other in pairs], arms=found)
    dearer = all(a <= b for a, b in zip(found["cheapest"]["cost"], found["tryage"]["cost"], strict=True))
    return ClaimResult(result.verdict if dearer else "contradicted", result.figures)


claim = Claim(
    statement="The cheapest of six experts costs no more than what a router chooses, and has more regret.",
    paper="No paper; the end of the front that a weight on cost leads to.",
    rule="Paired difference over 5 seeds of the mean regret in bits per byte, cheapest minus Tryage without a weight, "
    "95 % t-interval above 0 for supported; contradicted below 0, or where the cheapest costs more.",
    run=run,
)
