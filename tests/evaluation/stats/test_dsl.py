import math
import warnings

import numpy as np
import pytest
from scipy import optimize, special, stats

from trivium.evaluation.stats.coverage import coverage, drawn, truth
from trivium.evaluation.stats.dsl import dsl
from trivium.evaluation.stats.learner import Ridge


def corpus(n=400, gold=120, seed=0):
    """Covariate, true label, surrogate, and the label where it was sampled with equal probability."""
    rng = np.random.default_rng(seed)
    x, y, q = drawn(n, rng)
    labelled = np.full(n, np.nan)
    chosen = rng.permutation(n)[:gold]
    labelled[chosen] = y[chosen]
    return x, y, q, labelled


def values(fit):
    return [term.value for term in fit.terms]


def errors(fit):
    return [term.error for term in fit.terms]


class Constant:
    """A learner that says the same of all."""

    def __init__(self, value=0.0):
        self.value = value

    def fit(self, features, target):
        pass

    def predict(self, features):
        return np.full(len(features), self.value)


class Oracle:
    """A learner that finds the target among the features."""

    def fit(self, features, target):
        self.column = int(np.abs(features - target[:, None]).sum(0).argmin())

    def predict(self, features):
        return features[:, self.column]


@pytest.mark.parametrize("learner", [None, Constant(7.0)])
def test_with_every_label_by_hand_it_is_ordinary_regression(learner):
    x, y, q, _ = corpus()
    fit = dsl(y, q, x, 1.0, learner=learner)
    design = np.stack([np.ones(400), x], 1)
    beta, *_ = np.linalg.lstsq(design, y, rcond=None)
    bread = np.linalg.inv(design.T @ design)
    robust = bread @ (design * (y - design @ beta)[:, None] ** 2).T @ design @ bread
    assert values(fit) == pytest.approx(beta, abs=1e-12)
    assert errors(fit) == pytest.approx(np.sqrt(np.diag(robust)), abs=1e-12)
    assert values(fit) == pytest.approx([term.value for term in fit.gold_only])


def test_with_every_label_by_hand_it_is_logistic_regression():
    x, y, q, _ = corpus()
    fit = dsl(y, q, x, 1.0, model="logistic", learner=Constant(0.4))
    design = np.stack([np.ones(400), x], 1)
    by_hand = optimize.minimize(
        lambda b: (np.logaddexp(0, design @ b) - y * (design @ b)).sum(), np.zeros(2), tol=1e-10
    )
    assert values(fit) == pytest.approx(by_hand.x, abs=1e-5)


def test_a_perfect_prediction_is_as_good_as_labels():
    x, y, _, labelled = corpus()
    fit, full = dsl(labelled, y, x, 0.3, learner=Oracle), dsl(y, y, x, 1.0)
    assert values(fit) == pytest.approx(values(full), abs=1e-12)
    assert errors(fit) == pytest.approx(errors(full), abs=1e-12)
    assert fit.r2 == 1.0
    assert values(dsl(labelled, y, x, 0.3)) == pytest.approx(values(full), abs=1e-3)  # the ridge finds it too


def test_the_estimate_by_its_equations():
    x, _, q, labelled = corpus()
    g, pi = 0.3, 0.3
    fit = dsl(labelled, q, x, pi, learner=Constant(g))
    sampled = ~np.isnan(labelled)
    pseudo = g - sampled / pi * (g - np.nan_to_num(labelled))
    design = np.stack([np.ones(400), x], 1)
    beta = np.linalg.solve(design.T @ design, design.T @ pseudo)
    moments = design * (pseudo - design @ beta)[:, None]
    bread = np.linalg.inv(design.T @ design / 400)
    variance = bread @ (moments.T @ moments / 400) @ bread.T / 400
    assert values(fit) == pytest.approx(beta, abs=1e-12)
    assert errors(fit) == pytest.approx(np.sqrt(np.diag(variance)), abs=1e-12)
    low, high = stats.norm.interval(0.9, beta[1], math.sqrt(variance[1, 1]))
    narrower = dsl(labelled, q, x, pi, learner=Constant(g), confidence=0.9)
    assert (narrower["x1"].low, narrower["x1"].high) == pytest.approx((low, high))
    assert narrower["x1"].p == pytest.approx(2 * stats.norm.sf(abs(beta[1]) / math.sqrt(variance[1, 1])))


def test_a_constant_added_to_the_prediction_is_noise_of_mean_zero():
    moved = []
    for seed in range(60):
        x, _, q, labelled = corpus(seed=seed)
        near, far = (dsl(labelled, q, x, 0.3, splits=1, learner=Constant(value)) for value in (0.5, 1.0))
        moved.append(far["x1"].value - near["x1"].value)
    assert np.std(moved) > 0
    assert abs(np.mean(moved)) < 3 * np.std(moved) / math.sqrt(60)


