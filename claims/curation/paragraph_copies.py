"""Repeated paragraphs are found, and a filter errs at most at the rate that was asked for, where it can err at all."""

import math
from typing import Any

import numpy as np

from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.curation.paragraph_copies import ParagraphCopies
from trivium.data.bloom import Bloom
from trivium.data.curating import measured
from trivium.data.digests import digests
from trivium.data.marks import Texts
from trivium.data.planted import NOTICE_WORDS, planted

SEEDS, DOCUMENTS = 5, 3000
HELD, PROBES = 100_000, 300_000
RATES = (1e-2, 1e-3, 1e-6)


def run(bar: Bar) -> ClaimResult:
    """Planted paragraphs by comparison and by filter; and full filters asked for what they have not seen."""
    bar.total = SEEDS + len(RATES)
    wanted = right = given = differ = 0
    for seed in range(SEEDS):
        documents = list(planted(DOCUMENTS, seed, shares={"paragraph": 0.2}, sources=("web",)))
        exact, rough = (
            measured(ParagraphCopies(least_words=NOTICE_WORDS, memory=memory), [Texts.of(documents)])[0].spans["copies"]
            for memory in ("exact", "bloom")
        )
        differ += sum(a != b for a, b in zip(exact, rough, strict=True))
        seen: set[str] = set()
        for document, row in zip(documents, exact, strict=True):
            spans: list[Any] = document.metadata.get("spans", [])
            repeated = {(a, b) for _, a, b in spans if document.text[a:b] in seen}
            seen |= {document.text[a:b] for _, a, b in spans}
            cut = {(a, a + len(document.text[a:b].rstrip("\n"))) for a, b, _ in row}
            wanted, right, given = wanted + len(repeated), right + len(cut & repeated), given + len(cut)
        bar.advance()
    figures: dict[str, float] = {"recall": right / wanted, "precision": right / given, "filter differs": float(differ)}
    within = True
    for rate in RATES:
        bloom = Bloom(HELD, rate)
        for at in range(0, HELD, 10_000):
            bloom.add(digests(f"seen {n}" for n in range(at, at + 10_000)))
        wrong = sum(int(bloom.holds(digests(f"new {n}" for n in range(at, at + 10_000))).sum())
                    for at in range(0, PROBES, 10_000))  # fmt: skip
        within = within and wrong <= rate * PROBES + 3 * math.sqrt(rate * PROBES) + 1
        figures[f"errors at a rate of {rate:g}"] = wrong / PROBES
        bar.advance()
    supported = within and right == wanted == given and differ <= np.ceil(1e-6 * SEEDS * DOCUMENTS)
    return ClaimResult("supported" if supported else "contradicted", figures, f"{wanted} planted copies")


claim = Claim(
    statement="Every repeated paragraph is cut but for one copy, and nothing else; a filter does as well at its rate.",
    paper="Dolma, section 5.3: paragraphs by a Bloom filter of rate 1e-6 or below (from the published settings).",
    rule=f"{SEEDS} seeds: recall and precision 1, filter and comparison the same; full filters of {HELD} wrong at "
    f"most at their rate and three standard errors in {PROBES} questions",
    run=run,
)
