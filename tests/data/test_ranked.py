"""Ranked lists by hand-worked numbers, and against slow ones."""

import itertools
import math

import numpy as np
import pytest

from trivium.data.ranked import alpha_ndcg, at, average_precision, graded_ndcg, ndcg, reciprocal_rank


def test_by_hand():
    """Four phrases of which the first and the third are right, of three gold ones."""
    right = [True, False, True, False]
    assert at(right, 3, 5) == (2 / 5, 2 / 3, pytest.approx(0.5))
    assert at(right, 3, 5, fixed=False) == (2 / 4, 2 / 3, pytest.approx(4 / 7))
    assert at(right, 3, 2) == (1 / 2, 1 / 3, pytest.approx(0.4))
    assert at(right, 3, "M") == at(right, 3, "G") == (2 / 4, 2 / 3, pytest.approx(4 / 7))
    assert at(right, 3, "O") == (2 / 3, 2 / 3, pytest.approx(2 / 3))
    assert at(right, 5, "G")[0] == 2 / 5
    assert at(right, 5, "O", fixed=False)[0] == 2 / 4
    assert average_precision(right, 3) == pytest.approx((1 / 1 + 2 / 3) / 3)
    assert ndcg(right, 3) == pytest.approx((1 + 1 / 2) / (1 + 1 / math.log2(3) + 1 / 2))
    third = 1 / math.log2(3)
    assert alpha_ndcg("aab", "ab") == pytest.approx((1 + 0.5 * third + 0.5) / (1 + third + 0.25))
    assert alpha_ndcg("aab", "ab", 1.0) == pytest.approx((1 + 0.5) / (1 + third))
    assert alpha_ndcg("a", "ab") == pytest.approx(1 / (1 + third))


@pytest.mark.parametrize("gold", [1, 2, 3, 4, 7])
def test_a_perfect_list(gold):
    right = [True] * gold
    for cut in ("M", "O", "G"):
        assert at(right, gold, cut) == (1.0, 1.0, 1.0)
    if gold < 5:
        assert at(right, gold, 5)[2] == pytest.approx(2 * gold / (5 + gold))
        assert at(right, gold, 5, fixed=False)[2] == 1.0
    assert average_precision(right, gold) == ndcg(right, gold) == pytest.approx(1.0)
    assert alpha_ndcg(range(gold), range(gold)) == pytest.approx(1.0)


def test_order_and_wrong_phrases():
    draws = np.random.default_rng(0)
    for _ in range(200):
        right = [bool(x) for x in draws.random(6) < 0.4]
        gold = max(sum(right), 1) + int(draws.integers(3))
        mixed = [right[n] for n in draws.permutation(6)]
        for cut in (6, 10, "M", "G"):
            assert at(right, gold, cut) == at(mixed, gold, cut)
        assert at([*right, False], gold, "M")[2] <= at(right, gold, "M")[2]
        best = sorted(right, reverse=True)
        assert average_precision(right, gold) <= average_precision(best, gold) <= 1.0
        assert ndcg(right, gold) <= ndcg(best, gold) <= 1.0 + 1e-12
        said = draws.integers(0, 5, 6).tolist()
        assert 0.0 <= alpha_ndcg(said, range(3)) <= 1.0 + 1e-12
    assert at([True, False], 1, 1)[2] > at([False, True], 1, 1)[2]


def test_nothing_to_divide_by():
    assert at([], 0, "M") == at([], 3, "M") == at([True], 0, "O") == (0.0, 0.0, 0.0)
    assert average_precision([], 0) == ndcg([], 0) == alpha_ndcg("a", "") == 0.0
    for k, said in ((0, "k must be at least 1 place"), ("X", "got 'X'")):
        with pytest.raises(ValueError, match=said):
            at([True], 1, k)
    with pytest.raises(ValueError, match="alpha is the worth"):
        alpha_ndcg("a", "a", 1.5)


def test_rankings_by_hand():
    assert reciprocal_rank([0.1, 0.9, 0.5], [1, 0, 0]) == pytest.approx(1 / 3)
    assert reciprocal_rank([0.1, 0.9, 0.5], [1, 0, 0], k=2) == 0.0
    assert reciprocal_rank([0.0, 0.0], [1, 0]) == pytest.approx(3 / 4)
    assert reciprocal_rank([1.0, 0.0, 0.0], [0, 1, 0], k=2) == pytest.approx(1 / 4)  # second or third, which is beyond
    whole = 3 + 2 / math.log2(3) + 1 / 2
    assert graded_ndcg([3.0, 2.0, 1.0], [1, 3, 2]) == pytest.approx((1 + 3 / math.log2(3) + 2 / 2) / whole)
    assert graded_ndcg([3.0, 2.0, 1.0], [0, 3, 2], k=2) == pytest.approx(3 / math.log2(3) / (3 + 2 / math.log2(3)))
    assert graded_ndcg([3.0, 2.0, 1.0], [0, 1, 1]) == pytest.approx(ndcg([False, True, True], 2))


def test_what_ties_is_worth_the_mean_over_its_orders():
    draws = np.random.default_rng(0)
    for _ in range(40):
        scores = draws.integers(0, 3, 5).astype(float)
        grades = draws.integers(0, 3, 5)
        grades[0] = 1
        k = int(draws.integers(1, 6))
        found = {"rank": [], "gain": []}
        for order in itertools.permutations(range(5)):
            if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order)):
                listed = [int(grades[at]) for at in order]
                first = next(place for place, grade in enumerate(listed, 1) if grade)
                found["rank"].append(1 / first if first <= k else 0.0)
                gains = lambda some, k=k: sum(g / math.log2(i + 1) for i, g in enumerate(some[:k], 1))  # noqa: E731
                found["gain"].append(gains(listed) / gains(sorted(listed, reverse=True)))
        given = [int(grade) for grade in grades]
        assert reciprocal_rank(scores.tolist(), given, k) == pytest.approx(np.mean(found["rank"]))
        assert graded_ndcg(scores.tolist(), given, k) == pytest.approx(np.mean(found["gain"]))


def test_rankings_that_say_nothing():
    for scores, grades, said in (
        ([1.0], [1, 0], "each of 2 entries needs a finite score"),
        ([math.nan, 1.0], [1, 0], "finite score"),
        ([1.0, 2.0], [0, 0], "one above 0 at least"),
        ([1.0, 2.0], [1, -1], "grades of 0 or more"),
    ):
        for of in (reciprocal_rank, graded_ndcg):
            with pytest.raises(ValueError, match=said):
                of(scores, grades)
