"""Planted addresses and numbers are found by pattern, and little else is."""

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.curation.pii import PII
from trivium.data.marks import Texts
from trivium.data.planted import planted
from trivium.data.python_docs import python_docs

SEEDS, DOCUMENTS = 5, 1500


def run(bar: Bar) -> ClaimResult:
    """F1 of spans on planted documents; and how many passages are found in documentation that has hardly any."""
    bar.total = SEEDS
    scores = []
    for seed in range(SEEDS):
        documents = list(planted(DOCUMENTS, seed, shares=0.05))
        marks = PII().tag(Texts.of(documents))
        right = given = wanted = 0
        for place, document in enumerate(documents):
            true = {(kind, start, end) for kind, start, end in document.metadata.get("spans", [])}
            seen = {(kind, a, b) for kind, rows in marks.spans.items() for a, b, _ in rows[place]}
            right, given, wanted = right + len(true & seen), given + len(seen), wanted + len(true)
        scores.append(2 * right / (given + wanted))
        bar.advance()
    docs = list(python_docs()["train"])
    elsewhere = PII().tag(Texts([str(n) for n in range(len(docs))], docs, ["docs"] * len(docs)))
    return judge(
        [score - 0.9 for score in scores],
        f1=sum(scores) / SEEDS,
        in_documentation=float(elsewhere.numbers["passages"].sum()),
        documents_there=float(len(docs)),
    )


claim = Claim(
    statement="Patterns find planted e-mail addresses, telephone numbers and network addresses.",
    paper="Dolma, section 5.1.3, masks such passages and drops documents with more than five; no recall is given.",
    rule=f"{SEEDS} seeds of {DOCUMENTS} documents: 95 % t-interval of the spans' F1 above 0.9",
    run=run,
)
