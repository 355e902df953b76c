"""The lowest perplexities are of clean text where the rest is shuffled; how much repetition gets in is told."""

import random

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.seeds import derive
from trivium.curation.perplexity import PerplexityBand
from trivium.data.curating import curated
from trivium.data.marks import Texts
from trivium.data.stories import story

SEEDS, DOCUMENTS = 5, 300
BOILERPLATE = "The cat sat. " * 40


def run(bar: Bar) -> ClaimResult:
    """Share of clean texts among the lowest 20 % of half clean, half with their words shuffled; and the share of a
    repeated sentence, one text in twenty, that stays with and without a lower bound."""
    bar.total = SEEDS
    clean, kept, cut = [], [], []
    for seed in range(SEEDS):
        draw = random.Random(derive(seed, "shuffled"))
        said = [story(seed + 90, number) for number in range(DOCUMENTS)]
        for place in range(0, DOCUMENTS, 2):
            words = said[place].split()
            draw.shuffle(words)
            said[place] = " ".join(words)
        ids = [f"{number:04d}" for number in range(DOCUMENTS)]
        stay = curated(PerplexityBand(lowest=0.0), Texts(ids, said, ["s"] * DOCUMENTS)).texts.ids
        clean.append(sum(int(id) % 2 for id in stay) / len(stay))
        said[1::20] = [BOILERPLATE] * len(said[1::20])
        for lowest, to in ((0.0, kept), (6.0, cut)):
            stay = curated(PerplexityBand(lowest=lowest, per="byte"), Texts(ids, said, ["s"] * DOCUMENTS)).texts.ids
            to.append(sum(int(id) % 20 == 1 for id in stay) / len(said[1::20]))
        bar.advance()
    return judge(
        [share - 0.95 for share in clean],
        clean=sum(clean) / SEEDS, boilerplate_kept=sum(kept) / SEEDS, boilerplate_kept_above_6=sum(cut) / SEEDS,
    )  # fmt: skip


claim = Claim(
    statement="Text with its words shuffled is not among the lowest fifth of perplexities.",
    paper="POINTS trains on the lowest 20 % of a set by perplexity and does as well as with all of it.",
    rule=f"{SEEDS} seeds of {DOCUMENTS} texts: share of clean ones among the lowest 20 %, 95 % t-interval above 0.95",
    run=run,
)
