"""Targets of several tokens, and what an attribution can do by itself: merge, scale, compare."""

import pytest
import torch
from scipy.stats import spearmanr

from trivium.core.nouns import Attribution, Axes, Spelling, Target

IDS = torch.arange(7)
TEXT = "It’s  a\n1,5 é"
OFFSETS = ((0, 4), (4, 7), (7, 8), (8, 9), (9, 11), (11, 13), (12, 13))
"""It’s|  a|↵|1|,5| é as two tokens of which the second is part of the é"""
SCORES = torch.tensor([1.0, -2.0, 4.0, 8.0, 16.0, 32.0, 64.0])


def made(scores=SCORES, offsets=OFFSETS, text=TEXT, **more):
    tokens = tuple(text[start:stop] or "⟨end⟩" for start, stop in offsets)
    return Attribution(scores, torch.arange(len(scores)), Target(1), spelling=Spelling(text, offsets, tokens), **more)


def logits(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_an_answer_of_several_tokens_is_the_sum_of_its_log_probabilities():
    x = logits(2, 3, 5)
    logp = x.log_softmax(-1)
    expected = logp[:, 0, 4] + logp[:, 1, 0] + logp[:, 2, 4]
    torch.testing.assert_close(Target((4, 0, 4))(x), expected)
    torch.testing.assert_close(Target((4, 0, 4), objective="prob")(x), expected.exp())
    torch.testing.assert_close(Target((4, 0, 4), objective="logit")(x), x[:, 0, 4] + x[:, 1, 0] + x[:, 2, 4])


def test_a_contrast_with_several_tokens_is_of_log_probabilities():
    x, y = logits(2, 2, 5), logits(2, 1, 5, seed=1)
    target = Target((1, 2), foil=3, objective="contrast")
    expected = x.log_softmax(-1)[:, 0, 1] + x.log_softmax(-1)[:, 1, 2] - y.log_softmax(-1)[:, 0, 3]
    torch.testing.assert_close(target(x, y), expected)
    one = Target(1, foil=3, objective="contrast")
    torch.testing.assert_close(one(x[:, :1]), x[:, 0, 1] - x[:, 0, 3])
    assert (one.alone, target.alone, Target((1, 2)).alone) == (True, False, False)


def test_a_list_of_one_is_the_token():
    assert Target([4]) == Target(4)
    assert Target((4,)).tokens == (4,)
    assert Target(torch.tensor([4, 5]).tolist()).token == (4, 5)
    assert hash(Target([4, 5])) == hash(Target((4, 5)))


def test_answers_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="token is empty"):
        Target(())
    with pytest.raises(ValueError, match="must differ"):
        Target((1, 2), foil=[1, 2], objective="contrast")
    with pytest.raises(ValueError, match=r"target token 5 is outside the vocabulary of 5 \(0 to 4\)"):
        Target((1, 5))(logits(1, 2, 5))
    with pytest.raises(ValueError, match="foil token -1"):
        Target((1, 2), foil=(0, -1), objective="contrast").check(5)
    with pytest.raises(ValueError, match="an answer of 2 tokens is read in as many places, got 1"):
        Target((1, 2))(logits(1, 5))
    with pytest.raises(ValueError, match="a foil of 2 tokens needs the logits"):
        Target(1, foil=(2, 3), objective="contrast")(logits(1, 5))


def test_words_lines_and_characters_keep_together():
    word = made().merge("word")
    assert word.units == ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 7))
    assert word.scores.tolist() == [1.0, -2.0, 4.0, 8.0, 16.0, 96.0]
    line = made().merge("line")
    assert line.units == ((0, 3), (3, 7))
    assert line.scores.tolist() == [3.0, 120.0]
    assert line.labels()[0] == "It’s  a\n"


def test_pieces_of_a_word_are_one_and_punctuation_is_its_own():
    text = "in Thailand. don't"
    offsets = ((0, 2), (2, 7), (7, 11), (11, 12), (12, 16), (16, 18))
    assert made(SCORES[:6], offsets, text).merge().labels() == ["in", " Thailand", ".", " don't"]


