"""A small model's list of keyphrases is better than a lot's and worse than TF-IDF's."""

from dataclasses import replace

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.data.keyphrases import counted
from trivium.evaluation.keyphrases import Keyphrases, scored
from trivium.models.sources import load

ITEMS: int | None = None


def run(bar: Bar) -> ClaimResult:
    """Three makers of lists on the same twenty documents; before it, the scores of perfect lists by their counts."""
    exact = True
    for document, here in counted("test"):
        seen = scored(document, document.phrases)
        for sort, gold in (("present", here), ("absent", len(document.phrases) - here)):
            by_hand = 2 * min(gold, 5) / (5 + gold)
            exact &= abs(seen[f"{sort}_f1_5"] - by_hand) < 1e-12 and seen[f"{sort}_f1_m"] == 1.0
    system, task = load("smollm2-135m"), Keyphrases(items=ITEMS)
    bar.total = 3
    found: dict[str, list[float]] = {}
    absent: dict[str, float] = {}
    for by in ("model", "tfidf", "random"):
        arm = replace(task, by=by)
        values = [arm.score(system, example).values for example in arm.examples("test")]
        found[by] = [one["present_f1_5"] for one in values]
        absent[by] = sum(one["absent_f1_m"] for one in values) / len(values)
        bar.advance(1, by)
    parts = {
        "model over a lot": judge([a - b for a, b in zip(found["model"], found["random"], strict=True)]),
        "TF-IDF over model": judge([a - b for a, b in zip(found["tfidf"], found["model"], strict=True)]),
    }
    words = {part.verdict for part in parts.values()}
    worst = "contradicted" if "contradicted" in words or not exact else "not visible at this scale"
    return ClaimResult(
        "supported" if words == {"supported"} and exact else worst,
        {
            "parts": {name: {"verdict": part.verdict, **part.figures} for name, part in parts.items()},
            "present_f1_5": {by: sum(each) / len(each) for by, each in found.items()},
            "absent_f1_m": absent,
            "counts_by_hand": exact,
        },
        "Zero-shot lists; documents of two or three sentences, of our own.",
    )


claim = Claim(
    statement="The scores are those that counting by hand gives, and a model of 135M parameters lists present "
    "keyphrases better than drawing n-grams of the text by lot does, but not as well as TF-IDF.",
    paper="Wu et al. 2022 (arXiv:2212.10233): pretrained models that were tuned for it beat older methods on present "
    "and absent phrases; nothing is said of small models without tuning.",
    rule="Perfect lists of 20 documents have F1@5 = 2 g / (5 + g) and F1@M = 1. Present F1@5, paired by document: "
    "supported where the 95 % t-intervals of model minus lot and of TF-IDF minus model both lie above 0; contradicted "
    "where one lies below 0 or a count is wrong; otherwise not visible.",
    run=run,
)
