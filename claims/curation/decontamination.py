"""Planted test items are found in documents, the benchmark is split as it was leaked, and nothing is left after."""

from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.curation.decontamination import Decontamination
from trivium.data.curating import curated
from trivium.data.marks import Texts
from trivium.data.planted import ITEMS, items, planted

DOCUMENTS, SHARE = 400, 0.05
VARIANTS = ("gpt3", "dolma")
"""Not datatrove's, which looks for answers: planted items have none apart."""
ORDERS = 3


def run(bar: Bar) -> ClaimResult:
    """Items of one seed in stories of the same: every reading, shards in several orders, and a second pass."""
    bar.total = len(VARIANTS)
    documents = list(planted(DOCUMENTS, 0, shares={"leaked": SHARE}))
    leaked = {document.id for document in documents if document.metadata.get("planted") == "leaked"}
    out = {document.metadata["item"] for document in documents if document.id in leaked}
    figures: dict[str, float] = {"leaked": float(len(leaked)), "items leaked": float(len(out))}
    right = True
    for variant in VARIANTS:
        method, texts = Decontamination(variant=variant), Texts.of(documents)
        found = curated(method, texts)
        hits = found.marks.numbers["decontamination.hits"] > 0
        told = {id for id, hit in zip(texts.ids, hits, strict=True) if hit}
        orders = [[method.sketch(Texts.of(documents[at::n])) for at in range(n)] for n in range(1, ORDERS + 1)]
        splits = [method.report(sketches)[0] for sketches in orders]
        dirty = set(map(int, splits[0].dirty))
        left = sum(question in text for question in items(0) for text in found.texts.texts)
        figures |= {
            f"{variant}: documents found": float(len(told & leaked)),
            f"{variant}: documents found wrongly": float(len(told - leaked)),
            f"{variant}: items dirty": float(len(dirty)),
            f"{variant}: items left in text": float(left),
            f"{variant}: characters kept": found.counts.chars_kept / found.counts.chars_read,
        }
        same = all((one.dirty, one.clean, one.hits) == (splits[0].dirty, splits[0].clean, splits[0].hits)
                   for one in splits)  # fmt: skip
        right = right and told == leaked and dirty == out and not left and same
        right = right and len(splits[0].clean) == ITEMS - len(out)
        bar.advance()
    return ClaimResult("supported" if right else "contradicted", figures, "cutting keeps more than dropping does")


claim = Claim(
    statement="Test items in training text are found, told apart from those that are not there, and gone afterwards.",
    paper="GPT-3, appendix C, and Megatron-Turing NLG: runs of 13 words are searched for and cut; no recall is given.",
    rule=f"{DOCUMENTS} documents, {SHARE:.0%} of them leaked, two readings, shards in {ORDERS} ways: the documents "
    "found, and the items reported dirty, are those that were leaked, and no item is left",
    run=run,
)
