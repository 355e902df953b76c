"""Both tails of the compression ratio: repeated sentences above, packed bytes below, stories between."""

import base64
import random
from typing import Any

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.seeds import derive
from trivium.curation.compression import Compression
from trivium.data.curating import curated
from trivium.data.marks import Texts
from trivium.data.planted import planted

SEEDS, DOCUMENTS, SHARE = 5, 600, 0.1


def run(bar: Bar) -> ClaimResult:
    """F1 of what is dropped against repeated documents and such as became base64 of random bytes; the same with
    Whisper's bound of 2.4, and the share of random letters that passes."""
    bar.total = SEEDS
    figures: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        draw = random.Random(derive(seed, "packed"))
        documents = list(planted(DOCUMENTS, seed, shares={"repeated": SHARE, "gibberish": SHARE}))
        sort = [document.metadata.get("planted", "packed" if draw.random() < SHARE else "") for document in documents]
        said = [
            base64.b64encode(draw.randbytes(draw.randint(450, 3000))).decode() if what == "packed" else document.text
            for document, what in zip(documents, sort, strict=True)
        ]
        texts = Texts([document.id for document in documents], said, ["s"] * DOCUMENTS)
        for name, method in (("f1", Compression()), ("f1, at most 2.4", Compression(most=2.4))):
            kept = set(curated(method, texts).texts.ids)
            bad = {id for id, what in zip(texts.ids, sort, strict=True) if what in ("repeated", "packed")}
            letters = {id for id, what in zip(texts.ids, sort, strict=True) if what == "gibberish"}
            dropped = set(texts.ids) - kept
            figures.setdefault(name, []).append(2 * len(dropped & bad) / (len(dropped) + len(bad)))
            figures.setdefault("random letters that stay", []).append(len(letters & kept) / len(letters))
        bar.advance()
    means: dict[str, Any] = {name: sum(values) / len(values) for name, values in figures.items()}
    return judge([value - 0.9 for value in figures["f1"]], **means)


claim = Claim(
    statement="The ratio that zlib reaches tells what is stuck and what is noise from prose.",
    paper="Whisper, section 4.5: a ratio above 2.4 is taken for a loop; no rates are given.",
    rule=f"{SEEDS} seeds of {DOCUMENTS} documents: F1 against planted repetition and base64, 95 % t-interval above 0.9",
    run=run,
)
