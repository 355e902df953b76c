import itertools
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from trivium.evaluation.stats.paired import mcnemar, paired, paired_seeds, sign_flip

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Of the machine, which may be busy."""


@patient
@given(st.integers(0, 12), st.integers(0, 12))
def test_mcnemar_is_the_binomial_formula(better, worse):
    n = better + worse
    tail = sum(math.comb(n, k) for k in range(min(better, worse) + 1)) / 2**n if n else 1.0
    assert mcnemar(better, worse) == pytest.approx(min(1.0, 2 * tail))


@patient
@given(st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=9))
def test_sign_flip_is_exact_over_all_patterns(d):
    sums = [
        sum(x * sign for x, sign in zip(d, signs, strict=True)) for signs in itertools.product((1, -1), repeat=len(d))
    ]
    assert sign_flip(d) == sum(abs(x) >= abs(sum(d)) for x in sums) / 2 ** len(d)


def test_sign_flip_agrees_with_scipy_and_with_mcnemar():
    d = np.random.default_rng(4).normal(0.4, 1, 12)
    theirs = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(d) == pytest.approx(theirs.pvalue)
    assert sign_flip([1.0] * 9 + [-1.0] * 2 + [0.0] * 3) == pytest.approx(mcnemar(9, 2))


def test_sign_flip_keeps_ties_that_rounding_breaks():
    for d in np.random.default_rng(7).integers(-5, 6, (50, 8)):
        assert sign_flip(d / 10) == sign_flip(d.astype(float))
    assert sign_flip([0.0] * 30) == 1.0


@pytest.mark.parametrize("clusters", [12, 24])
def test_p_is_uniform_under_the_null(clusters):
    rng = np.random.default_rng(clusters)
    p = [sign_flip(rng.normal(size=clusters), seed=n) for n in range(200)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_pairing_removes_what_items_share():
    rng = np.random.default_rng(5)
    items = rng.normal(size=16) * 10
    a, b = items + 0.5 + 0.1 * rng.normal(size=16), items
    found = paired(a, b, range(16))
    assert found.interval.low > 0
    assert found.p < 0.001
    assert found.correlation > 0.99
    assert found.test == "exact sign-flip"


def test_binary_pairs_use_mcnemar():
    a, b = [1.0] * 8 + [0.0] * 4, [0.0] * 8 + [0.0] * 4
    found = paired(a, b, range(12), binary=True)
    assert found.test == "exact McNemar"
    assert paired(a, b, range(12)).test == "exact sign-flip"
    assert found.p == pytest.approx(2 / 2**8)


def test_seeds_use_the_paired_t_test():
    a, b = [1.0, 1.2, 1.1, 1.4], [0.9, 1.0, 1.05, 1.1]
    found = paired_seeds(a, b)
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert paired_seeds([1.0] * 3, [1.0] * 3).p == 1.0
    assert paired_seeds([2.0] * 3, [1.0] * 3).p == 0.0
    assert paired_seeds([2.0], [1.0]).p is None


def test_unmatched_pairs_are_refused():
    with pytest.raises(ValueError, match="got 2 and 3 values in 2 clusters"):
        paired([1.0, 2.0], [1.0, 2.0, 3.0], [0, 1])
