import math

import pytest

from trivium.core.errors import BudgetExceeded
from trivium.core.privacy import Gaussian, PrivacyBudget, Pure, SampledGaussian, concentrated


def test_gaussian_noise_by_its_closed_forms():
    noise = Gaussian(3.0, math.sqrt(2))
    assert noise.rho == pytest.approx(1 / 9, abs=1e-12)  # 1 / sigma^2 where two counts change by one
    assert noise.renyi(7) == pytest.approx(7 * 2 / (2 * 9), abs=1e-12)
    rho = 20 / 9
    assert noise.epsilon(20, 1e-5) == pytest.approx(rho + 2 * math.sqrt(rho * math.log(1e5)), abs=1e-9)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.5, 1e-5), (8.0, 1e-6)])
def test_the_noise_for_an_epsilon_gives_it_back(epsilon, delta):
    assert Gaussian.of(epsilon, delta, 1.7).epsilon(1, delta) == pytest.approx(epsilon, abs=1e-9)


def test_pure_uses_add_up_and_a_delta_helps_where_they_are_many():
    assert Pure(0.5).epsilon(6, 0.0) == pytest.approx(3.0, abs=1e-12)
    assert Pure(8.0).epsilon(3, 1e-5) == pytest.approx(24.0, abs=1e-12)
    assert Pure(0.01).epsilon(10_000, 1e-5) == pytest.approx(concentrated(0.5, 1e-5), abs=1e-9)


def test_epsilon_grows_with_uses_and_falls_with_noise():
    for few, many in ((Gaussian(2.0), Gaussian(1.0)), (Pure(0.1), Pure(0.2))):
        assert few.epsilon(5, 1e-5) < few.epsilon(6, 1e-5)
        assert few.epsilon(5, 1e-5) < many.epsilon(5, 1e-5)


def test_samples_of_the_records():
    pytest.importorskip("opacus")
    for order in (1.5, 2, 8.0, 33):
        assert SampledGaussian(1.0, 2.5).renyi(order) == pytest.approx(order / (2 * 2.5**2), abs=1e-9)
    q, sigma, order = 0.1, 1.3, 4  # the binomial sum of Mironov et al., equation 6, for whole orders
    total = sum(
        math.comb(order, k) * (1 - q) ** (order - k) * q**k * math.exp((k * k - k) / (2 * sigma**2))
        for k in range(order + 1)
    )
    assert SampledGaussian(q, sigma).renyi(order) == pytest.approx(math.log(total) / (order - 1), abs=1e-9)
    assert SampledGaussian(0.05, 1.0).epsilon(50, 1e-5) < SampledGaussian(0.5, 1.0).epsilon(50, 1e-5)
    assert SampledGaussian(0.05, 1.0).epsilon(0, 1e-5) == 0.0
    # By nearly all records what it says is no more, and little less, than of all by the closed form.
    assert 0.8 < SampledGaussian(0.999999, 4.0).epsilon(8, 1e-5) / Gaussian(4.0).epsilon(8, 1e-5) <= 1.0
    found = SampledGaussian.of(2.0, 1e-5, 0.1, 100)
    assert 1.98 < found.epsilon(100, 1e-5) <= 2.0


def test_all_of_the_records_are_no_sample():
    assert SampledGaussian(1.0, 4.0).epsilon(8, 1e-5) == Gaussian(4.0).epsilon(8, 1e-5)
    found = SampledGaussian.of(3.0, 1e-5, 1.0, 12)
    assert found.epsilon(12, 1e-5) == pytest.approx(3.0, rel=2e-3)
    assert found.epsilon(12, 1e-5) <= 3.0


def test_a_budget_is_never_exceeded():
    budget = PrivacyBudget(Pure(0.5), 2.0)
    for _ in range(4):
        budget.take()
    with pytest.raises(BudgetExceeded, match=r"1 more uses .* from 2 to 2.5, above the total of 2"):
        budget.take()
    assert budget.uses == 4
    assert str(budget) == "total epsilon 2 of 2 after 4 uses, delta 0; one use alone 0.5"
    budget = PrivacyBudget(Gaussian(4.0), 3.0, 1e-5)
    with pytest.raises(BudgetExceeded):
        budget.take(1000)
    assert budget.spent == 0.0


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="epsilon must be positive and finite, got 0"):
        Pure(0.0)
    for delta in (0.0, 1.0, -0.1):
        with pytest.raises(ValueError, match="delta is a probability between 0 and 1"):
            PrivacyBudget(Gaussian(1.0), 1.0, delta)
    with pytest.raises(ValueError, match="sigma must be positive"):
        Gaussian(-1.0)
    with pytest.raises(ValueError, match="rate is the probability"):
        SampledGaussian(1.5, 1.0)
    with pytest.raises(ValueError, match="multiplier must be"):
        SampledGaussian(0.5, 0.0)
    with pytest.raises(ValueError, match="epsilon must be positive"):
        Gaussian.of(0.0, 1e-5)
