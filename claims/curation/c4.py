"""C4's line rules cut planted lines about cookies and scripts, and leave stories alone."""

from typing import Any

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.curation.c4 import C4
from trivium.data.curating import curated
from trivium.data.marks import Texts
from trivium.data.planted import planted

SEEDS, DOCUMENTS = 5, 1500
PLANTED = ("cookies", "code")
_LINES = ("We use cookies", "By going on you accept", "Click here to", "Share this", "Javascript must")


def _said(text: str) -> list[str]:
    """The lines that say something: an empty one between paragraphs falls too, and harms nobody."""
    return [line for line in text.split("\n") if line.strip()]


def run(bar: Bar) -> ClaimResult:
    """Share of documents with planted lines that are cleaned of them or dropped, less that of clean ones that are
    changed or dropped."""
    bar.total = 2 * SEEDS
    differences: list[float] = []
    figures: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        documents = list(planted(DOCUMENTS, seed, shares={"cookies": 0.1, "code": 0.1}))
        for variant in ("paper", "datatrove"):
            found = curated(C4(variant), Texts.of(documents))
            after = dict(zip(found.texts.ids, found.texts.texts, strict=True))
            cleaned, harmed = [], []
            for document in documents:
                text = after.get(document.id)
                if document.metadata.get("planted"):
                    cleaned.append(text is None or not any(line in text for line in (*_LINES, "function ")))
                else:
                    harmed.append(text is None or _said(text) != _said(document.text))
            rates = sum(cleaned) / len(cleaned), sum(harmed) / len(harmed)
            figures.setdefault(f"{variant}, cleaned", []).append(rates[0])
            figures.setdefault(f"{variant}, clean harmed", []).append(rates[1])
            if variant == "paper":
                differences.append(rates[0] - rates[1] - 0.8)
            bar.advance()
    means: dict[str, Any] = {name: sum(values) / SEEDS for name, values in figures.items()}
    return judge(differences, **means)


claim = Claim(
    statement="Rules about lines take out notices and scripts, and leave prose.",
    paper="T5, section 2.2: the rules removed most of what is not natural language; no rates are given.",
    rule=f"{SEEDS} seeds of {DOCUMENTS} documents: share cleaned less share of clean ones harmed (the paper's reading),"
    " 95 % t-interval above 0.8",
    run=run,
)
