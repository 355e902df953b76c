"""BOSHNAS: its surrogate, its acquisition, and that it searches better than chance."""

import pytest
import torch

from trivium.compare.boshnas import Boshnas, Layers, Surrogate
from trivium.compare.searching import RandomSearch


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def grid():
    points = torch.tensor([[float(x), float(y)] for x in range(6) for y in range(6)], dtype=torch.float64)
    values = (points - torch.tensor([4.0, 1.0])).square().sum(1)
    return points, values.tolist()


def taught(recipe=Boshnas(fit=150), known=range(0, 36, 3)):
    points, values = grid()
    surrogate = Surrogate(recipe, 2, draws())
    surrogate.learn(points / 5, {index: values[index] for index in known})
    return surrogate, points / 5, torch.tensor(values, dtype=torch.float64)


def test_the_networks_learn_the_values_and_the_teachers_deviation():
    surrogate, places, values = taught(Boshnas(fit=400))
    known = places[::3]
    target = 0.1 + 0.8 * (values[::3] - values[::3].min()) / (values[::3].max() - values[::3].min())
    with torch.no_grad():
        mean, variance = surrogate.values(known)
        assert (surrogate.teacher(known) - target).abs().mean() < 0.1
        assert (mean - target).abs().mean() < 0.1
        assert (variance > 0).all()
        unsure = torch.stack([surrogate.deviation(places) for _ in range(20)]).mean(0)
        assert (surrogate.student(places) - unsure).abs().mean() < 0.5 * unsure.mean()


def test_the_acquisition_is_the_mean_less_both_uncertainties():
    surrogate, _, _ = taught()
    x = torch.tensor([0.3, 0.7], dtype=torch.float64)
    mean, variance = surrogate.values(x[None])
    by_hand = mean - 0.5 * (surrogate.student(x[None]) + (variance + 1e-12).sqrt())
    torch.testing.assert_close(surrogate.acquisition(x), by_hand[0])
    plain, _, _ = taught(Boshnas(fit=150, weight=0.0))
    torch.testing.assert_close(plain.acquisition(x), plain.values(x[None])[0][0])


def test_the_gradient_of_the_acquisition_is_that_of_finite_differences():
    surrogate, _, _ = taught()
    x = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(surrogate.acquisition, x)
    assert torch.autograd.gradgradcheck(surrogate.acquisition, x)


def test_the_descent_ends_below_its_start_and_within_the_bounds():
    surrogate, places, _ = taught()
    for begin in places[::7]:
        end = Boshnas().descend(surrogate, begin, draws())
        assert float(surrogate.acquisition(end)) <= float(surrogate.acquisition(begin))
        assert ((end >= 0) & (end <= 1)).all()
    short = Boshnas(steps=1).descend(surrogate, places[7], draws())
    assert torch.equal(short, places[7])  # one value, no step that was looked at
    one, two = (Boshnas(rate=rate, steps=3).descend(surrogate, places[7], draws()) for rate in (0.5, 0.01))
    assert not torch.equal(one, two)


def test_dropped_units_are_made_up_for():
    layers = Layers((3, 8, 8, 1), draws())
    x = torch.rand(4, 3, generator=draws(1), dtype=torch.float64)
    logit = lambda p: (p / (1 - p)).log()  # noqa: E731
    passes = torch.stack([logit(layers(x, 0.3, generator)) for generator in [draws(2)] for _ in range(4000)])
    torch.testing.assert_close(passes.mean(0), logit(layers(x)), atol=0.05, rtol=0)
    assert torch.equal(layers(x), layers(x))


def test_it_finds_the_bottom_sooner_than_chance():
    points, values = grid()
    regrets = {}
    for search in (RandomSearch(), Boshnas()):
        traces = [search(points, lambda index, _: values[index], queries=9, generator=draws(seed)) for seed in range(6)]
        regrets[type(search).__name__] = sum(trace.regret(9, 0.0) for trace in traces) / 6
    assert regrets["Boshnas"] < 0.7 * regrets["RandomSearch"]


@pytest.mark.parametrize("changes", [{"start": 5}, {"dropout": 0.6}, {"passes": 3}, {"fit": 5}, {"fit_rate": 0.1}])
def test_every_setting_changes_the_search(changes):
    points, values = grid()
    base = {"fit": 20, "steps": 20}
    one, two = (
        Boshnas(**settings)(points, lambda index, _: values[index], queries=9, generator=draws(1)).asked
        for settings in (base, base | changes)
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
