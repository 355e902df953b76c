"""chrF++: how much of the characters and words of translations their references share (Popovic 2017), by sacrebleu."""

from collections.abc import Sequence

from trivium.core.optional import require


def chrf(translations: Sequence[str], references: Sequence[str]) -> float:
    """From 0 to 100, of all texts together: n-grams of up to 6 characters and 2 words, recall counting twice.

    Raises ValueError where there are not as many references, MissingExtra without sacrebleu.
    """
    if not translations or len(translations) != len(references):
        raise ValueError(f"{len(translations)} translations need as many references, got {len(references)}")
    metrics = require("sacrebleu.metrics", extra="translation", why="chrF++ as everybody counts it")
    return float(metrics.CHRF(word_order=2).corpus_score(list(translations), [list(references)]).score)
