import itertools
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from trivium.compare import statistics as s

numbers = st.floats(-1e3, 1e3, allow_nan=False)

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Of the machine, which may be busy."""


@patient
@given(st.lists(numbers, min_size=2, max_size=30))
def test_t_interval_is_scipys(values):
    found = s.mean_interval(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    if np.std(values) > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6, abs=1e-9)
    assert found.high - found.mean == pytest.approx(found.detectable)


@pytest.mark.parametrize("clusters", [5, 120])
def test_interval_of_a_constant_has_no_width(clusters):
    found = s.clustered_interval([2.5] * 3 * clusters, [n // 3 for n in range(3 * clusters)])
    assert found.low == found.mean == found.high == 2.5
    assert found.clusters == clusters


def test_clustered_error_equals_the_plain_one_for_singletons():
    v = np.random.default_rng(0).normal(size=25)
    found = s.clustered_interval(v, range(25))
    plain = s.mean_interval(v)
    # sqrt of C/(C-1) * sum r^2 / n^2 is the standard error with n - 1 in the denominator
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), rel=1e-12)
    assert found.method == "clustered t"


def test_clustered_error_by_the_formula():
    rng = np.random.default_rng(1)
    v, w, cluster = rng.normal(size=20), rng.uniform(1, 5, 20), rng.integers(0, 6, 20)
    mean = (w * v).sum() / w.sum()
    sums = [sum(w[i] * (v[i] - mean) for i in range(20) if cluster[i] == c) for c in range(6)]
    error = math.sqrt(6 / 5 * sum(x * x for x in sums)) / w.sum()
    found = s.clustered_interval(v, cluster, w)
    assert found.mean == pytest.approx(mean)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 5) * error)
    assert found.detectable == pytest.approx(2.8 * error)


def test_copies_of_an_item_in_its_cluster_add_no_confidence():
    v = np.random.default_rng(2).normal(size=12)
    once, thrice = s.clustered_interval(v, range(12)), s.clustered_interval(np.repeat(v, 3), np.repeat(range(12), 3))
    assert (once.low, once.high) == pytest.approx((thrice.low, thrice.high))
    assert (thrice.n, thrice.clusters) == (36, 12)


def test_weighted_mean_is_the_ratio_of_sums():
    bits, size = np.array([10.0, 90.0, 5.0]), np.array([5.0, 100.0, 1.0])
    assert s.clustered_interval(bits / size, "abc", size).mean == pytest.approx(105 / 106)


def test_bootstrap_resamples_clusters():
    rng = np.random.default_rng(3)
    cluster = np.repeat(np.arange(120), 5)
    v = rng.normal(size=120)[cluster] + 0.1 * rng.normal(size=600)
    found = s.clustered_interval(v, cluster)
    assert found.method == "cluster bootstrap"
    means = [v[cluster == c].mean() for c in range(120)]
    half = stats.t.ppf(0.975, 119) * stats.sem(means)
    assert found.high - found.low == pytest.approx(
        2 * half, rel=0.05
    )  # 10,000 resamples; the naive one is 2.2 narrower
    assert s.clustered_interval(v, cluster) == found


@pytest.mark.parametrize("clusters", [8, 35, 110])
def test_intervals_cover_the_truth(clusters):
    rng = np.random.default_rng(clusters)
    hits = 0
    for _ in range(300):
        v = rng.normal(size=clusters).repeat(3) + 0.5 * rng.normal(size=3 * clusters)
        found = s.clustered_interval(v, np.arange(clusters).repeat(3))
        hits += found.low <= 0.0 <= found.high
    assert 0.91 <= hits / 300 <= 0.985  # 95 % give or take three standard errors of 300 runs


def test_wilson_holds_at_the_ends():
    none, every = (s.summary([value] * 10, range(10), binary=True) for value in (0.0, 1.0))
    assert none.method == "Wilson"
    assert none.low == pytest.approx(0.0, abs=1e-12)
    assert none.high == pytest.approx(0.2775, abs=1e-4)
    assert every.low == pytest.approx(1 - none.high)
    same = s.summary([1.0] * 10, range(10))  # a number that happens to be 1 everywhere is no proportion
    assert (same.low, same.high) == (1.0, 1.0)


@patient
@given(st.integers(0, 12), st.integers(0, 12))
def test_mcnemar_is_the_binomial_formula(better, worse):
    n = better + worse
    tail = sum(math.comb(n, k) for k in range(min(better, worse) + 1)) / 2**n if n else 1.0
    assert s.mcnemar(better, worse) == pytest.approx(min(1.0, 2 * tail))


@patient
@given(st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=9))
def test_sign_flip_is_exact_over_all_patterns(d):
    sums = [
        sum(x * sign for x, sign in zip(d, signs, strict=True)) for signs in itertools.product((1, -1), repeat=len(d))
    ]
    assert s.sign_flip(d) == sum(abs(x) >= abs(sum(d)) for x in sums) / 2 ** len(d)


def test_sign_flip_agrees_with_scipy_and_with_mcnemar():
    d = np.random.default_rng(4).normal(0.4, 1, 12)
    theirs = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert s.sign_flip(d) == pytest.approx(theirs.pvalue)
    assert s.sign_flip([1.0] * 9 + [-1.0] * 2 + [0.0] * 3) == pytest.approx(s.mcnemar(9, 2))


def test_sign_flip_keeps_ties_that_rounding_breaks():
    for d in np.random.default_rng(7).integers(-5, 6, (50, 8)):
        assert s.sign_flip(d / 10) == s.sign_flip(d.astype(float))
    assert s.sign_flip([0.0] * 30) == 1.0


@pytest.mark.parametrize("clusters", [12, 24])
def test_p_is_uniform_under_the_null(clusters):
    rng = np.random.default_rng(clusters)
    p = [s.sign_flip(rng.normal(size=clusters), seed=n) for n in range(200)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


@patient
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_never_below_the_raw_p_and_monotone(p):
    adjusted = s.holm(p)
    assert all(a >= raw and a <= 1 for a, raw in zip(adjusted, p, strict=True))
    order = sorted(range(len(p)), key=lambda n: (p[n], adjusted[n]))
    assert [adjusted[n] for n in order] == sorted(adjusted)


def test_holm_by_hand():
    assert s.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_pairing_removes_what_items_share():
    rng = np.random.default_rng(5)
    items = rng.normal(size=16) * 10
    a, b = items + 0.5 + 0.1 * rng.normal(size=16), items
    found = s.paired(a, b, range(16))
    assert found.interval.low > 0
    assert found.p < 0.001
    assert found.correlation > 0.99
    assert found.test == "exact sign-flip"


def test_binary_pairs_use_mcnemar():
    a, b = [1.0] * 8 + [0.0] * 4, [0.0] * 8 + [0.0] * 4
    found = s.paired(a, b, range(12), binary=True)
    assert found.test == "exact McNemar"
    assert s.paired(a, b, range(12)).test == "exact sign-flip"
    assert found.p == pytest.approx(2 / 2**8)


def test_seeds_use_the_paired_t_test():
    a, b = [1.0, 1.2, 1.1, 1.4], [0.9, 1.0, 1.05, 1.1]
    found = s.paired_seeds(a, b)
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert s.paired_seeds([1.0] * 3, [1.0] * 3).p == 1.0
    assert s.paired_seeds([2.0] * 3, [1.0] * 3).p == 0.0
    assert s.paired_seeds([2.0], [1.0]).p is None


def family(*shifts, n=16):
    rng = np.random.default_rng(6)
    noise = 0.2 * rng.normal(size=n)
    return s.with_holm([s.paired(noise + shift, np.zeros(n), range(n)) for shift in shifts])


def test_verdicts_have_the_direction_of_the_measure():
    up, none, down = family(1.0, 0.0, -1.0)
    assert [s.judged(x, True).verdict for x in (up, none, down)] == [
        "supported",
        "not visible at this scale",
        "contradicted",
    ]
    assert [s.judged(x, False).verdict for x in (up, none, down)] == [
        "contradicted",
        "not visible at this scale",
        "supported",
    ]
    assert s.judged(up, None).verdict is None


def test_holm_can_take_a_verdict_back():
    alone = family(0.12)[0]
    crowd = family(0.12, *[0.0] * 30)[0]
    assert s.judged(alone, True).verdict == "supported"
    assert crowd.interval.low > 0
    assert s.judged(crowd, True).verdict == "not visible at this scale"


def test_too_few_items_have_no_verdict():
    few = s.with_holm([s.paired([1.0, 1.1, 1.2, 0.9, 1.0], [0.0] * 5, range(5))])[0]
    assert few.p == 2 / 2**5  # which is why: it cannot fall below 0.05
    assert s.judged(few, True).verdict is None


@pytest.mark.parametrize(
    ("values", "clusters", "weights"),
    [([], [], None), ([math.nan], [0], None), ([1.0], [0], [0.0]), ([1.0, 2.0], [0, 1], [1.0, -1.0])],
)
def test_bad_values_are_refused(values, clusters, weights):
    with pytest.raises(ValueError, match="value"):
        s.clustered_interval(values, clusters, weights)


def test_unmatched_pairs_are_refused():
    with pytest.raises(ValueError, match="got 2 and 3 values in 2 clusters"):
        s.paired([1.0, 2.0], [1.0, 2.0, 3.0], [0, 1])


@pytest.mark.parametrize("family", [1, 2, 5, 16, 48, 200])
def test_fewer_clusters_than_a_verdict_needs_cannot_reach_the_level(family):
    """By the test itself, where every cluster points the same way: at the number it is reached, one below it is not."""
    fewest = s.fewest_clusters(family)
    reached = [s.holm([s.sign_flip(np.ones(n))] * family)[0] for n in (fewest - 1, fewest)]
    assert reached[1] < s.LEVEL <= reached[0]


def test_the_clusters_that_verdicts_need_by_hand():
    assert [s.fewest_clusters(family) for family in (0, 1, 2, 48)] == [6, 6, 7, 11]


def test_below_that_number_there_is_no_verdict_however_sure_the_interval():
    found = s.with_holm([s.paired(np.arange(8.0) + 5, np.arange(8.0), range(8))] * 48)[0]
    assert found.interval.low > 0
    assert found.p_holm == pytest.approx(48 / 2**7)
    assert s.judged(found, True, fewest=s.fewest_clusters(48)).verdict is None
    assert s.judged(found, True, fewest=6).verdict == "not visible at this scale"
