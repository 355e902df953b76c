import pytest
import torch

from trivium.nn.adahessian import diagonal, minimise

CURVES = torch.tensor([1.0, 100.0, 0.01], dtype=torch.float64)
CENTRE = torch.tensor([0.3, 0.6, 0.5], dtype=torch.float64)


def bowl(x):
    return (CURVES * (x - CENTRE).square()).sum() / 2


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_diagonal_of_a_diagonal_curve_needs_one_draw():
    x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    value, slope, curve = diagonal(bowl, x, torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    torch.testing.assert_close(value, bowl(x))
    torch.testing.assert_close(slope, CURVES * (x - CENTRE))
    torch.testing.assert_close(curve, CURVES)


def test_the_mean_over_all_signs_is_the_diagonal():
    a = torch.tensor([[2.0, 0.7], [0.7, 3.0]], dtype=torch.float64)
    signs = [torch.tensor([s, t], dtype=torch.float64) for s in (-1.0, 1.0) for t in (-1.0, 1.0)]
    x = torch.tensor([0.4, -1.0], dtype=torch.float64)
    curves = [diagonal(lambda at: at @ a @ at / 2, x, sign)[2] for sign in signs]
    torch.testing.assert_close(torch.stack(curves).mean(0), a.diagonal())
    assert (curves[0] - curves[1]).abs().max() > 0.5


def test_axes_of_any_curvature_arrive_together():
    start = torch.tensor([0.0, 0.0, 0.0], dtype=torch.float64)
    found = minimise(bowl, start, generator=draws(), tolerance=0.0)
    torch.testing.assert_close(found, CENTRE, atol=0.05, rtol=0)


def test_it_stays_within_bounds_and_leaves_the_start():
    start = torch.tensor([0.9, 0.9, 0.9], dtype=torch.float64)
    bounds = torch.tensor([0.5, 0.0, 0.0], dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    found = minimise(bowl, start, generator=draws(), bounds=bounds)
    assert float(found[0]) == 0.5
    assert ((found >= bounds[0]) & (found <= bounds[1])).all()
    assert torch.equal(start, torch.tensor([0.9, 0.9, 0.9], dtype=torch.float64))


def test_it_stops_once_nothing_changes():
    asked = []

    def flat(x):
        asked.append(1)
        return (x * 0.0).sum()

    minimise(flat, CENTRE, generator=draws(), patience=5)
    assert len(asked) == 6
    asked.clear()
    minimise(flat, CENTRE, generator=draws(), patience=2)
    assert len(asked) == 3


def test_the_best_point_met_is_returned_and_the_seed_decides():
    wavy = lambda x: (x.square() + 0.3 * (12 * x).sin()).sum()  # noqa: E731
    start = torch.tensor([1.5, -1.0], dtype=torch.float64)
    one, two = (minimise(wavy, start, generator=draws(3), steps=40) for _ in range(2))
    assert torch.equal(one, two)
    assert float(wavy(one)) <= float(wavy(start))


def test_a_line_has_no_curvature():
    value, _, curve = diagonal(lambda x: x.sum(), CENTRE, torch.ones_like(CENTRE))
    assert float(value) == pytest.approx(1.4)
    assert (curve == 0).all()
