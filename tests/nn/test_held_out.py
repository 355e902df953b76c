import math

import pytest
import torch

from trivium.nn.held_out import held_out_loglik, in_sample_loglik


def data(rows=60, columns=3, noise=1.0):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, columns, generator=generator, dtype=torch.float64) * 5 + 2
    y = 3 + x @ torch.arange(1.0, columns + 1, dtype=torch.float64)
    return x, y + noise * torch.randn(rows, generator=generator, dtype=torch.float64), torch.arange(rows) % 5


def test_equals_a_slow_loop():
    x, y, fold = data()
    found = held_out_loglik(x, y, fold)
    for row in range(len(y)):
        train = fold != fold[row]
        design = torch.cat([torch.ones(int(train.sum()), 1, dtype=torch.float64), x[train]], 1)
        w = torch.linalg.lstsq(design, y[train, None]).solution[:, 0]
        variance = (y[train] - design @ w).square().mean()
        expected = torch.distributions.Normal(w[0] + x[row] @ w[1:], variance.sqrt()).log_prob(y[row])
        assert float(found[row]) == pytest.approx(float(expected), abs=1e-9)


def test_by_hand():
    """Fitted to 0 and 2 of a constant column: mean 1, variance 1."""
    x = torch.ones(7, 1, dtype=torch.float64)
    y = torch.tensor([0.0, 2.0, 0.0, 2.0, 1.0, 4.0, 0.0], dtype=torch.float64)
    found = held_out_loglik(x, y, torch.tensor([0, 0, 0, 0, 1, 1, 1]))[4:]
    expected = [-0.5 * (math.log(2 * math.pi) + off**2) for off in (0, 3, 1)]
    assert found.tolist() == pytest.approx(expected)


def test_another_column_helps_in_sample_and_nothing_helps_out_of_it():
    x, y, fold = data()
    noise = torch.randn(60, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    more = torch.cat([x, noise], 1)
    assert in_sample_loglik(more, y).sum() >= in_sample_loglik(x, y).sum()
    assert held_out_loglik(more, y, fold).sum() < held_out_loglik(x, y, fold).sum()
    assert held_out_loglik(x, y, fold).sum() > held_out_loglik(x[:, :2], y, fold).sum() + 10


def test_scales_and_copies_of_columns_do_not_matter():
    x, y, fold = data()
    found = held_out_loglik(x, y, fold)
    torch.testing.assert_close(held_out_loglik(torch.cat([1e4 * x, x], 1), y, fold), found, atol=1e-8, rtol=0)


def test_bad_input():
    x, y, fold = data()
    with pytest.raises(ValueError, match="all rows are in one fold"):
        held_out_loglik(x, y, fold * 0)
    with pytest.raises(ValueError, match="4 rows are too few for 3 weights and an intercept"):
        held_out_loglik(x[:8], y[:8], torch.arange(8) % 2)
    with pytest.raises(ValueError, match="leaves no error"):
        held_out_loglik(x, torch.zeros_like(y), fold)
