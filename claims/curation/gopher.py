"""Gopher's rules find planted junk."""

from collections import Counter

from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.curation.gopher import Gopher
from trivium.data.curating import curated
from trivium.data.marks import Texts
from trivium.data.planted import JUNK, planted
from trivium.evaluation.stats.intervals import mean_interval
from trivium.evaluation.stats.verdicts import verdict

SEEDS, DOCUMENTS = 5, 2000
VARIANTS = ("dolma_v2", "datatrove")


def run(bar: Bar) -> ClaimResult:
    """F1 of what is dropped against what was planted as junk; all else counts as wanted, other faults too."""
    bar.total = SEEDS * len(VARIANTS)
    scores: dict[str, list[float]] = {name: [] for name in VARIANTS}
    missed: Counter[str] = Counter()
    wrongly: Counter[str] = Counter()
    for seed in range(SEEDS):
        documents = list(planted(DOCUMENTS, seed))
        junk = [document.metadata.get("planted", "") in JUNK for document in documents]
        for name in VARIANTS:
            dropped = ~curated(Gopher(name), Texts.of(documents)).decided.kept
            right = sum(a and b for a, b in zip(junk, dropped, strict=True))
            scores[name].append(2 * right / max(sum(junk) + int(dropped.sum()), 1))
            for document, was, is_out in zip(documents, junk, dropped, strict=True):
                fault = document.metadata.get("planted", "clean")
                if was and not is_out:
                    missed[f"{name}, {fault}"] += 1
                if is_out and not was:
                    wrongly[f"{name}, {fault}"] += 1
            bar.advance()
    found = {name: mean_interval(values) for name, values in scores.items()}
    lead = found["dolma_v2"]
    return ClaimResult(
        verdict(lead.low, lead.high, more_than=0.9) or "not visible at this scale",
        {name: interval.mean for name, interval in found.items()},
        f"kept though planted: {dict(missed)}; dropped though not: {dict(wrongly)}",
    )


claim = Claim(
    statement="Rules about length, symbols, stop words and repetition recover planted junk.",
    paper="Appendix A.1 of the Gopher paper gives the rules and no recall; Dolma's shows that models trained on what "
    "they keep do better.",
    rule=f"{SEEDS} seeds of {DOCUMENTS} documents: 95 % t-interval of F1 (Dolma's reading) above 0.9",
    run=run,
)
