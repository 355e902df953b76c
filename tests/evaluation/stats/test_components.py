import math

import numpy as np
import pytest

from trivium.evaluation.stats.components import crossed, nested


def test_nested_by_hand():
    found = nested([[1.0, 3.0], [5.0, 7.0], [9.0, 11.0]])  # means 2, 6, 10; variance 2 within each
    assert found.within == pytest.approx(2.0)
    assert found.items == pytest.approx(16.0 - 2.0 / 2)  # variance of the means less a half of that within
    assert found.mean == pytest.approx(6.0)
    assert found.icc == pytest.approx(15 / 17)
    assert found.error() == pytest.approx(math.sqrt(16.0 / 3))  # that of the means, as it must be
    assert found.error(repeats=10**9) == pytest.approx(math.sqrt(15 / 3), rel=1e-6)
    assert found.error(items=12, repeats=1) == pytest.approx(math.sqrt(17 / 12))


def test_crossed_by_hand():
    found = crossed([[0.0, 2.0], [4.0, 10.0]])  # mean 4, items 1 and 7, repeats 2 and 6; what is left is 1 everywhere
    assert (found.within, found.items, found.repeats) == pytest.approx((4.0, (36 - 4) / 2, (16 - 4) / 2))
    assert found.error() == pytest.approx(math.sqrt(16 / 2 + 6 / 2 + 4 / 4))


def test_nested_finds_the_variances_that_made_the_scores():
    rng = np.random.default_rng(0)
    item = rng.normal(0, 2, 3000)
    rows = [value + rng.normal(0, 3, rng.integers(1, 5)) for value in item]
    found = nested(rows)
    assert found.items == pytest.approx(4.0, rel=0.15)
    assert found.within == pytest.approx(9.0, rel=0.1)
    assert found.repeats == 0.0


def test_crossed_tells_the_luck_of_a_repeat_from_that_of_an_item():
    rng = np.random.default_rng(1)
    table = rng.normal(0, 2, (400, 1)) + rng.normal(0, 1.5, (1, 60)) + rng.normal(0, 1, (400, 60))
    found = crossed(table)
    assert found.items == pytest.approx(4.0, rel=0.2)
    assert found.repeats == pytest.approx(2.25, rel=0.4)  # 60 repeats: a standard error of 18 %
    assert found.within == pytest.approx(1.0, rel=0.05)
    blind = nested(table)
    assert found.error() > 2 * blind.error() * 0.5
    assert found.error(items=10**9, repeats=60) > 5 * blind.error(items=10**9, repeats=60)


def test_without_noise_there_is_no_within():
    table = np.arange(5.0)[:, None] + np.array([0.0, 10.0, 20.0])
    found = crossed(table)
    assert found.within == pytest.approx(0.0, abs=1e-12)
    assert found.items == pytest.approx(2.5)
    assert found.repeats == pytest.approx(100.0)


def test_a_variance_is_never_negative():
    assert nested([[0.0, 2.0], [0.0, 2.0]]).items == 0.0
    assert math.isnan(nested([[1.0, 1.0], [1.0, 1.0]]).icc)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nested([[1.0, 2.0]]), "got 1 items"),
        (lambda: nested([[1.0], [2.0]]), "scored twice"),
        (lambda: nested([[1.0, math.nan], [2.0]]), "finite"),
        (lambda: crossed([[1.0, 2.0]]), r"shape \(1, 2\)"),
        (lambda: crossed([[1.0, math.nan], [1.0, 2.0]]), "every item in every repeat"),
        (lambda: nested([[1.0, 2.0], [3.0]]).error(repeats=0.5), "at least 1"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
