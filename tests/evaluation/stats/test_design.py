import math

import numpy as np
import pytest
from scipy import stats

from trivium.evaluation.stats.design import above_chance, detectable, items_needed, levels, paired_spread, power


def test_detectable_is_2_8_standard_errors():
    assert detectable(1.0) == pytest.approx(1.959964 + 0.841621, abs=1e-5)
    assert detectable(0.5, power=0.9, level=0.01) == pytest.approx((2.575829 + 1.281552) / 2, abs=1e-5)


def test_power_of_the_detectable_difference_is_the_power_asked_for():
    for wanted in (0.5, 0.8, 0.95):
        assert power(detectable(0.3, power=wanted), 0.3) == pytest.approx(wanted, abs=1e-3)
    assert power(0.0, 1.0) == pytest.approx(0.05)  # of no difference the level is all there is


def test_power_by_simulation():
    rng = np.random.default_rng(0)
    p = [stats.ttest_1samp(rng.normal(0.25, 1, 100), 0).pvalue for _ in range(1000)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(power(0.25, 0.1), abs=0.05)


def test_items_needed_by_hand():
    assert items_needed(0.02, 0.4) == math.ceil((2.801585 * 0.4 / 0.02) ** 2)
    assert detectable(0.4 / math.sqrt(items_needed(0.02, 0.4))) <= 0.02


def test_shared_items_narrow_the_differences():
    assert paired_spread(0.5, 0.5, 0.0) == pytest.approx(math.sqrt(0.5))
    assert paired_spread(0.5, 0.5, 1.0) == 0.0
    rng = np.random.default_rng(1)
    a = rng.normal(size=500)
    b = a + rng.normal(size=500)
    assert paired_spread(a.std(), b.std(), np.corrcoef(a, b)[0, 1]) == pytest.approx((a - b).std())


def test_levels():
    found = levels(["b", "a", "b", "c"], [2, 4, 4, 4])
    assert found.chance == pytest.approx((0.5 + 0.75) / 4)
    assert (found.majority, found.answer) == (0.5, "b")
    assert levels([0, 1], 4).chance == 0.25


def test_above_chance_is_the_binomial_tail_and_its_mixture():
    hits = [1.0] * 9 + [0.0] * 11
    assert above_chance(hits, 4) == pytest.approx(stats.binom.sf(8, 20, 0.25))
    mixed = above_chance([1, 1, 0], [2, 3, 3])
    assert mixed == pytest.approx(1 - (1 / 2 * 4 / 9) - (1 / 2 * 4 / 9 + 1 / 2 * 2 * (1 / 3) * (2 / 3)))
    assert above_chance([0.0] * 5, 4) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: detectable(-1.0), "got -1.0"),
        (lambda: detectable(1.0, power=80), "power is a share"),
        (lambda: power(1.0, 0.0), "must be positive"),
        (lambda: power(1.0, 1.0, level=5), "level is a share"),
        (lambda: items_needed(0.0, 1.0), "not 0"),
        (lambda: paired_spread(1.0, 1.0, 2.0), "from -1 to 1"),
        (lambda: levels([], 2), "no answer"),
        (lambda: levels([1, 2], [2]), "each of 2 answers"),
        (lambda: above_chance([0.5], 2), "0 or 1"),
        (lambda: above_chance([1.0], [0]), "at least 1"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