def test_spans_of_characters_and_what_is_outside_of_them():
    got = made().merge([(0, 7), (8, 11)])
    assert got.units == ((0, 2), (2, 3), (3, 5), (5, 6), (6, 7))
    for spans, message in (
        ([(0, 0)], "is empty"),
        ([(0, 99)], "leaves the text of 13 characters"),
        ([(0, 5), (4, 7)], "overlaps another one"),
    ):
        with pytest.raises(ValueError, match=message):
            made().merge(spans)
    with pytest.raises(ValueError, match="not by 'sentence'"):
        made().merge("sentence")
    with pytest.raises(ValueError, match="merged already"):
        made().merge().merge()
    with pytest.raises(ValueError, match="how the tokens read"):
        Attribution(SCORES, IDS, Target(1)).merge()


def test_a_special_token_joins_nothing():
    offsets = ((0, 2), (2, 2), (2, 4))
    assert made(SCORES[:3], offsets, "abcd").merge().units == ((0, 1), (1, 2), (2, 3))


def test_scales():
    frozen = made(frozen=(6,))
    assert frozen.normalize("abs_sum").scores.abs().sum() == pytest.approx(1)
    assert frozen.normalize("max").scores.tolist() == [*(SCORES / 32).tolist()[:6], 0.0]
    soft = frozen.normalize("softmax").scores
    torch.testing.assert_close(soft[:6], SCORES[:6].softmax(0))
    assert soft[6] == 0
    assert made(torch.zeros(7)).normalize("max").scores.tolist() == [0.0] * 7
    assert made(frozen=tuple(range(7))).normalize("softmax").scores.tolist() == [0.0] * 7
    with pytest.raises(ValueError, match="not by 'sum'"):
        made().normalize("sum")


def test_agreement_is_scipys_and_ties_share_their_rank():
    a, b = torch.tensor([1.0, -3.0, 2.0, 2.0, 0.0]), torch.tensor([0.5, 3.0, -1.0, 2.0, 2.0])
    one, other = (Attribution(x, torch.arange(5), Target(1)) for x in (a, b))
    assert one.compare(other, signed=True).spearman == pytest.approx(spearmanr(a, b).statistic)
    got = one.compare(other, 2)
    assert got.spearman == pytest.approx(spearmanr(a.abs(), b.abs()).statistic)
    assert (got.k, one.compare(one, 3).overlap, one.compare(one).spearman) == (2, 1.0, pytest.approx(1.0))
    assert one.compare(Attribution(torch.tensor([0.0, 1, 0, 0, 9]), torch.arange(5), Target(1)), 2).overlap == 0.5


def test_frozen_positions_do_not_make_two_alike():
    a = Attribution(torch.tensor([0.0, 0, 3, 2, 1]), torch.arange(5), Target(1), frozen=(0, 1))
    b = Attribution(torch.tensor([0.0, 0, 1, 2, 3]), torch.arange(5), Target(1), frozen=(0, 1))
    assert a.compare(b).spearman == pytest.approx(-1)


def test_only_what_can_be_compared_is():
    with pytest.raises(ValueError, match="these differ"):
        made().compare(Attribution(SCORES, IDS + 1, Target(1)))
    with pytest.raises(ValueError, match="these differ"):
        made().compare(made().merge())
    with pytest.raises(ValueError, match="7 scores that are all equal have no ranking"):
        made().compare(made(torch.ones(7)))
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        made().compare(made(), 0)


def test_axes_and_units_are_counted():
    with pytest.raises(ValueError, match="2 axes need as many names, got layer"):
        Axes(("layer",), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="2 units need as many scores"):
        made(units=((0, 3), (3, 7)))
    with pytest.raises(ValueError, match="7 ids need as many tokens, got 1"):
        Attribution(SCORES, IDS, Target(1), spelling=Spelling("a", ((0, 1),), ("a",)))


def test_what_the_method_says_of_itself():
    got = made(facts={"value": -0.5, "baseline_value": -3.0, "converged": 0.0})
    assert (got.value, got.baseline_value, got.converged) == (-0.5, -3.0, False)
    assert (made().value, made().baseline_value, made().converged) == (None, None, None)
