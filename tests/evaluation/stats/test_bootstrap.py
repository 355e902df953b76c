import math

import numpy as np
import pytest
from scipy import stats

from trivium.evaluation.stats import bootstrap
from trivium.evaluation.stats.bootstrap import ratio_interval, simultaneous, sums_interval
from trivium.evaluation.stats.intervals import clustered_interval


def test_bca_is_scipys():
    v = np.random.default_rng(0).exponential(size=20)
    mine = ratio_interval(v, np.ones(20), resamples=40_000)
    found = stats.bootstrap((v,), np.mean, method="BCa", n_resamples=40_000, rng=np.random.default_rng(1), batch=2000)
    # Two draws of 40,000: the ends differ by a hundredth of the width; the acceleration moves them by more.
    width = found.confidence_interval.high - found.confidence_interval.low
    assert (mine.low, mine.high) == pytest.approx(found.confidence_interval, abs=0.03 * width)
    plain = ratio_interval(v, np.ones(20), method="percentile")
    assert mine.low > plain.low  # of skewed values both ends move with the tail
    assert mine.high > plain.high


def test_bca_repairs_the_bias_of_a_variance_as_scipy_does():
    v = np.random.default_rng(10).normal(size=25)
    counts = np.stack([np.ones(25), v, v**2], 1)

    def variance(sums):
        return sums[..., 2] / sums[..., 0] - (sums[..., 1] / sums[..., 0]) ** 2

    mine, plain = sums_interval(counts, variance), sums_interval(counts, variance, method="percentile")
    found = stats.bootstrap((v,), np.var, method="BCa", n_resamples=20_000, rng=np.random.default_rng(1), batch=2000)
    width = plain.high - plain.low
    assert (mine.low, mine.high) == pytest.approx(found.confidence_interval, abs=0.04 * width)
    assert mine.high > plain.high + 0.15 * width  # resamples vary less than the sample: read higher up


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_a_constant_has_no_width(method):
    found = ratio_interval([2.0] * 40, [4.0] * 40, method=method)
    assert found.low == found.mean == found.high == 0.5


def test_a_ratio_is_of_sums_and_not_a_mean_of_ratios():
    loss, words = np.array([10.0, 300.0, 12.0, 40.0]), np.array([5.0, 100.0, 3.0, 10.0])
    found = ratio_interval(loss, words, of=np.exp)
    assert found.mean == pytest.approx(math.exp(loss.sum() / words.sum()))
    assert found.mean != pytest.approx(np.exp(loss / words).mean(), rel=0.1)


def test_numerator_and_denominator_are_drawn_together():
    words = np.random.default_rng(2).integers(5, 500, 50)
    found = ratio_interval(3.0 * words, words)  # the same in every document, however long
    assert (found.low, found.high) == pytest.approx((3.0, 3.0))


def test_the_percentile_interval_of_many_clusters_is_the_one_of_means():
    rng = np.random.default_rng(3)
    cluster = np.repeat(np.arange(150), 4)
    v = rng.normal(size=150)[cluster] + rng.normal(size=600)
    mine, plain = ratio_interval(v, np.ones(600), cluster, method="percentile"), clustered_interval(v, cluster)
    assert (mine.low, mine.high) == pytest.approx((plain.low, plain.high), abs=0.03 * (plain.high - plain.low))
    assert (mine.n, mine.clusters) == (600, 150)
    alone = ratio_interval(v, np.ones(600), method="percentile")
    assert alone.high - alone.low < 0.75 * (mine.high - mine.low)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_micro_f1_covers_its_truth(method):
    rng, hits, runs = np.random.default_rng(4), 0, 120

    def f1(sums):  # true positives, false positives, false negatives
        return 2 * sums[..., 0] / (2 * sums[..., 0] + sums[..., 1] + sums[..., 2])

    for _ in range(runs):
        size = rng.integers(1, 20, 60)
        counts = np.stack([rng.binomial(size, p) for p in (0.6, 0.3, 0.4)], 1)
        found = sums_interval(counts, f1, method=method, resamples=600)
        hits += found.low <= 1.2 / 1.9 <= found.high
    assert 0.89 <= hits / runs <= 1.0  # 95 %, less three standard errors of 120 runs


