"""Shares of words and characters: against the libraries' own public scores, and by counting."""

import math

import numpy as np
import pytest

from trivium.data import overlaps
from trivium.data.overlaps import counts, rouge, score

sacrebleu = pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")

TEXTS = ["the cat sat on the mat", "a dog runs home now", "", "Été froid et long hiver"]
GOLD = [["the cat sat on a mat", "there is a cat"], ["a dog ran home now"], ["nothing is here"], ["Été long et froid"]]
OWN = {
    "bleu": sacrebleu.corpus_bleu,
    "chrf": sacrebleu.corpus_chrf,
    "chrf++": lambda texts, gold: sacrebleu.corpus_chrf(texts, gold, word_order=2),
    "ter": sacrebleu.corpus_ter,
}


@pytest.mark.parametrize("metric", overlaps.TOGETHER)
def test_sums_of_counts_are_the_library_s_own_score(metric):
    streams = [[gold[0] for gold in GOLD], [gold[1] if len(gold) > 1 else None for gold in GOLD]]
    rows = np.array([counts(metric, text, gold) for text, gold in zip(TEXTS, GOLD, strict=True)])
    assert score(metric, rows) == pytest.approx(OWN[metric](TEXTS, streams).score, abs=1e-9)
    drawn = [0, 0, 3]
    again = OWN[metric]([TEXTS[at] for at in drawn], [[stream[at] for at in drawn] for stream in streams]).score
    assert score(metric, rows[drawn]) == pytest.approx(again, abs=1e-9)
    alone = np.array([score(metric, row[None]) for row in rows])
    assert score(metric, rows) != pytest.approx(alone.mean(), abs=1e-3)  # no mean of the texts' own scores


def test_by_hand():
    """Of "a b c d e" against "a b c d f": 4 of 5 words, 3 of 4 pairs, 2 of 3 triples, 1 of 2 quadruples."""
    rows = np.array([counts("bleu", "a b c d e", ["a b c d f"])])
    assert score("bleu", rows) == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    rows = np.array([counts("bleu", "a b c d", ["a b c d f"])])
    assert score("bleu", rows) == pytest.approx(100 * math.exp(1 - 5 / 4))  # all of it right, and too short
    assert score("ter", np.array([counts("ter", "a b x d e", ["a b c d"])])) == pytest.approx(100 * 2 / 4)
    assert rouge("rouge1", "the cat", ["the dog sat"]) == pytest.approx(2 * (1 / 2 * 1 / 3) / (1 / 2 + 1 / 3))
    assert rouge("rouge2", "a b c", ["a b d"]) == pytest.approx(0.5)
    assert rouge("rougeL", "a x b y c", ["a b c"]) == pytest.approx(2 * 3 / 5 / (3 / 5 + 1))
    assert rouge("rougeL", "b a", ["x", "a b"]) == pytest.approx(0.5)  # the reference that it fits best
    lines = "b c\na"
    assert rouge("rougeLsum", lines, ["a\nb c"]) == pytest.approx(1.0)
    assert rouge("rougeL", lines, ["a\nb c"]) == pytest.approx(2 / 3)


def test_what_is_wrong():
    for references in ([], "one text"):
        with pytest.raises(ValueError, match="needs references"):
            counts("bleu", "x", references)
        with pytest.raises(ValueError, match="needs references"):
            rouge("rouge1", "x", references)
    with pytest.raises(ValueError, match="no metric of many texts is called 'meteor'"):
        counts("meteor", "x", ["x"])
    with pytest.raises(ValueError, match="no ROUGE is called 'rouge9'"):
        rouge("rouge9", "x", ["x"])
