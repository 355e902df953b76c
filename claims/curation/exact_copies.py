"""Who stays of exact copies does not depend on files or their order, and no copy is missed."""

import random

from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.curation.exact_copies import ExactCopies
from trivium.data.curating import measured
from trivium.data.marks import Texts
from trivium.data.near_duplicates import normalised
from trivium.data.planted import planted

SEEDS, DOCUMENTS, ORDERS = 5, 4000, 5


def run(bar: Bar) -> ClaimResult:
    """Planted copies, dealt to one, two and seven shards in several orders."""
    bar.total = SEEDS
    planted_copies = found = wrong = 0
    same = True
    for seed in range(SEEDS):
        documents = list(planted(DOCUMENTS, seed, shares={"copy": 0.1}))
        texts = [normalised(document.text) for document in documents]
        dropped: set[frozenset[str]] = set()
        for order in range(ORDERS):
            draw = random.Random(1000 * seed + order)
            shuffled = draw.sample(documents, len(documents))
            for shards in (1, 2, 7):
                parts = [Texts.of(shuffled[at::shards]) for at in range(shards)]
                marks = measured(ExactCopies(), parts)
                out = {
                    id
                    for part, mark in zip(parts, marks, strict=True)
                    for id, stays in zip(part.ids, mark.numbers["stays"], strict=True)
                    if not stays
                }
                dropped.add(frozenset(out))
        same = same and len(dropped) == 1
        out = next(iter(dropped))
        kept = [text for document, text in zip(documents, texts, strict=True) if document.id not in out]
        planted_copies += len(texts) - len(set(texts))
        found += len(out)
        wrong += len(kept) - len(set(kept))
        bar.advance()
    supported = same and wrong == 0 and found == planted_copies
    return ClaimResult(
        "supported" if supported else "contradicted",
        {"planted": float(planted_copies), "dropped": float(found), "copies left": float(wrong)},
        "one set of survivors in all orders and shards" if same else "survivors depend on the order",
    )


claim = Claim(
    statement="Of copies one stays, the same whatever the order and number of shards, and none is missed.",
    paper="Dolma removes exact copies in passes whose survivors depend on who came first.",
    rule=f"{SEEDS} seeds, {ORDERS} orders, 1, 2 and 7 shards: one set of survivors, as many dropped as were planted",
    run=run,
)