def test_it_equals_prediction_powered_inference_of_a_mean_up_to_centring():
    _, _, q, labelled = corpus()
    labels = np.where(np.isnan(labelled), None, np.where(labelled == 1, "yes", "no"))
    said = np.where(q == 1, "yes", "no")
    fit = dsl(labels, said, None, 0.3, model="shares", splits=1)
    sampled = ~np.isnan(labelled)
    slope = np.polyfit(q[sampled], labelled[sampled], 1)  # g, nearly the same in every fold
    g = np.polyval(slope, q)
    powered = g.mean() + (labelled - g)[sampled].mean()
    assert fit["yes"].value == pytest.approx(powered, abs=0.01)
    assert fit["yes"].value + fit["no"].value == pytest.approx(1.0)
    assert [term.name for term in fit.terms] == ["no", "yes"]
    naive = {term.name: term.value for term in fit.naive}
    assert naive["yes"] == pytest.approx(q.mean())


def test_the_intervals_cover_the_truth_and_the_naive_ones_do_not():
    found = coverage(300, splits=2)
    assert truth() == pytest.approx(0.174, abs=0.001)
    assert found.accuracy == pytest.approx(0.889, abs=0.005)
    assert found.naive.bias == pytest.approx(-0.083, abs=0.006)
    assert found.naive.coverage < 0.05
    assert 0.92 <= found.dsl.coverage <= 0.98
    assert abs(found.dsl.bias) < 0.005
    assert found.dsl.rmse < 0.9 * found.gold_only.rmse


def test_unequal_probabilities_are_the_designs_own():
    """Gold is drawn where x is large; with the true pi the slope is right, with a constant one it is not."""
    apart, fooled = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=1500)
        y = x**2 / 2 + rng.normal(size=1500)  # a bend, so that where one looks decides the slope
        pi = 0.1 + 0.6 * special.expit(2 * x)
        labelled = np.where(rng.uniform(size=1500) < pi, y, np.nan)
        q = np.zeros(1500)
        apart.append(dsl(labelled, q, x, pi, splits=1, learner=Constant)["x1"])
        fooled.append(dsl(labelled, q, x, float(pi.mean()), splits=1, learner=Constant)["x1"].value)
    off = np.array([term.value for term in apart])
    assert abs(off.mean()) < 3.5 * off.std() / math.sqrt(60)
    assert np.mean([term.low <= 0 <= term.high for term in apart]) >= 0.85
    assert np.mean(fooled) > 0.3


@pytest.mark.parametrize("gold", [1.0, 0.4])
def test_fixed_effects_are_a_dummy_per_group(gold):
    rng = np.random.default_rng(1)
    group = rng.integers(0, 6, 300)
    x = rng.normal(size=300) + group
    y = 0.5 * x + 2.0 * group + rng.normal(size=300)
    labelled = np.where(rng.uniform(size=300) < gold, y, np.nan)
    learner = Constant(3.0)
    within = dsl(labelled, y, x, gold, model="fixed effects", groups=group, learner=learner, splits=1)
    dummies = np.stack([x, *(group == g for g in range(1, 6))], 1).astype(float)
    plain = dsl(labelled, y, dummies, gold, learner=learner, splits=1)
    assert [term.name for term in within.terms] == ["x1"]
    assert within["x1"].value == pytest.approx(plain["x1"].value, abs=1e-10)
    assert within["x1"].error == pytest.approx(plain["x1"].error, abs=1e-10)
    assert within.gold_only[0].value == pytest.approx(plain.gold_only[1].value, abs=1e-10)


def test_clusters_are_summed_before_they_are_squared():
    x, _, q, labelled = corpus()
    once = dsl(labelled, q, x, 0.3, learner=Constant)
    singles = dsl(labelled, q, x, 0.3, learner=Constant, clusters=range(400))
    assert errors(singles) == pytest.approx(np.array(errors(once)) * math.sqrt(400 / 399))
    twice = dsl(*(np.tile(v, 2) for v in (labelled, q, x)), 0.3, learner=Constant, clusters=np.tile(range(400), 2))
    assert errors(twice) == pytest.approx(errors(singles))
    assert errors(dsl(*(np.tile(v, 2) for v in (labelled, q, x)), 0.3, learner=Constant)) == pytest.approx(
        np.array(errors(once)) / math.sqrt(2)
    )


