"""Scores of prompts, by hand and at their limits."""

import math
from typing import get_args

import pytest
import torch

from trivium.nn.prompt_selection import (
    PER_ITEM,
    Score,
    calibrated,
    certain,
    chosen,
    entropy,
    global_entropy,
    marginal,
    scores,
)

SCORES = get_args(Score)
LN2 = math.log(2)
SURE = [[1.0, 0.0], [0.0, 1.0]]
UNSURE = [[0.5, 0.5], [0.5, 0.5]]
BIASED = [[0.9, 0.1], [0.9, 0.1]]
P = torch.tensor([UNSURE, BIASED, SURE], dtype=torch.float64)
H9 = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))


def drawn(seed=0, shape=(5, 30, 3)):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).pow(2).softmax(-1)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ("ge_m", [LN2, H9, LN2]),
        ("ge", [0.0, 0.0, LN2]),
        ("le", [LN2, H9, 0.0]),
        ("mdl_m", [-LN2, -H9, 0.0]),
        ("mi", [0.0, 0.0, LN2]),
        ("mi_g", [-LN2, -H9, LN2]),
        ("mdl", [[-LN2] * 2, [-H9] * 2, [0.0] * 2]),
        ("mi_l", [[0.0] * 2, [0.0] * 2, [LN2] * 2]),
        ("mi_gl", [[-LN2] * 2, [-H9] * 2, [LN2] * 2]),
        ("zpm", [0.5, 0.5, 1.0]),  # together (0.8, 0.2) and (0.47, 0.53)
        ("zmv", [1.0, 1.0, 0.5]),  # votes 3 to 0, and 2 to 1
    ],
)
def test_by_hand(score, expected):
    torch.testing.assert_close(scores(P, score), torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)


def test_ensembles_by_mean_probability_and_by_its_logarithm_differ():
    """Means 0.6 and 0.4; of the logarithms, one prompt's 1e-6 outweighs the others' 0.9."""
    p = torch.tensor([[[0.9, 0.1]], [[0.9, 0.1]], [[1e-6, 1 - 1e-6]]], dtype=torch.float64)
    assert scores(p, "zpm").tolist() == [1.0, 1.0, 0.0]
    assert scores(p, "zlp").tolist() == [0.0, 0.0, 1.0]


def test_mutual_information_lies_within_its_bounds_in_double_precision():
    for seed in range(5):
        p = drawn(seed)
        found = scores(p, "mi")
        assert (found >= 0).all()
        assert (found <= math.log(3)).all()
        for each in (global_entropy(p), global_entropy(p, hard=True), entropy(p)):
            assert (each >= 0).all()
            assert (each <= math.log(3) + 1e-12).all()
    same = drawn()[:, :1].expand(-1, 30, -1)
    assert scores(same, "mi").abs().max() < 1e-14


@pytest.mark.parametrize("score", SCORES)
def test_answers_may_be_renamed_and_one_prompt_is_always_chosen(score):
    p = drawn(3, (5, 30, 2))  # five votes on two answers never tie
    renamed = p.flip(-1)
    torch.testing.assert_close(scores(p, score), scores(renamed, score), atol=1e-12, rtol=0)
    assert chosen(p[:1], score).tolist() == [0] * 30
    twice = torch.cat([p, p])
    assert chosen(twice, score).max() < 5  # of duplicates the first
    assert len(set(chosen(p, score).tolist())) == 1 or score in PER_ITEM


def test_a_prompt_for_each_item():
    p = torch.tensor([[[0.99, 0.01], [0.5, 0.5]], [[0.5, 0.5], [0.01, 0.99]]], dtype=torch.float64)
    assert chosen(p, "mdl").tolist() == [0, 1]
    assert chosen(p, "mdl_m").tolist() == [0, 0]


def test_calibration_by_marginals():
    p = drawn(1)
    ratio = p / marginal(p)[:, None]
    torch.testing.assert_close(ratio.mean(1), torch.ones(5, 3, dtype=torch.float64), atol=1e-12, rtol=0)
    for how in ("mean", "softmax"):
        made = calibrated(p, marginal(p), how=how)
        torch.testing.assert_close(made.sum(-1), torch.ones(5, 30, dtype=torch.float64), atol=1e-12, rtol=0)
        assert torch.equal(made.argmax(-1), ratio.argmax(-1))
    even = torch.stack([p[0], p[0].flip(-1)], 1).flatten(0, 1)[None, :, ::2]  # two answers whose marginal is even
    even = torch.cat([even, even.flip(-1)], 1)
    even = even / even.sum(-1, keepdim=True)
    torch.testing.assert_close(calibrated(even, marginal(even)), even, atol=1e-12, rtol=0)
    by_hand = calibrated(
        torch.tensor([[[0.9, 0.1], [0.7, 0.3]]], dtype=torch.float64), torch.tensor([[0.8, 0.2]]).double()
    )
    torch.testing.assert_close(by_hand[0, 0, 0], torch.tensor(1.125 / 1.625, dtype=torch.float64))
    torch.testing.assert_close(by_hand[0, 1, 0], torch.tensor(0.875 / 2.375, dtype=torch.float64))


def test_certain_takes_the_first_of_equals():
    assert certain(torch.tensor([[0.4, 0.4, 0.2]])).tolist() == [[1.0, 0.0, 0.0]]


def test_what_is_no_table_is_refused():
    p = drawn()
    with pytest.raises(ValueError, match="at least two answers"):
        scores(p[..., :1], "mi")
    for value, said in ((float("nan"), "not finite"), (-0.1, "negative")):
        broken = p.clone()
        broken[2, 7, 1] = value
        with pytest.raises(ValueError, match=f"answer 1 under prompt 2 for item 7 is {said}"):
            scores(broken, "ge")
    broken = p.clone()
    broken[1, 4] = 0.0
    with pytest.raises(ValueError, match="under prompt 1 no answer to item 4 has any probability"):
        scores(broken, "mi")
    broken = p.clone()
    broken[3, :, 2] = 0.0
    with pytest.raises(ValueError, match="answer 2 has no probability under prompt 3 for any item"):
        marginal(broken)
