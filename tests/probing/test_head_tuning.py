import pytest
import torch

from trivium.core.seeds import generator
from trivium.probing.head_tuning import HeadTuning


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed, "rand"), dtype=torch.float64)


def fit(x, y, **settings):
    return HeadTuning(**settings).fit(x, y, generator=generator(0))


def test_by_hand():
    """x = 1, 2 and y = 1, 3: w = (1 + 6) / 5 = 1.4, and with a ridge of 2, 7 / 7 = 1. At x = y = 2 it errs by 0.8."""
    x, y = torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 3.0])
    assert fit(x, y).weight.item() == pytest.approx(1.4)
    assert fit(x, y, ridge=2.0).weight.item() == pytest.approx(1.0)
    assert fit(x, y).score(torch.tensor([[2.0]]), torch.tensor([2.0])) == pytest.approx(0.64)


def test_a_bias_takes_the_mean_away_and_costs_nothing():
    x, y = rand(30, 4) + 5, rand(30, 2, seed=1) - 7
    head = fit(x, y, intercept=True, ridge=1e12)
    torch.testing.assert_close(head.predict(x), y.mean(0).expand(30, 2), atol=1e-8, rtol=0)
    ones = torch.cat((x, torch.ones(30, 1).double()), 1)
    solved = torch.linalg.lstsq(ones, y).solution
    head = fit(x, y, intercept=True)
    torch.testing.assert_close(torch.cat((head.weight, head.bias[None])), solved, atol=1e-9, rtol=0)
    assert fit(x, y).bias.abs().max() == 0


def test_of_no_activations_the_risk_is_the_variance_of_the_labels():
    y, fresh = rand(40, 2), rand(500, 2, seed=1)
    plain = fit(torch.zeros(40, 0), y)
    assert plain.score(torch.zeros(500, 0), fresh) == pytest.approx(fresh.square().sum(1).mean().item())
    mean = fit(torch.zeros(40, 0), y + 3, intercept=True)
    expected = (fresh + 3 - (y + 3).mean(0)).square().sum(1).mean().item()
    assert mean.score(torch.zeros(500, 0), fresh + 3) == pytest.approx(expected)
    assert (plain.rank, plain.ridge) == (0, 0.0)
    assert fit(torch.zeros(40, 3), y, ridge=None).weight.abs().max() == 0


@pytest.mark.parametrize("width", [20, 35])
def test_from_as_many_directions_as_examples_on_it_fits_everything(width):
    x, y = rand(20, width), rand(20, seed=1)
    assert fit(x, y).score(x, y) < 1e-20
    assert fit(x[:, :19], y).score(x[:, :19], y) > 1e-3


@pytest.mark.parametrize("width", [10, 40])
def test_a_large_ridge_has_the_risk_of_no_activations(width):
    x, y = rand(20, width), rand(20, seed=1)
    fresh = rand(300, width, seed=2), rand(300, seed=3)
    assert fit(x, y, ridge=1e9).score(*fresh) == pytest.approx(fresh[1].square().mean().item(), rel=1e-6)
    assert fit(x, y, ridge=1e-9).score(*fresh) == pytest.approx(fit(x, y).score(*fresh), rel=1e-5)


@pytest.mark.parametrize("intercept", [False, True])
def test_the_ridge_that_is_found_does_best_on_examples_left_out(intercept):
    """By as many fits as there are examples, for ridges around the one that was found."""
    x = rand(16, 12) + 2
    y = x @ rand(12, seed=1) + 2 * rand(16, seed=2)
    found = fit(x, y, ridge=None, intercept=intercept).ridge

    def left_out(ridge):
        total = 0.0
        for row in range(16):
            others = torch.arange(16) != row
            head = fit(x[others], y[others], ridge=ridge, intercept=intercept)
            total += head.score(x[row : row + 1], y[row : row + 1])
        return total

    step = 10**0.5
    assert left_out(found) < min(left_out(found * step), left_out(found / step), left_out(found * step**4))
    assert 1e-3 < found < 1e4


def test_the_rank_is_that_of_the_activations_and_the_cut():
    x = rand(30, 3) @ rand(3, 10, seed=1)
    assert fit(x, rand(30, seed=2)).rank == 3
    nearly = x + 1e-6 * rand(30, 10, seed=3)
    assert fit(nearly, rand(30, seed=2)).rank == 10
    assert fit(nearly, rand(30, seed=2), rcond=1e-3).rank == 3


def expected_risk(n, p, total, noise):
    """Belkin, Hsu and Xu 2020, theorem 1: Gaussian activations, weights of norm 1 spread over ``total`` of which p are
    seen."""
    seen = p / total
    if p <= n - 2:
        return (1 - seen + noise**2) * (1 + p / (n - p - 1))
    return seen * (1 - n / p) + (1 - seen + noise**2) * (1 + n / (p - n - 1))


def risks(n, p, total, repeats, **settings):
    """Of independent Gaussian rows, on as many fresh ones as make no difference: the error is worked out."""
    found = []
    for repeat in range(repeats):
        draws = generator(repeat, "risk", n, p)
        x = torch.randn(n, total, generator=draws, dtype=torch.float64)
        theta = torch.randn(total, generator=draws, dtype=torch.float64)
        theta = theta / theta.norm()
        y = x @ theta + torch.randn(n, generator=draws, dtype=torch.float64)
        wrong = theta.clone()
        wrong[:p] -= fit(x[:, :p], y, **settings).weight[:, 0]
        found.append(wrong.square().sum() + 1.0)
    return torch.stack(found)


@pytest.mark.parametrize("p", [0, 5, 10, 60, 100])
def test_the_risk_is_that_of_the_theorem(p):
    got = risks(20, p, 100, 200)
    error = got.std() / 200**0.5
    assert abs(got.mean() - expected_risk(20, p, 100, 1.0)) < 3 * error + 1e-9 + (0.02 if p == 0 else 0.0)


def test_risk_rises_peaks_and_falls_again_and_a_found_ridge_takes_the_peak_away():
    """The claim: lowest at width 0, highest where the width meets the examples, and all of it gone with a ridge."""
    widths = (0, 5, 10, 20, 40, 100)
    plain = [risks(20, p, 100, 40).median().item() for p in widths]
    assert plain[0] == min(plain[:4])
    assert plain[3] == max(plain) > 5 * plain[0]
    assert plain[3] > 5 * plain[4] > 5 * plain[5]
    ridge = [risks(20, p, 100, 40, ridge=None).median().item() for p in widths]
    assert max(ridge) < 1.3 * ridge[0]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"ridge": -1.0}, "ridge must be at least 0"), ({"rcond": 1.0}, "rcond is a share")],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        HeadTuning(**wrong)


def test_misuse_is_told():
    x, y = rand(6, 3), rand(6, 2)
    with pytest.raises(ValueError, match=r"reads activations \(examples, 3\)"):
        fit(x, y).predict(rand(6, 4))
    with pytest.raises(ValueError, match="this head predicts 2 outputs, the labels have 1"):
        fit(x, y).score(x, y[:, 0])
    with pytest.raises(ValueError, match="give at least 2"):
        fit(x[:1], y[:1], ridge=None)
    with pytest.raises(ValueError, match=r"labels of examples \[2\] are not finite"):
        fit(x, torch.where(torch.arange(6)[:, None] == 2, float("inf"), y))
