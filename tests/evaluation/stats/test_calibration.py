import numpy as np
import pytest

from trivium.evaluation.stats.calibration import (
    brier,
    brier_of_choices,
    calibration,
    coverage_accuracy,
    coverage_area,
    ece,
    most_confident,
    platt,
    reliability,
)


def test_a_calibrated_two_valued_case_has_no_error():
    c, e = [0.8] * 10 + [0.5] * 10, [1.0] * 8 + [0.0] * 2 + [1.0] * 5 + [0.0] * 5
    for options in ({}, {"binning": "width"}, {"groups": 1}, {"groups": 2}):
        assert ece(c, e, **options) == pytest.approx(0.0, abs=1e-12)


def test_ece_by_hand():
    c, e = [0.1, 0.2, 0.7, 0.9], [0, 1, 1, 1]
    assert ece(c, e, groups=2) == pytest.approx(abs(0.15 - 0.5) / 2 + abs(0.8 - 1) / 2)
    assert ece(c, e, groups=1) == pytest.approx(abs(np.mean(c) - 0.75))
    assert ece(c, e) == pytest.approx((0.1 + 0.8 + 0.3 + 0.1) / 4)  # at most one group per item
    assert ece(c, e, groups=5, binning="width") == pytest.approx((2 * 0.35 + 0.3 + 0.1) / 4)


def test_sure_and_wrong_is_the_worst():
    assert ece([1.0] * 9, [0.0] * 9) == 1.0
    rng = np.random.default_rng(0)
    assert 0 <= ece(rng.uniform(size=50), rng.integers(0, 2, 50)) <= 1


def test_groups_of_equal_mass():
    c = np.random.default_rng(1).uniform(size=103)
    found = reliability(c, np.ones(103))
    assert sorted(group.n for group in found) == [10] * 7 + [11] * 3
    assert [group.confidence for group in found] == sorted(group.confidence for group in found)
    assert all(group.low < group.accuracy <= group.high + 1e-12 for group in found)


def test_groups_are_those_of_the_sorted_order_whatever_the_scale():
    """A monotone map keeps who is together, and changes the error."""
    rng = np.random.default_rng(2)
    c, e = rng.uniform(size=200), rng.integers(0, 2, 200)
    plain, mapped = reliability(c, e), reliability(c**3, e)
    assert [(group.n, group.accuracy) for group in plain] == [(group.n, group.accuracy) for group in mapped]
    assert ece(c, e) != pytest.approx(ece(c**3, e), rel=0.05)


def test_equal_confidences_stay_together_and_the_order_of_items_does_not_matter():
    rng = np.random.default_rng(3)
    c, e = rng.choice([0.2, 0.5, 0.9], 90), rng.integers(0, 2, 90)
    assert [group.confidence for group in reliability(c, e)] == pytest.approx([0.2, 0.5, 0.9])
    order = rng.permutation(90)
    for measure in (ece, coverage_area, most_confident, brier):
        assert measure(c[order], e[order]) == pytest.approx(measure(c, e))


def test_coverage_by_hand():
    coverage, accuracy = coverage_accuracy([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 1])
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert accuracy == pytest.approx([1, 1 / 2, 2 / 3, 3 / 4])
    assert coverage_area([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 1]) == pytest.approx((1 + 1 / 2 + 2 / 3 + 3 / 4) / 4)
    assert coverage_area([0.5] * 4, [1, 0, 0, 0]) == 0.25  # a confidence that says nothing: the accuracy


def test_the_most_confident_tenth():
    c, e = np.arange(100) / 100, np.zeros(100)
    e[-6:] = 1
    assert most_confident(c, e) == pytest.approx(6 / 11)  # HELM's int(0.1 n) + 1 items
    assert most_confident(c, e, share=0.02) == 1.0
    assert most_confident([0.3, 0.4], [1, 0], share=1.0) == 0.5


def overconfident(n=600, seed=4):
    rng = np.random.default_rng(seed)
    truth = rng.normal(0.3, 1.0, n)
    return 1 / (1 + np.exp(-3 * truth)), (rng.uniform(size=n) < 1 / (1 + np.exp(-truth))).astype(float)


