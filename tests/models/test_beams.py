"""Beam search with GPT-3's length penalty: its limits, a search through everything, and the penalty by hand."""

import itertools

import pytest
import torch

from tests.models.test_scoring import Words
from trivium.architectures.llama import Llama
from trivium.models.beams import Beam, search
from trivium.models.scoring import Pair, score_pairs
from trivium.models.system import System
from trivium.models.writing import Prompt, write


def words(seed=0):
    model = Llama(width=16, heads=2, context=64).build(Words.vocab_size, seed=seed).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return System(model.eval(), Words(), "words")


CONTEXTS = ["a", "b c", "abc abc", "c\n"]


def test_the_penalty_by_hand():
    beam = Beam("x", (1, 2, 3, 4), -3.0, True)
    assert beam.score(0.0) == -3.0
    assert beam.score(1.0) == pytest.approx(-3.0 / 1.5)
    assert beam.score(0.6) == pytest.approx(-3.0 / 1.5**0.6)


def test_a_beam_of_one_is_greedy():
    system = words()
    greedy = write(system, [Prompt(context, ("\n",), 8) for context in CONTEXTS])
    for one, said in zip(search(system, CONTEXTS, width=1, limit=8), greedy, strict=True):
        assert (one[0].ids, one[0].text, one[0].finished) == (said.ids, said.text, said.finished)


def test_totals_are_log_probabilities_and_batches_make_no_difference():
    system = words()
    together = search(system, CONTEXTS, width=4, limit=5, alpha=0.0)
    for context, found in zip(CONTEXTS, together, strict=True):
        (alone,) = search(system, [context], width=4, limit=5, alpha=0.0)
        assert [one.ids for one in alone] == [one.ids for one in found]
        assert [one.total for one in found] == sorted((one.total for one in found), reverse=True)
        ids = tuple(system.prompt(context)[0].tolist())
        for one, scored in zip(found, score_pairs(system, [Pair(ids, one.ids) for one in found]), strict=True):
            assert one.total == pytest.approx(scored.total, abs=1e-9)


def test_a_wide_beam_finds_the_best_text_of_all():
    """Every text of three tokens, or fewer that a stop string ends, by one pass each."""
    system, context = words(), "a"
    ids = tuple(system.prompt(context)[0].tolist())
    texts = set()
    for tokens in itertools.product(range(Words.vocab_size), repeat=3):
        end = next((n for n, token in enumerate(tokens, 1) if Words.pieces[token] == "\n"), 3)
        texts.add(tokens[:end])
    texts = sorted(texts)
    totals = [one.total for one in score_pairs(system, [Pair(ids, tokens) for tokens in texts])]
    for alpha in (0.0, 0.6, 3.0):
        (found,) = search(system, [context], width=len(texts), limit=3, alpha=alpha)
        best = max(zip(totals, texts, strict=True), key=lambda pair: pair[0] / ((5 + len(pair[1])) / 6) ** alpha)
        assert found[0].ids == best[1]
        assert len(found) == len(texts)


def test_the_text_ends_before_the_stop_string():
    system = words()
    for found in search(system, CONTEXTS, width=6, limit=8, until=("\n", "b")):
        for one in found:
            whole = system.tokenizer.decode(one.ids)
            assert not any(stop in one.text for stop in ("\n", "b"))
            assert whole.startswith(one.text)
            assert one.finished == (one.text != whole)


def test_bad_settings():
    for name in ("width", "limit", "batch_size"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            search(words(), ["a"], **{name: 0})
    with pytest.raises(ValueError, match="a context of 40 tokens and 32 new ones do not fit words, which takes 64"):
        search(words(), ["c" * 40])
