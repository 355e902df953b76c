"""Two ways of doing one thing, timed in turns, so that a machine that drifts slows both alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


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
    """Wall-clock seconds of one run, with all that it left a GPU to do."""
    start = time.perf_counter()
    body()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turns(bodies: Mapping[str, Callable[[], object]], *, repeats: int, warmup: int = 1) -> dict[str, list[float]]:
    """Seconds of each, all taking turns, so that runs of the same number are neighbours."""
    for _ in range(warmup):
        for body in bodies.values():
            body()
    took: dict[str, list[float]] = {name: [] for name in bodies}
    for _ in range(repeats):
        for name, body in bodies.items():
            took[name].append(seconds(body))
    return took


def ratio_of(what: str, ours: list[float], peer: list[float], target: float | None) -> dict[str, Any]:
    """A row of the results from runs that took turns."""
    ratios = [theirs / mine for mine, theirs in zip(ours, peer, strict=True)]
    middle = statistics.median
    return Ratio(what, middle(ratios), min(ratios), max(ratios), middle(ours), middle(peer), target).to_dict()


def processor(device: str = "cpu") -> str:
    """The GPU; or what of this processor decides which kernels run, and the threads."""
    if device != "cpu":
        return f"{torch.cuda.get_device_name(device)}; torch {torch.__version__}"
    flags: set[str] = set()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        said = [line for line in info.read_text(encoding="utf-8").splitlines() if line.startswith("flags")]
        flags = set(said[0].split()) if said else set()
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    has = ", ".join(word for word in wanted if word in flags) or "none of the known extensions"
    return f"processor with {has}; {torch.get_num_threads()} threads"