def test_platt_repairs_overconfidence_and_finds_its_scale():
    c, e = overconfident(6000)
    scaled = platt(c, e)
    assert ece(c, e) > 0.1
    assert ece(scaled, e) < 0.03
    ratio = np.polyfit(np.log(c / (1 - c)), np.log(scaled / (1 - scaled)), 1)
    assert ratio[0] == pytest.approx(1 / 3, rel=0.1)
    fitted = platt(c, e, folds=1)
    assert fitted.mean() == pytest.approx(e.mean(), abs=1e-6)  # as a logistic regression with an intercept must
    x = np.log(c / (1 - c))
    assert (x * (e - fitted)).mean() == pytest.approx(0.0, abs=1e-6)


def test_a_scale_fitted_on_its_own_items_flatters():
    gaps = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        c, e = rng.uniform(0.01, 0.99, 40), rng.integers(0, 2, 40).astype(float)
        gaps.append(brier(platt(c, e, seed=seed), e) - brier(platt(c, e, folds=1), e))
    assert np.mean(gaps) > 0.01


def test_cross_fitting_never_uses_the_item_itself():
    c, e = overconfident(60)
    cluster = np.arange(60) // 3
    before = platt(c, e, clusters=cluster, folds=4)
    e[:3] = 1 - e[:3]  # a whole cluster
    after = platt(c, e, clusters=cluster, folds=4)
    assert after[:3] == pytest.approx(before[:3], abs=0)
    assert not np.allclose(after, before)


@pytest.mark.parametrize("all_of_them", [0.0, 1.0])
def test_all_right_or_all_wrong_has_no_error_after_scaling(all_of_them):
    found = calibration(np.linspace(0.1, 0.9, 20), [all_of_them] * 20)
    assert found.platt_ece_in_sample == found.platt_ece == 0.0
    assert found.ece > 0


def test_confidence_that_parts_right_from_wrong_has_a_finite_scale():
    c = np.concatenate([np.full(20, 0.6), np.full(20, 0.9)])
    scaled = platt(c, [0.0] * 20 + [1.0] * 20, folds=1)
    assert np.isfinite(scaled).all()
    assert scaled[0] < 0.01 < 0.99 < scaled[-1]
    assert platt([0.7] * 4, [1, 0, 0, 0], folds=1) == pytest.approx([0.25] * 4)


def test_brier():
    assert brier([0.9, 0.2], [1, 0]) == pytest.approx((0.01 + 0.04) / 2)
    assert brier_of_choices([[0.7, 0.3], [0.2, 0.8]], [0, 0]) == pytest.approx((0.09 + 0.09 + 0.64 + 0.64) / 2)
    assert brier_of_choices([[1.0, 0.0, 0.0], [0.0, 1.0]], [2, 1]) == 1.0


def test_all_of_it_at_once():
    c, e = overconfident(400)
    found = calibration(c, e)
    assert (found.ece, found.brier, found.ece_one) == (ece(c, e), brier(c, e), ece(c, e, groups=1))
    assert found.ece_width == ece(c, e, binning="width") != found.ece
    assert found.platt_ece == ece(platt(c, e), e) < found.ece
    assert found.enough
    assert not calibration(c[:40], e[:40]).enough
    assert calibration(c, e, folds=2, seed=1).platt_ece == ece(platt(c, e, folds=2, seed=1), e)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ece([0.5, float("nan")], [1, 0]), "unavailable: 1 of 2"),
        (lambda: ece([-0.7], [1]), "exponentiate"),
        (lambda: ece([0.7], [2]), "from 0"),
        (lambda: ece([0.7], [1, 0]), r"\(1,\) and \(2,\)"),
        (lambda: ece([], []), "per item"),
        (lambda: ece([0.7], [1], groups=0), "got 0"),
        (lambda: ece([0.7], [1], binning="log"), "got 'log'"),
        (lambda: most_confident([0.7], [1], share=10), "got 10"),
        (lambda: platt([0.7, 0.8], [1, 0], folds=3), "clusters, 2; got 3"),
        (lambda: brier_of_choices([[0.5, 0.5]], [0, 1]), "got 1 questions, 2 answers"),
        (lambda: brier_of_choices([[0.5, 0.6]], [0]), "question 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