def test_clusters_are_whole_in_a_fold():
    x, _, q, labelled = corpus(n=100, gold=50)
    cluster, seen = np.arange(100) // 5, []

    class Watching(Constant):
        def fit(self, features, target):
            self.known = features

        def predict(self, features):
            seen.append((self.known, features))
            return np.zeros(len(features))

    number = np.arange(100.0)
    dsl(labelled, q, np.stack([x, number], 1), 0.5, clusters=cluster, learner=Watching, splits=1)
    assert len(seen) == 5
    for known, asked in seen:
        assert not set(known[:, 2] // 5) & set(asked[:, 2] // 5)


def test_a_learner_never_sees_the_fold_it_predicts():
    x, _, q, labelled = corpus(n=100, gold=50)
    counts = []

    class Counting(Constant):
        def fit(self, features, target):
            assert np.isfinite(target).all()
            counts.append(len(target))

    dsl(labelled, q, x, 0.5, folds=4, splits=3, learner=Counting())
    assert sorted(counts) == [37] * 6 + [38] * 6  # 50 gold labels, a quarter of them held back in turn


def test_the_median_over_splits():
    x, _, q, labelled = corpus()
    fit = dsl(labelled, q, x, 0.3, splits=3)
    single = [dsl(labelled, q, x, 0.3, splits=1, seed=seed)["x1"].value for seed in range(30)]
    assert np.std(single) > 0
    assert min(single) < fit["x1"].value < max(single)
    assert dsl(labelled, q, x, 0.3, splits=3) == fit
    assert dsl(labelled, q, x, 0.3, splits=3, seed=1) != fit
    assert dsl(labelled, q, x, 0.3, splits=2, folds=2) != dsl(labelled, q, x, 0.3, splits=2)


def test_the_splits_disagreement_is_part_of_the_error():
    x, _, q, labelled = corpus()
    made = iter([-10.0, -10.0, 0.0, 0.0, 10.0, 10.0])
    alone = [dsl(labelled, q, x, 0.3, folds=2, splits=1, learner=Constant(v))["x1"] for v in (-10.0, 0.0, 10.0)]
    fit = dsl(labelled, q, x, 0.3, folds=2, splits=3, learner=lambda: Constant(next(made)))
    middle = np.median([term.value for term in alone])
    assert fit["x1"].value == pytest.approx(middle)
    away = [term.error**2 + (term.value - middle) ** 2 for term in alone]
    assert fit["x1"].error == pytest.approx(math.sqrt(np.median(away)))
    assert fit["x1"].error > 1.001 * np.median([term.error for term in alone])


def test_covariates_that_a_machine_made():
    """The regressor, not the outcome, is known by hand for a few: naive attenuates, the combined moments do not."""
    slopes, covered = [], 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        _, topic, q = drawn(600, rng)
        y = 1.0 * topic + rng.normal(size=600)
        chosen = rng.permutation(600)[:200]
        known, outcome = np.full(600, np.nan), np.full(600, np.nan)
        known[chosen], outcome[chosen] = topic[chosen], y[chosen]
        term = dsl(outcome, np.stack([q, y], 1), known, 1 / 3, splits=1)["x1"]
        slopes.append(term.value)
        covered += term.low <= 1.0 <= term.high
    assert np.mean(slopes) == pytest.approx(1.0, abs=0.05)
    assert covered / 80 >= 0.87


def test_surrogates_may_be_words_and_several_columns():
    x, _, q, labelled = corpus()
    words = np.where(q == 1, "spam", "ham")
    assert values(dsl(labelled, words, None, 0.3)) == pytest.approx(values(dsl(labelled, q, None, 0.3)), abs=1e-9)
    assert dsl(labelled, words, x, 0.3).naive == ()
    two = dsl(labelled, np.stack([q, 1 - q + 0.1 * x], 1), x, 0.3)
    assert two["x1"].error > 0


def test_diagnostics():
    x, y, q, labelled = corpus()
    fit = dsl(labelled, q, x, 0.3, names=["age"])
    sampled = ~np.isnan(labelled)
    assert fit.agreement == pytest.approx((q == y)[sampled].mean())
    assert 0 < fit.r2 < 1
    assert (fit.documents, fit.gold, fit.probability, fit.notes) == (400, 120, (0.3, 0.3), ())
    assert [term.name for term in fit.terms] == ["(intercept)", "age"]
    assert fit.naive[1].value == pytest.approx(np.polyfit(x, q, 1)[0])
    assert dsl(labelled, q * 3.7, x, 0.3).agreement is None  # a score, not the label
    with pytest.raises(KeyError, match="'x1'"):
        fit["x1"]
    assert math.isnan(dsl(np.where(sampled, 2.0, np.nan), q, x, 0.3).r2)  # labels that are all the same


def test_few_gold_labels_take_a_simpler_prediction_and_say_so():
    x, _, q, labelled = corpus(n=60, gold=9)
    wide = np.random.default_rng(3).normal(size=(60, 5))
    with pytest.warns(UserWarning, match="g is fitted on features of surrogates alone"):
        fit = dsl(labelled, q, np.column_stack([x, wide]), 0.15)
    assert fit.notes
    with pytest.warns(UserWarning, match="g is their mean"):
        dsl(labelled, np.random.default_rng(4).normal(size=(60, 8)), x, 0.15)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dsl(labelled, q, x, 0.15)


def test_units_of_a_covariate_do_not_matter():
    x, _, q, labelled = corpus()
    plain, large, far = (dsl(labelled, q, column, 0.3)["x1"] for column in (x, 3e7 + 1e8 * x, 2000 + x))
    assert (large.value, large.error) == pytest.approx((plain.value / 1e8, plain.error / 1e8), rel=0.01)
    assert (far.value, far.error) == pytest.approx((plain.value, plain.error), rel=0.01)


def test_ridge_is_least_squares_where_that_is_best_and_less_where_it_is_not():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(200, 3))
    y = 1 + x @ [1.0, -2.0, 0.5]
    assert Ridge().fit(x, y).predict(x) == pytest.approx(y, abs=1e-3)
    noise, fresh = rng.normal(size=(40, 30)), rng.normal(size=(500, 30))
    target = noise[:, 0] + rng.normal(size=40)
    design = np.column_stack([np.ones(40), noise])
    plain = np.column_stack([np.ones(500), fresh]) @ np.linalg.lstsq(design, target, rcond=None)[0]
    mine = Ridge().fit(noise, target).predict(fresh)
    assert ((mine - fresh[:, 0]) ** 2).mean() < 0.5 * ((plain - fresh[:, 0]) ** 2).mean()
    assert mine.min() >= target.min()
    assert Ridge().fit(np.ones((5, 2)), np.arange(5.0)).predict(np.zeros((2, 2))) == pytest.approx([2.0, 2.0])
    assert Ridge().fit(np.zeros((5, 0)), np.arange(5.0)).predict(np.zeros((2, 0))) == pytest.approx([2.0, 2.0])


