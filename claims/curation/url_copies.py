"""Pages that were visited twice are found by their address, whatever the order of files, and no other page is."""

import random

from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.curation.url_copies import UrlCopies
from trivium.data.curating import measured
from trivium.data.marks import Texts
from trivium.data.planted import planted

SEEDS, DOCUMENTS, ORDERS = 5, 4000, 3


def run(bar: Bar) -> ClaimResult:
    """Planted visits, dealt to one, two and seven shards in several orders."""
    bar.total = SEEDS
    visited = found = strangers = 0
    same = True
    for seed in range(SEEDS):
        documents = list(planted(DOCUMENTS, seed, shares={"visited": 0.1, "copy": 0.1}))
        again = [document for document in documents if document.metadata.get("planted") == "visited"]
        dropped: set[frozenset[str]] = set()
        for order in range(ORDERS):
            shuffled = random.Random(1000 * seed + order).sample(documents, len(documents))
            for shards in (1, 2, 7):
                parts = [Texts.of(shuffled[at::shards]) for at in range(shards)]
                out = {
                    id
                    for part, mark in zip(parts, measured(UrlCopies(), parts), strict=True)
                    for id, stays in zip(part.ids, mark.numbers["stays"], strict=True)
                    if not stays
                }
                dropped.add(frozenset(out))
        same = same and len(dropped) == 1
        out = next(iter(dropped))
        together = {document.id for document in again} | {document.metadata["of"] for document in again}
        visited, found, strangers = visited + len(again), found + len(out), strangers + len(out - together)
        bar.advance()
    supported = same and found == visited and strangers == 0
    return ClaimResult(
        "supported" if supported else "contradicted",
        {"planted": float(visited), "dropped": float(found), "dropped though seen once": float(strangers)},
        "one set of survivors in all orders and shards" if same else "survivors depend on the order",
    )


claim = Claim(
    statement="Of pages from one address one stays, the same in any order of files, and no other page is dropped.",
    paper="Dolma, section 5.3: copies by URL are removed first, as that is cheapest; about half of all (from memory).",
    rule=f"{SEEDS} seeds, {ORDERS} orders, 1, 2 and 7 shards: as many dropped as were planted, no other page",
    run=run,
)
