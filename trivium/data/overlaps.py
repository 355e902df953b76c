"""How much a written text shares with its references: BLEU, chrF, chrF++ and TER by sacrebleu, ROUGE by rouge-score.

The first four are of many texts together, no mean over them: each text gives counts, and the score is that of their
sums. So they can be resampled text by text. ROUGE is a mean of each text's F1.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trivium.core.optional import require

TOGETHER = ("bleu", "chrf", "chrf++", "ter")
"""From 0 to 100, but for TER, edits per 100 words of the reference, of which less is better and there can be more."""
ALONE = ("rouge1", "rouge2", "rougeL", "rougeLsum")
"""From 0 to 1."""


def counts(metric: str, text: str, references: Sequence[str]) -> list[float]:
    """What a text adds to a score of TOGETHER. Raises ValueError without references, MissingExtra without sacrebleu."""
    _some(text, references)
    scorer = _scorer(metric)
    (found,) = scorer._extract_corpus_statistics([text], [[one] for one in references])
    return [float(x) for x in found]


def score(metric: str, rows: NDArray[np.float64]) -> float:
    """Of (texts, counts)."""
    sums = rows.sum(0).tolist()
    whole = sums if metric == "ter" else [int(x) for x in sums]  # n-grams are counted
    return float(_scorer(metric)._compute_score_from_stats(whole).score)


def rouge(metric: str, text: str, references: Sequence[str]) -> float:
    """F1 against the reference that it fits best: of words, of pairs of words, of the longest common subsequence, or of
    such line by line. Words are of a to z and digits, in small letters. Raises MissingExtra without rouge-score."""
    _some(text, references)
    return float(_rouge(metric).score_multi(list(references), text)[metric].fmeasure)


def _some(text: str, references: Sequence[str]) -> None:
    if isinstance(references, str) or not references:
        raise ValueError(f"a text such as {text[:40]!r} needs references to be compared with; got {references!r}")


@cache
def _scorer(metric: str) -> Any:
    if metric not in TOGETHER:
        raise ValueError(f"no metric of many texts is called {metric!r}; there are {', '.join(TOGETHER)}")
    metrics = require("sacrebleu.metrics", extra="translation", why=f"{metric} as everybody counts it")
    if metric == "bleu":
        return metrics.BLEU(force=True)  # no warning about texts that are tokenised
    return metrics.TER() if metric == "ter" else metrics.CHRF(word_order=2 if metric == "chrf++" else 0)


@cache
def _rouge(metric: str) -> Any:
    if metric not in ALONE:
        raise ValueError(f"no ROUGE is called {metric!r}; there are {', '.join(ALONE)}")
    scorer = require("rouge_score.rouge_scorer", extra="summaries", why=f"{metric} as everybody counts it")
    return scorer.RougeScorer([metric], use_stemmer=False)
