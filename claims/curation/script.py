"""Shares of scripts in pages mixed from two languages are those they were mixed by."""

import random

import numpy as np

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.seeds import derive
from trivium.curation.script import Script
from trivium.data.languages import OWN
from trivium.data.marks import Texts

SEEDS, DOCUMENTS, SENTENCES = 5, 300, 20
OTHERS = {"ancient_greek": "Greek", "arabic": "Arabic"}


def run(bar: Bar) -> ClaimResult:
    """Largest error of the share of letters, and of shares that should be 1 together, over mixed pages."""
    bar.total = SEEDS * len(OTHERS)
    errors, agree = [], []
    for seed in range(SEEDS):
        draw = random.Random(derive(seed, "scripts"))
        for language, name in OTHERS.items():
            pools = {one: [row.strip() for row in OWN[one].replace("|", "\n").split("\n") if row.strip()]
                     for one in ("french", language)}  # fmt: skip
            said, truth = [], []
            for _ in range(DOCUMENTS):
                share = draw.random()
                picked = [draw.choices(["french", language], [1 - share, share])[0] for _ in range(SENTENCES)]
                rows = [draw.choice(pools[one]) for one in picked]
                letters = [sum(map(str.isalpha, row)) for row in rows]
                said.append("\n".join(rows))
                truth.append(sum(n for n, one in zip(letters, picked, strict=True) if one == language) / sum(letters))
            texts = Texts([str(n) for n in range(DOCUMENTS)], said, ["s"] * DOCUMENTS)
            found = Script((name, "Latin")).tag(texts).numbers
            parts = [found[f"share_{name.lower()}"], found["share_latin"], found["other"]]
            errors.append(float(max(np.abs(parts[0] - truth).max(), np.abs(np.sum(parts, axis=0) - 1).max())))
            agree.append(float(((found[f"share_{name.lower()}"] >= 0.5) == (np.array(truth) >= 0.5)).mean()))
            bar.advance()
    return judge([0.01 - error for error in errors], largest_error=max(errors), decided_alike=min(agree))


claim = Claim(
    statement="Properties of Unicode tell the letters of two scripts apart without an error worth the name.",
    paper="TunBERT's cleaning; no figure is given. Shares of scripts are 1 together.",
    rule=f"{SEEDS} seeds of {DOCUMENTS} pages in French and Greek or Arabic: largest error of a share, 95 % t-interval "
    "below 0.01",
    run=run,
)
