"""Planted keys, tokens and passwords are found, and what only looks like them is not."""

from collections import Counter

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.curation.secrets import Secrets
from trivium.data.marks import Texts
from trivium.data.planted_code import planted_code
from trivium.data.python_docs import python_code

SEEDS, DOCUMENTS, MODULES = 5, 400, 300

NOTE = (
    "What is planted is plain and our own: F1 says that the rules do what they say, not how well they fare elsewhere."
)


def run(bar: Bar) -> ClaimResult:
    """F1 of spans on planted files, of which as many hold lookalikes; and how many passages are found in modules of the
    standard library, which have no secrets but tables, hashes and examples."""
    bar.total = SEEDS + 1
    scores, lookalikes, marked = [], 0, 0
    planted: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for seed in range(SEEDS):
        documents = list(planted_code(DOCUMENTS, seed, shares={"secret": 0.25, "lookalike": 0.25}))
        marks = Secrets().tag(Texts.of(documents))
        right = given = wanted = 0
        for place, document in enumerate(documents):
            true = {(kind, start, end) for kind, start, end in document.metadata.get("spans", [])}
            seen = {(kind, a, b) for kind, rows in marks.spans.items() for a, b, _ in rows[place]}
            planted.update(kind for kind, *_ in true)
            found.update(kind for kind, *_ in true & seen)
            right, given, wanted = right + len(true & seen), given + len(seen), wanted + len(true)
            if document.metadata.get("planted") == "lookalike":
                lookalikes, marked = lookalikes + 1, marked + len(seen)
        scores.append(2 * right / (given + wanted))
        bar.advance()
    modules = list(python_code()["train"])[:MODULES]
    elsewhere = Secrets().tag(Texts([str(n) for n in range(len(modules))], modules, [""] * len(modules)))
    bar.advance()
    return judge(
        [score - 0.9 for score in scores],
        note=NOTE,
        f1=sum(scores) / SEEDS,
        recall={kind: found[kind] / count for kind, count in sorted(planted.items())},
        files_with_lookalikes=lookalikes,
        passages_found_there=marked,
        in_library={kind: sum(map(len, rows)) for kind, rows in elsewhere.spans.items()},
        library_modules=len(modules),
    )


claim = Claim(
    statement="Patterns and entropy find planted keys, tokens and passwords, and pass over what looks like them.",
    paper="Dolma and StarCoder's first passes search code for secrets with detect-secrets; no recall is given.",
    rule=f"{SEEDS} seeds of {DOCUMENTS} files: 95 % t-interval of the spans' F1 above 0.9",
    run=run,
)