def test_what_is_undefined_in_many_resamples_has_no_interval():
    found = ratio_interval([1.0, 0.0], [1.0, 0.0], resamples=100_000)
    assert found.mean == 1.0
    assert found.low is None
    assert found.method == "undefined in 25% of the resamples"  # a quarter miss the one document with a denominator


def test_parts_of_the_draw_are_of_one_law(monkeypatch):
    v = np.random.default_rng(5).normal(size=50)
    whole = ratio_interval(v, np.ones(50))
    monkeypatch.setattr(bootstrap, "AT_ONCE", 5000)
    assert ratio_interval(v, np.ones(50)) == whole


def test_simultaneous_intervals_hold_together():
    rng, together, single, runs = np.random.default_rng(6), 0, 0, 150
    for run in range(runs):
        table = rng.normal(size=(8, 60)) + rng.normal(size=60)
        found = simultaneous(table, resamples=500, seed=run)
        together += all(one.low <= 0 <= one.high for one in found)
        each = [clustered_interval(row, range(60)) for row in table]
        single += all(one.low <= 0 <= one.high for one in each)
    assert together / runs >= 0.89
    assert single < together - 10


def test_simultaneous_intervals_lie_between_single_ones_and_bonferroni():
    rng = np.random.default_rng(7)
    shared = rng.normal(size=200)
    table = shared + 0.3 * rng.normal(size=(10, 200))
    found = simultaneous(table)
    for row, one in zip(table, found, strict=True):
        error = row.std(ddof=1) / math.sqrt(200)
        half = one.high - one.mean
        assert stats.t.ppf(0.975, 199) * error < half < stats.t.ppf(1 - 0.025 / 10, 199) * error
        assert one.mean == pytest.approx(row.mean())


def test_one_row_gets_the_clustered_t_interval():
    rng = np.random.default_rng(8)
    v, w, cluster = rng.normal(size=90), rng.uniform(1, 3, 90), np.arange(90) // 3
    (found,), plain = simultaneous([v], cluster, w), clustered_interval(v, cluster, w)
    assert found.mean == pytest.approx(plain.mean)
    assert found.high - found.mean == pytest.approx(plain.high - plain.mean, rel=0.05)
    assert found.clusters == 30


def test_constant_rows_have_no_width_and_do_not_disturb():
    v = np.random.default_rng(9).normal(size=40)
    (constant, moving), (alone,) = simultaneous([np.full(40, 0.1), v]), simultaneous([v])
    assert (constant.low, constant.high) == pytest.approx((0.1, 0.1))
    assert (moving.low, moving.high) == pytest.approx((alone.low, alone.high))


@pytest.mark.parametrize(
    ("top", "bottom", "options", "message"),
    [
        ([1.0], [1.0, 2.0], {}, "must match"),
        ([1.0, 2.0], [1.0, -2.0], {}, "go from -2.0"),
        ([1.0, 2.0], [0.0, 0.0], {}, "not be negative nor all 0"),
        ([math.nan, 2.0], [1.0, 1.0], {}, r"items \[0\] are not"),
        ([1.0, 2.0], [1.0, 1.0], {"method": "basic"}, "got 'basic'"),
        ([1.0, 2.0], [1.0, 1.0], {"resamples": 10}, "got 10"),
        ([1.0, 2.0], [1.0, 1.0], {"confidence": 95}, "got 95"),
        ([1.0, 2.0], [1.0, 1.0], {"clusters": [0]}, "got 1 clusters for 2 items"),
    ],
)
def test_bad_counts_are_refused(top, bottom, options, message):
    with pytest.raises(ValueError, match=message):
        ratio_interval(top, bottom, **options)


def test_bad_tables_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        simultaneous([1.0, 2.0])
    with pytest.raises(ValueError, match="weights must be 2"):
        simultaneous([[1.0, 2.0]], weights=[1.0])
