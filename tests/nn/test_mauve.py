"""MAUVE: its fixed points and symmetries, a slow loop over a hand-worked case, and sets that are too small."""

import itertools
import math

import numpy as np
import pytest
import torch

from trivium.nn.mauve import area, bins_for, frontier, mauve, quantised


def rng():
    return np.random.default_rng(0)


def noise(seed, texts=60, width=8):
    return torch.randn(texts, width, generator=torch.Generator().manual_seed(seed))


def slow(p, q, scaling, weights):
    """The area in plain floats: KL sums bin by bin, trapezoids point by point."""
    points = [(0.0, 1.0)]
    for w in weights:
        r = [w * a + (1 - w) * b for a, b in zip(p, q, strict=True)]
        kl = [sum(a * math.log(a / c) for a, c in zip(x, r, strict=True) if a > 0) for x in (q, p)]
        points.append((math.exp(-scaling * kl[0]), math.exp(-scaling * kl[1])))
    points.append((1.0, 0.0))
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))


def test_equal_sets_are_one_and_sets_apart_nearly_nothing():
    near, far = noise(0), noise(1)
    assert mauve(near, near, generator=rng()) == pytest.approx(1.0)
    assert mauve(near, far, generator=rng()) > 0.8  # two draws of one distribution
    apart = mauve(near + 10, far - 10, generator=rng(), bins=2, smoothing=0.0)
    assert apart == pytest.approx(1 / 252, rel=0.05)  # 5 B(6, 5), on a grid of 25
    assert apart < mauve(near + 10, far - 10, generator=rng(), bins=2) < 0.05


def test_sets_apart_by_the_formula_on_a_fine_grid():
    p, q = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 7.0])
    beta = 2 * math.gamma(3) * math.gamma(2) / math.gamma(5)  # c B(c + 1, c) for c = 2
    assert float(area(p, q, smoothing=0.0, scaling=2.0, grid=4001)) == pytest.approx(beta, rel=1e-4)


def test_two_bins_by_hand_and_by_the_slow_loop():
    p, q = torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([0.9, 0.1], dtype=torch.float64)
    middle = frontier(p, q, grid=3)[2]  # r = (0.7, 0.3)
    assert float(middle[0]) == pytest.approx(math.exp(-5 * (0.9 * math.log(9 / 7) + 0.1 * math.log(1 / 3))))
    assert float(middle[1]) == pytest.approx(math.exp(-5 * (0.5 * math.log(5 / 7) + 0.5 * math.log(5 / 3))))
    weights = np.linspace(1 - 1e-6, 1e-6, 25)
    counts = torch.tensor([4.0, 4.0]), torch.tensor([9.0, 1.0])
    assert float(area(*counts, smoothing=0.0)) == pytest.approx(slow(p.tolist(), q.tolist(), 5, weights))
    smooth = slow([4.5 / 9, 4.5 / 9], [9.5 / 11, 1.5 / 11], 5, weights)
    assert float(area(*counts)) == pytest.approx(smooth)
    assert smooth > float(area(*counts, smoothing=0.0))


def test_the_curve_falls_from_one_end_to_the_other():
    points = frontier(torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.6, 0.4, 0.0]))
    assert points[0].tolist() == [0.0, 1.0]
    assert points[-1].tolist() == [1.0, 0.0]
    assert (points.diff(dim=0)[:, 0] >= 0).all()
    assert (points.diff(dim=0)[:, 1] <= 0).all()


def test_symmetric_in_the_sets_and_blind_to_the_order_of_texts():
    first, second = noise(0), noise(1, 40) + 0.5
    value = mauve(first, second, generator=rng())
    assert 0.05 < value < 0.95
    assert mauve(second, first, generator=rng()) == pytest.approx(value, abs=1e-12)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(2))
    assert mauve(first[order], second.flip(0), generator=rng()) == pytest.approx(value, abs=1e-12)


def test_many_counts_at_once_are_each_alone():
    p, q = torch.rand(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([1.0, 2.0, 3.0])
    together = area(p, q.expand(5, 3))
    assert together.tolist() == pytest.approx([float(area(row, q)) for row in p])


def test_nearer_sets_have_more():
    base = noise(0)
    values = [mauve(base, noise(1) + shift, generator=rng()) for shift in (0.0, 0.5, 2.0)]
    assert values == sorted(values, reverse=True)
    assert values[0] - values[2] > 0.5


def test_bins_hold_what_belongs_together():
    centres = torch.eye(4).repeat_interleave(6, 0)
    labels = quantised(centres + 0.01 * noise(0, 24, 4), 4, rng())
    assert len(set(labels.tolist())) == 4
    assert all(len(set(part.tolist())) == 1 for part in labels.split(6))
    assert quantised(torch.ones(8, 3), 2, rng()).tolist() in ([0] * 8, [1] * 8)  # equal texts share a bin


def test_bins_are_a_tenth_or_the_root():
    assert [bins_for(n) for n in (4, 24, 100, 1000)] == [2, 5, 10, 100]


def test_too_little_and_broken_input():
    with pytest.raises(ValueError, match="MAUVE of 9 and 60 texts says nothing; give at least 10"):
        mauve(noise(0, 9), noise(1), generator=rng())
    with pytest.raises(ValueError, match="24 texts cannot be put into 20 bins"):
        mauve(noise(0, 12), noise(1, 12), bins=20, generator=rng())
    with pytest.raises(ValueError, match="not finite"):
        mauve(noise(0) * float("nan"), noise(1), generator=rng())
    with pytest.raises(ValueError, match="zero in every bin"):
        area(torch.zeros(2), torch.ones(2), smoothing=0.0)
    for wrong in ({"smoothing": -1.0}, {"scaling": 0.0}, {"grid": 1}):
        with pytest.raises(ValueError, match="got"):
            area(torch.ones(2), torch.ones(2), **wrong)
