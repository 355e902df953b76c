import math

import numpy as np
import pytest
from scipy import stats

from trivium.evaluation.stats.selection import folds, nested, null, reported, split


def test_the_null_of_independent_items_is_the_one_simulated_for_the_specification():
    # 10 formats of accuracy 0.5 on 100 independent items: a spread of 0.155, of 0.230 at the 95th percentile.
    table = np.random.default_rng(0).integers(0, 2, (10, 100))
    found = null(table, draws=2000)
    assert found.null == pytest.approx(0.155, abs=0.01)
    assert found.high == pytest.approx(0.230, abs=0.02)
    assert (found.candidates, found.items, found.draws) == (10, 100, 2000)


def test_what_items_share_narrows_the_null():
    rng = np.random.default_rng(1)
    easy = rng.uniform(size=(1, 200)) < 0.5
    table = np.where(rng.uniform(size=(10, 200)) < 0.9, easy, ~easy).astype(float)
    found = null(table, draws=500)
    assert found.null < 0.8 * null(rng.integers(0, 2, (10, 200)), draws=500).null
    assert null(np.repeat(easy, 5, 0).astype(float)).null == 0.0


def test_p_is_uniform_under_the_null_and_small_for_a_real_spread():
    rng = np.random.default_rng(2)
    p = [null(rng.normal(size=(4, 30)) + rng.normal(size=30), draws=99, seed=n).p for n in range(200)]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    better = rng.normal(size=(4, 30)) + np.array([[0.0], [0.0], [0.0], [1.0]])
    assert null(better, statistic="maximum", draws=999).p < 0.01


def test_a_single_candidate_has_no_spread():
    found = null([[1.0, 0.0, 1.0]], draws=20)
    assert (found.observed, found.null, found.p) == (0.0, 0.0, 1.0)


def test_items_of_a_cluster_change_places_together():
    rng = np.random.default_rng(3)
    whole = np.repeat(rng.normal(size=(5, 40)), 6, 1)
    alone, together = null(whole, draws=300), null(whole, np.repeat(np.arange(40), 6), draws=300)
    assert together.observed == pytest.approx(alone.observed)
    assert together.null > 2 * alone.null  # sqrt of 6 of it
    assert together.null == pytest.approx(null(whole[:, ::6], draws=300).null, rel=0.05)


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_the_two_parts_of_a_split_share_no_cluster(share):
    cluster = np.random.default_rng(4).integers(0, 20, 200)
    one, other = split(200, cluster, share=share)
    assert sorted([*one, *other]) == list(range(200))
    assert not set(cluster[one]) & set(cluster[other])
    assert len(set(cluster[one])) == round(20 * share)
    assert not np.array_equal(one, split(200, cluster, share=share, seed=1)[0])
    assert np.array_equal(one, split(200, cluster, share=share)[0])
    assert [len(part) for part in split(2, share=0.01)] == [1, 1]


def test_folds_are_even_and_keep_clusters():
    of = folds(23, 5)
    assert sorted(np.bincount(of)) == [4, 4, 5, 5, 5]
    cluster = np.arange(60) // 4
    of = folds(60, 3, cluster)
    assert all(len(set(of[cluster == c])) == 1 for c in range(15))


@pytest.mark.parametrize("choose", [reported, nested])
def test_a_choice_among_equals_is_flattered_by_its_own_items_alone(choose):
    rng = np.random.default_rng(5)
    found = [choose(rng.normal(size=(30, 60)), seed=n) for n in range(60)]
    honest = [one.report.mean for one in found]
    assert abs(np.mean(honest)) < 4 * np.std(honest) / math.sqrt(60)  # the truth is 0
    assert np.mean([one.apparent for one in found]) > 0.2
    assert np.mean([one.optimism for one in found]) > 0.2
    assert found[0].candidates == 30


@pytest.mark.parametrize("higher", [True, False])
def test_the_best_is_found_where_there_is_one(higher):
    rng = np.random.default_rng(6)
    table = rng.normal(size=(6, 80)) + (0 if higher else 10)
    table[4] += 2.0 if higher else -2.0
    found = nested(table, count=4, higher_is_better=higher)
    assert (found.candidate, found.choices) == (4, (4,) * 4)
    assert found.report.mean == pytest.approx(table[4].mean())
    assert reported(table, higher_is_better=higher).candidate == 4


def test_nested_choices_never_see_the_items_they_are_scored_on():
    table = np.eye(6)[:, np.arange(60) % 6]  # every candidate is right on its own items only
    found = nested(table, np.arange(60) % 6, count=6)
    assert found.report.mean == 0.0  # by clusters: whatever looks best elsewhere is wrong here


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: null([1.0, 2.0]), r"shape \(2,\)"),
        (lambda: null([[1.0, math.nan]]), "finite score of every item"),
        (lambda: null([[1.0, 2.0]], statistic="mean"), "got 'mean'"),
        (lambda: null([[1.0, 2.0]], draws=0), "got 0"),
        (lambda: null([[1.0, 2.0]], [1]), "got 1 clusters for 2 items"),
        (lambda: split(4, [1, 1, 1, 1]), "one cluster"),
        (lambda: split(4, share=1.0), "between 0 and 1"),
        (lambda: split(0), "got 0"),
        (lambda: folds(4, 5), "clusters, 4; got 5"),
        (lambda: folds(4, 2, [1, 2]), "got 2 clusters for 4 items"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
