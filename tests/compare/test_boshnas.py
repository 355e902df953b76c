"""BOSHNAS: its surrogate, its acquisition, and that it searches better than chance."""

import pytest
import torch

from trivium.compare.boshnas import Boshnas, Layers, Surrogate
from trivium.compare.searching import RandomSearch

X = torch.tensor([0.3, 0.7], dtype=torch.float64)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def grid():
    points = torch.tensor([[float(x), float(y)] for x in range(6) for y in range(6)], dtype=torch.float64)
    values = (points - torch.tensor([4.0, 1.0])).square().sum(1)
    return points, values.tolist()


def taught(**changes):
    """A surrogate that knows every third value of the grid."""
    points, values = grid()
    surrogate = Surrogate(Boshnas(**{"fit": 20} | changes), 2, draws())
    surrogate.learn(points / 5, {index: values[index] for index in range(0, 36, 3)})
    return surrogate, points / 5, torch.tensor(values, dtype=torch.float64)


def test_the_networks_learn_the_values_and_the_teachers_deviation():
    surrogate, places, values = taught(fit=150)
    target = 0.1 + 0.8 * (values[::3] - values[::3].min()) / (values[::3].max() - values[::3].min())
    with torch.no_grad():
        mean, variance = surrogate.values(places[::3])
        plain = (target - target.mean()).abs().mean()  # of who knows no more than the mean
        assert (surrogate.teacher(places[::3]) - target).abs().mean() < 0.5 * plain
        assert (mean - target).abs().mean() < 0.5 * plain
        assert (variance > 0).all()
        unsure = torch.stack([surrogate.deviation(places) for _ in range(20)]).mean(0)
        assert (surrogate.epistemic(places) - unsure).abs().mean() < 0.3 * unsure.mean()


def test_the_acquisition_is_the_mean_less_both_uncertainties():
    surrogate, _, _ = taught()
    mean, variance = surrogate.values(X[None])
    by_hand = mean - 0.5 * (surrogate.epistemic(X[None]) + (variance + 1e-12).sqrt())
    torch.testing.assert_close(surrogate.acquisition(X), by_hand[0])
    plain, _, _ = taught(weight=0.0)
    torch.testing.assert_close(plain.acquisition(X), plain.values(X[None])[0][0])


def test_the_gradient_of_the_acquisition_is_that_of_finite_differences():
    surrogate, _, _ = taught()
    at = X.clone().requires_grad_()
    assert torch.autograd.gradcheck(surrogate.acquisition, at)
    upstream = torch.ones((), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(surrogate.acquisition, at, upstream)


def test_the_descent_ends_below_its_start_and_within_the_bounds():
    surrogate, places, _ = taught()
    for begin in places[::11]:
        end = Boshnas().descend(surrogate, begin, draws())
        assert float(surrogate.acquisition(end).detach()) <= float(surrogate.acquisition(begin).detach())
        assert ((end >= 0) & (end <= 1)).all()
    assert torch.equal(Boshnas(steps=1).descend(surrogate, X, draws()), X)  # the first value is that of the start
    one, two = (Boshnas(rate=rate, steps=3).descend(surrogate, X, draws()) for rate in (0.5, 0.01))
    assert not torch.equal(one, two)


def test_a_pass_leaves_units_out_and_makes_up_for_them():
    layers = Layers((3, 8, 8, 1), draws())
    x = torch.rand(4, 3, generator=draws(1), dtype=torch.float64)
    logit = lambda p: (p / (1 - p)).log()  # noqa: E731
    passes = logit(layers.passes(x, 4000, 0.3, draws(2)))
    error = passes.std(0) / 4000**0.5
    assert ((passes.mean(0) - logit(layers(x))).abs() < 5 * error).all()
    assert passes.std(0).min() > 0.05


def test_it_finds_the_bottom_sooner_than_chance():
    points, values = grid()

    def regret(search, times):
        traces = [
            search(points, lambda index, _: values[index], queries=8, generator=draws(seed)) for seed in range(times)
        ]
        return sum(trace.regret(8, 0.0) for trace in traces) / times

    assert regret(Boshnas(fit=30, steps=12), 3) < 0.5 * regret(RandomSearch(), 300)


@pytest.mark.parametrize("changes", [{"dropout": 0.6}, {"passes": 3}, {"fit": 10}, {"fit_rate": 0.1}])
def test_the_settings_of_the_fit_change_the_surrogate(changes):
    one, two = (taught(**given)[0].acquisition(X).detach() for given in ({}, changes))
    assert abs(one - two) > 1e-6


@pytest.mark.parametrize("changes", [{"start": 5}, {"weight": 20.0}])
def test_the_settings_of_the_search_change_what_is_asked(changes):
    points, values = grid()
    one, two = (
        Boshnas(**{"fit": 10, "steps": 8} | given)(
            points, lambda index, _: values[index], queries=7, generator=draws(1)
        ).asked
        for given in ({}, changes)
    )
    assert one[:3] == two[:3]
    assert one != two


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"start": 0}, "start must be at least 1"),
        ({"passes": 1}, "passes must be at least 2"),
        ({"fit": 0}, "fit must be at least 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"dropout": 0.0}, "dropout must lie between"),
        ({"weight": -1.0}, "weight must be at least 0"),
        ({"rate": 0.0}, "rate and fit_rate positive"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        Boshnas(**wrong)
