import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from trivium.evaluation.stats.intervals import clustered_interval, mean_interval, summary

numbers = st.floats(-1e3, 1e3, allow_nan=False)

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Of the machine, which may be busy."""


@patient
@given(st.lists(numbers, min_size=2, max_size=30))
def test_t_interval_is_scipys(values):
    found = mean_interval(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    if np.std(values) > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6, abs=1e-9)
    assert found.high - found.mean == pytest.approx(found.detectable)


@pytest.mark.parametrize("clusters", [5, 120])
def test_interval_of_a_constant_has_no_width(clusters):
    found = clustered_interval([2.5] * 3 * clusters, [n // 3 for n in range(3 * clusters)])
    assert found.low == found.mean == found.high == 2.5
    assert found.clusters == clusters


def test_clustered_error_equals_the_plain_one_for_singletons():
    v = np.random.default_rng(0).normal(size=25)
    found = clustered_interval(v, range(25))
    plain = mean_interval(v)
    # sqrt of C/(C-1) * sum r^2 / n^2 is the standard error with n - 1 in the denominator
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), rel=1e-12)
    assert found.method == "clustered t"


def test_clustered_error_by_the_formula():
    rng = np.random.default_rng(1)
    v, w, cluster = rng.normal(size=20), rng.uniform(1, 5, 20), rng.integers(0, 6, 20)
    mean = (w * v).sum() / w.sum()
    sums = [sum(w[i] * (v[i] - mean) for i in range(20) if cluster[i] == c) for c in range(6)]
    error = math.sqrt(6 / 5 * sum(x * x for x in sums)) / w.sum()
    found = clustered_interval(v, cluster, w)
    assert found.mean == pytest.approx(mean)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 5) * error)
    assert found.detectable == pytest.approx(2.8 * error)


def test_copies_of_an_item_in_its_cluster_add_no_confidence():
    v = np.random.default_rng(2).normal(size=12)
    once, thrice = clustered_interval(v, range(12)), clustered_interval(np.repeat(v, 3), np.repeat(range(12), 3))
    assert (once.low, once.high) == pytest.approx((thrice.low, thrice.high))
    assert (thrice.n, thrice.clusters) == (36, 12)


def test_weighted_mean_is_the_ratio_of_sums():
    bits, size = np.array([10.0, 90.0, 5.0]), np.array([5.0, 100.0, 1.0])
    assert clustered_interval(bits / size, "abc", size).mean == pytest.approx(105 / 106)


def test_bootstrap_resamples_clusters():
    rng = np.random.default_rng(3)
    cluster = np.repeat(np.arange(120), 5)
    v = rng.normal(size=120)[cluster] + 0.1 * rng.normal(size=600)
    found = clustered_interval(v, cluster)
    assert found.method == "cluster bootstrap"
    means = [v[cluster == c].mean() for c in range(120)]
    half = stats.t.ppf(0.975, 119) * stats.sem(means)
    assert found.high - found.low == pytest.approx(
        2 * half, rel=0.05
    )  # 10,000 resamples; the naive one is 2.2 narrower
    assert clustered_interval(v, cluster) == found


@pytest.mark.parametrize("clusters", [8, 35, 110])
def test_intervals_cover_the_truth(clusters):
    rng = np.random.default_rng(clusters)
    hits = 0
    for _ in range(300):
        v = rng.normal(size=clusters).repeat(3) + 0.5 * rng.normal(size=3 * clusters)
        found = clustered_interval(v, np.arange(clusters).repeat(3))
        hits += found.low <= 0.0 <= found.high
    assert 0.91 <= hits / 300 <= 0.985  # 95 % give or take three standard errors of 300 runs


def test_wilson_holds_at_the_ends():
    none, every = (summary([value] * 10, range(10), binary=True) for value in (0.0, 1.0))
    assert none.method == "Wilson"
    assert none.low == pytest.approx(0.0, abs=1e-12)
    assert none.high == pytest.approx(0.2775, abs=1e-4)
    assert every.low == pytest.approx(1 - none.high)
    same = summary([1.0] * 10, range(10))  # a number that happens to be 1 everywhere is no proportion
    assert (same.low, same.high) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("values", "clusters", "weights"),
    [([], [], None), ([math.nan], [0], None), ([1.0], [0], [0.0]), ([1.0, 2.0], [0, 1], [1.0, -1.0])],
)
def test_bad_values_are_refused(values, clusters, weights):
    with pytest.raises(ValueError, match="value"):
        clustered_interval(values, clusters, weights)
