import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from tests.probing.made import rand
from trivium.core.meter import Meter
from trivium.core.seeds import generator
from trivium.probing.linear_readout import LinearReadout


def fit(x, y, **settings):
    return LinearReadout(**settings).fit(x, y, generator=generator(0))


def three(seed=0, examples=80, width=12):
    """Three classes that overlap, named 4, 7 and 2."""
    x = rand(examples, width, seed=seed) * torch.linspace(0.1, 30, width) + 3
    which = (x @ rand(width, 3, seed=98) / 20 + rand(examples, 3, seed=seed + 7)).argmax(1)
    return x, torch.tensor([4, 7, 2])[which]


@pytest.mark.parametrize("penalty", [0.3, 5.0])
@pytest.mark.parametrize("width", [12, 120])
def test_logistic_is_that_of_scikit_learn(penalty, width):
    """With fewer and with more features than examples. Its C is 1 / penalty; both minimise the same sum."""
    x, y = three(width=width)
    probe = fit(x, y, penalty=penalty)
    z = (x - x.mean(0)) / x.std(0, correction=0)
    oracle = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(z.numpy(), y.numpy())
    assert probe.classes.tolist() == oracle.classes_.tolist()
    fresh = three(1, width=width)[0]
    ours = probe.outputs(fresh).softmax(1)
    theirs = oracle.predict_proba(((fresh - x.mean(0)) / x.std(0, correction=0)).numpy())
    torch.testing.assert_close(ours, torch.tensor(theirs), atol=1e-4, rtol=0)  # both stop near the minimum
    assert probe.predict(fresh).tolist() == oracle.predict(probe.scaling(fresh).numpy()).tolist()


@pytest.mark.parametrize("standardise", [False, True])
def test_ridge_is_that_of_scikit_learn(standardise):
    x, y = rand(40, 6) * 3 + 2, rand(40, 2, seed=1) + 5
    probe = fit(x, y, solver="ridge", penalty=2.0, standardise=standardise)
    z = probe.scaling(x)
    oracle = Ridge(alpha=2.0).fit(z.numpy(), y.numpy())
    torch.testing.assert_close(probe.weight, torch.tensor(oracle.coef_.T))
    torch.testing.assert_close(probe.predict(x), torch.tensor(oracle.predict(z.numpy())))
    assert probe.score(x, y) == pytest.approx(1 - ((y - probe.predict(x)) ** 2).sum() / ((y - y.mean(0)) ** 2).sum())


def test_by_hand():
    """x = -1, 1 and y = 0, 2, a penalty of 2: w = 2 / (2 + 2) = 0.5 and b = 1, so 0.5 and 1.5. R^2 = 1 - 0.5 / 2."""
    x, y = torch.tensor([[-1.0], [1.0]]), torch.tensor([0.0, 2.0])
    probe = fit(x, y, solver="ridge", penalty=2.0)
    assert probe.predict(x)[:, 0].tolist() == pytest.approx([0.5, 1.5])
    assert probe.score(x, y) == pytest.approx(0.75)
    assert fit(x, y, solver="min_norm").score(x, y) == pytest.approx(1.0)


def test_the_mean_that_is_set_against_is_that_of_the_fitted_labels():
    x, y = rand(30, 3), rand(30, seed=1)
    probe = fit(x, y, solver="ridge", penalty=1e12)
    assert probe.score(x, y) == pytest.approx(0.0, abs=1e-6)
    off, about = (y + 10 - y.mean()).square().sum(), (y + 10 - probe.predict(x)[:, 0]).square().sum()
    assert probe.score(x, y + 10) == pytest.approx(float(1 - about / off), abs=1e-9)
    assert float(off) > 90 * 30  # against the mean of the new labels, the share would be some hundreds below 0


def test_min_norm_is_a_ridge_of_nothing_and_fits_everything_where_it_can():
    x, y = rand(20, 50), rand(20, seed=1)
    assert fit(x, y, solver="min_norm").score(x, y) == pytest.approx(1.0)
    few, fresh = rand(40, 5), rand(10, 5, seed=3)
    a, b = (fit(few, rand(40, seed=1), solver=s, penalty=1e-9) for s in ("min_norm", "ridge"))
    torch.testing.assert_close(a.predict(fresh), b.predict(fresh), atol=1e-6, rtol=0)


def test_a_ridge_that_is_found_beats_none_and_too_much_on_fresh_examples():
    x, w = rand(40, 30), rand(30, seed=1)
    y, fresh = x @ w + 4 * rand(40, seed=2), rand(500, 30, seed=3)
    truth = fresh @ w
    found = fit(x, y, solver="ridge")
    assert found.penalty > 0
    assert found.score(fresh, truth) > fit(x, y, solver="min_norm").score(fresh, truth)
    assert found.score(fresh, truth) > fit(x, y, solver="ridge", penalty=1e5).score(fresh, truth)


def test_classes_by_least_squares():
    x, y = three()
    probe = fit(x, y, solver="ridge")
    assert probe.measure.name == "accuracy"
    assert set(probe.predict(x).tolist()) <= {2, 4, 7}
    assert probe.score(*three(1)) > 0.5


def test_features_of_any_scale_count_alike():
    """What one feature is multiplied by is of no matter, unless scales are kept."""
    x, y = three()
    scaled = x.clone()
    scaled[:, 0] *= 1000
    fresh = three(1)[0]
    torch.testing.assert_close(fit(scaled, y).weight, fit(x, y).weight, atol=1e-5, rtol=0)
    assert (fit(scaled, y, standardise=False).weight - fit(x, y, standardise=False).weight).abs().max() > 1e-3
    assert fit(x, y).predict(fresh).shape == (80,)


def test_a_feature_that_never_varies_is_harmless():
    x, y = three()
    x[:, 3] = 5.0
    assert torch.isfinite(fit(x, y).weight).all()
    with pytest.raises(ValueError, match="this probe reads activations"):
        fit(x, y).predict(x[:, 1:])


def test_passes_over_the_examples_are_counted():
    x, y = three()
    with Meter() as few:
        fit(x, y, steps=2)
    with Meter() as many:
        fit(x, y, steps=100)
    assert few.spent.evaluations % len(x) == 0
    assert 2 * len(x) <= few.spent.evaluations < many.spent.evaluations


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"solver": "svm"}, "solver must be one of logistic, ridge, min_norm; got 'svm'"),
        ({"penalty": -1.0}, "penalty must be at least 0 and finite, got -1.0"),
        ({"steps": 0}, "steps must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        LinearReadout(**wrong)


def test_misuse_is_told():
    x, y = three()
    with pytest.raises(ValueError, match="take solver='ridge'"):
        fit(x, y.double())
    with pytest.raises(ValueError, match="are of class 4"):
        fit(x, torch.full_like(y, 4))
    with pytest.raises(ValueError, match="whole numbers from 0"):
        fit(x, y - 9)
    with pytest.raises(ValueError, match="this probe reads classes"):
        fit(x, y).score(x, y.double())
    with pytest.raises(ValueError, match="predicts 1 outputs, the labels have 2"):
        fit(x, x[:, 0], solver="ridge").score(x, x[:, :2])
