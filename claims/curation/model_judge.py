"""Whether a small chat model, asked for a score from 1 to 5, tells pages of a manual from planted junk."""

import numpy as np

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.curation.model_judge import ModelJudge
from trivium.data.marks import Texts
from trivium.data.planted import planted
from trivium.data.python_docs import python_docs

SEEDS, EACH, CHARACTERS = 4, 6, 400
MODEL = "smollm2-135m"
JUNK = ("repeated", "symbols", "bullets", "gibberish")


def run(bar: Bar) -> ClaimResult:
    """Share of pairs of a page and a piece of junk in which the page has the higher score, ties and documents without a
    score counted as halves."""
    bar.total = SEEDS
    pages = [text for text in python_docs()["train"] if len(text) > 2 * CHARACTERS]
    method = ModelJudge(MODEL, characters=CHARACTERS, batch_size=8)
    shares, invalid, means = [], [], []
    for seed in range(SEEDS):
        picked = np.random.default_rng(seed).choice(len(pages), EACH, replace=False)
        good = [pages[place] for place in picked]
        documents = planted(10 * EACH, seed, shares=dict.fromkeys(JUNK, 0.25))
        bad = [document.text for document in documents if document.metadata.get("planted")][:EACH]
        said = [*good, *bad]
        found = method.tag(Texts([str(n) for n in range(len(said))], said, ["s"] * len(said))).numbers
        high, low = found["score"][:EACH, None], found["score"][None, EACH:]
        shares.append(float(np.where(high > low, 1.0, np.where(high < low, 0.0, 0.5)).mean()))
        invalid.append(float(found["invalid"].mean()))
        means.append((np.nanmean(found["score"][:EACH]), np.nanmean(found["score"][EACH:])))
        bar.advance()
    pages_mean, junk_mean = np.mean(means, axis=0).tolist()
    return judge(
        [share - 0.7 for share in shares], pairs_in_order=sum(shares) / SEEDS, invalid=sum(invalid) / SEEDS,
        mean_of_pages=pages_mean, mean_of_junk=junk_mean,
        note=f"{MODEL} is far smaller than the judges of the papers.",
    )  # fmt: skip


claim = Claim(
    statement="A model that is asked how textbook-like a document is tells a manual's pages from junk.",
    paper="1.5-Pints has people score, Textbooks Are All You Need a large model; no agreement is given for small ones.",
    rule=f"{SEEDS} seeds of {EACH} pages of Python's documentation and as many planted documents: share of pairs in "
    "the right order, 95 % t-interval above 0.7",
    run=run,
)
