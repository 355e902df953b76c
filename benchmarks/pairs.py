"""Two ways of doing one thing, timed in turns, so that a machine that drifts slows both alike."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """How many times as fast as the peer: median and range of the ratios of neighbouring runs."""

    what: str
    ratio: float
    low: float
    high: float
    ours_seconds: float
    peer_seconds: float
    target: float | None = None

    def to_dict(self) -> dict[str, float | str | None]:
        """One row of the recorded results."""
        return dict(vars(self))


def interleaved(
    what: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    *,
    repeats: int = 5,
    warmup: int = 2,
    target: float | None = None,
) -> Ratio:
    """Run peer and ours in turns; both must do the same amount of work."""
    for _ in range(warmup):
        peer()
        ours()
    pairs = [(seconds(ours), seconds(peer)) for _ in range(repeats)]
    ratios = [theirs / mine for mine, theirs in pairs]
    return Ratio(
        what,
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        statistics.median(mine for mine, _ in pairs),
        statistics.median(theirs for _, theirs in pairs),
        target,
    )


def seconds(body: Callable[[], object]) -> float:
    """Wall-clock seconds of one run."""
    start = time.perf_counter()
    body()
    return time.perf_counter() - start
