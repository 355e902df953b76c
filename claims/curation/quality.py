"""A linear classifier over hashed words tells stories from junk that it has not seen; by chance some stays."""

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.curation.quality import Quality
from trivium.data.curating import curated
from trivium.data.linear import Recipe, teach
from trivium.data.marks import Texts
from trivium.data.planted import JUNK, planted

SEEDS, DOCUMENTS = 5, 1000


def run(bar: Bar) -> ClaimResult:
    """Accuracy on what was held out when it is taught junk of one seed; F1 of the toy, of another seed, on junk."""
    bar.total = SEEDS
    accuracies, scores, left = [], [], []
    for seed in range(SEEDS):
        documents = list(planted(DOCUMENTS, seed + 10, shares=dict.fromkeys(JUNK, 0.08)))
        junk = [bool(document.metadata.get("planted")) for document in documents]
        said = [document.text for document in documents]
        good = [text for text, was in zip(said, junk, strict=True) if not was]
        bad = sorted({text for text, was in zip(said, junk, strict=True) if was} - set(good))
        accuracies.append(teach(good, bad, Recipe(buckets=1 << 16)).held_out.accuracy)
        dropped = ~curated(Quality(keep="threshold"), Texts.of(documents)).decided.kept
        right = sum(a and b for a, b in zip(junk, dropped, strict=True))
        scores.append(2 * right / max(sum(junk) + int(dropped.sum()), 1))
        kept = curated(Quality(), Texts.of(documents)).decided.kept
        left.append(float(sum(k for k, was in zip(kept, junk, strict=True) if was)) / sum(junk))
        bar.advance()
    return judge(
        [float(score) - 0.9 for score in scores],
        f1=float(sum(scores)) / SEEDS,
        accuracy_held_out=sum(accuracies) / SEEDS,
        junk_left_by_chance=sum(left) / SEEDS,
    )


claim = Claim(
    statement="A linear classifier over hashed words recovers planted junk of which it has seen the kinds.",
    paper="GPT-3, appendix A, shows that filtering by such a classifier improved samples; no recall is given.",
    rule=f"{SEEDS} seeds of {DOCUMENTS} documents, taught on another seed: 95 % t-interval of F1 at a bound of 0.5 "
    "above 0.9",
    run=run,
)