X, Y, Q, L = corpus(n=60, gold=20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probability": 0.0}, r"in \(0, 1\], got 0.0"),
        ({"probability": np.where(X > 0, 1.5, 0.5)}, r"got 1.5"),
        ({"probability": math.nan}, "got nan"),
        ({"sampled": np.ones(60)}, "40 sampled documents have no outcome"),
        ({"sampled": np.zeros(60)}, "20 documents have an outcome but were not sampled"),
        ({"sampled": np.full(60, 2)}, "0 or 1"),
        ({"outcome": np.full(60, np.nan)}, "no document has a gold outcome"),
        ({"outcome": []}, "no document"),
        ({"outcome": np.where(np.isnan(L), np.nan, np.inf)}, "finite"),
        ({"outcome": ["yes"] * 60}, "categories take model='shares'"),
        ({"outcome": L * 2, "model": "logistic"}, "0 or 1"),
        ({"outcome": ["yes"] * 60, "model": "shares"}, "every gold outcome is 'yes'"),
        ({"covariates": np.stack([X, 2 * X + 1], 1)}, "follow from each other"),
        ({"covariates": np.ones(60)}, "constant"),
        ({"covariates": np.where(np.arange(60) == 3, np.nan, X)}, "covariate 'x1' is missing in 1 documents"),
        ({"covariates": X[:5]}, r"each of 60 documents, got the shape \(5, 1\)"),
        ({"names": ["a", "b"]}, "need 1 different names"),
        ({"surrogate": np.where(np.arange(60) == 3, np.nan, Q)}, "1 surrogates are missing"),
        ({"surrogate": Q[:5]}, "surrogates must be one row"),
        ({"clusters": [1, 2]}, "clusters must be given for each of 60"),
        ({"clusters": [0, 1] * 30}, "number of clusters, 2; got 5"),
        ({"folds": 1}, "got 1"),
        ({"folds": 21}, "number of gold documents, 20; got 21"),
        ({"splits": 0}, "got 0"),
        ({"confidence": 95}, "got 95"),
        ({"model": "probit"}, "got 'probit'"),
        ({"model": "fixed effects"}, "groups belong to"),
        ({"groups": [1] * 60}, "groups belong to"),
        ({"model": "fixed effects", "groups": X > 0, "covariates": (X > 0).astype(float)}, "groups"),
        ({"model": "fixed effects", "groups": X > 0, "covariates": None}, "nothing to estimate"),
        ({"model": "fixed effects", "groups": X > 0, "covariates": L}, "has gaps"),
        ({"learner": Constant(math.nan)}, "finite number per document"),
    ],
)
def test_bad_input_is_refused(change, message):
    given = {"outcome": L, "surrogate": Q, "covariates": X, "probability": 1 / 3, **change}
    with pytest.raises(ValueError, match=message):
        dsl(**given)


def test_what_is_no_learner_is_refused():
    with pytest.raises(TypeError, match="fit and predict"):
        dsl(L, Q, X, 1 / 3, learner=lambda: 3)
    with pytest.raises(ValueError, match="got 0 and 200"):
        coverage(0)
