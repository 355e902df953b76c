import pytest
import torch

from trivium.nn.least_squares import (
    least_squares,
    least_squares_reference,
    left_out_errors,
    left_out_errors_reference,
    rank,
)


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (6, 6)])
@pytest.mark.parametrize("penalty", [0.3, 20.0])
def test_with_a_penalty_it_solves_the_normal_equations(shape, penalty):
    x, y = rand(*shape).requires_grad_(), rand(shape[0], 2, seed=1).requires_grad_()
    fast, slow = least_squares(x, y, penalty), least_squares_reference(x, y, penalty)
    torch.testing.assert_close(fast, slow, atol=1e-11, rtol=0)
    upstream = rand(*fast.shape, seed=2)
    got, expected = (torch.autograd.grad((w * upstream).sum(), (x, y)) for w in (fast, slow))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


def test_with_fewer_columns_than_rows_it_is_ordinary_least_squares():
    x, y = rand(20, 5), rand(20, 2, seed=1)
    torch.testing.assert_close(least_squares(x, y), torch.linalg.lstsq(x, y).solution, atol=1e-11, rtol=0)
    torch.testing.assert_close(x.mT @ (y - x @ least_squares(x, y)), torch.zeros(5, 2).double(), atol=1e-11, rtol=0)


def test_with_more_columns_it_interpolates_with_the_least_norm():
    x, y = rand(5, 20), rand(5, 2, seed=1)
    w = least_squares(x, y)
    torch.testing.assert_close(x @ w, y, atol=1e-11, rtol=0)
    null = torch.eye(20, dtype=torch.float64) - x.mT @ torch.linalg.solve(x @ x.mT, x)
    other = w + null @ rand(20, 2, seed=3)
    torch.testing.assert_close(x @ other, y, atol=1e-11, rtol=0)
    assert (w.square().sum(0) < other.square().sum(0)).all()


def test_a_ridge_that_vanishes_leaves_the_least_norm_and_one_that_grows_leaves_nothing():
    x, y = rand(5, 20), rand(5, 2, seed=1)
    torch.testing.assert_close(least_squares(x, y, 1e-10), least_squares(x, y), atol=1e-9, rtol=0)
    assert least_squares(x, y, 1e12).abs().max() < 1e-10


def test_directions_below_the_cut_are_left_alone():
    x = torch.diag(torch.tensor([1.0, 1e-6], dtype=torch.float64))
    y = torch.ones(2, 1, dtype=torch.float64)
    assert least_squares(x, y).flatten().tolist() == pytest.approx([1.0, 1e6])
    assert least_squares(x, y, rcond=1e-5).flatten().tolist() == pytest.approx([1.0, 0.0])
    assert (rank(x), rank(x, 1e-5)) == (2, 1)


def test_no_columns_and_columns_of_zeros_weigh_nothing():
    y = rand(4, 2)
    assert least_squares(torch.zeros(4, 0, dtype=torch.float64), y).shape == (0, 2)
    assert least_squares(torch.zeros(4, 3, dtype=torch.float64), y).abs().max() == 0
    assert rank(torch.zeros(4, 0, dtype=torch.float64)) == rank(torch.zeros(4, 3, dtype=torch.float64)) == 0


@pytest.mark.parametrize("shape", [(12, 4), (7, 12)])
@pytest.mark.parametrize("centred", [False, True])
def test_errors_on_examples_left_out_equal_those_of_as_many_fits(shape, centred):
    x, y = rand(*shape) + 1, rand(shape[0], 2, seed=1) - 2
    if centred:
        x, y = x - x.mean(0), y - y.mean(0)
    penalties = torch.tensor([1e-2, 0.5, 30.0], dtype=torch.float64)
    fast, slow = (f(x, y, penalties, centred=centred) for f in (left_out_errors, left_out_errors_reference))
    torch.testing.assert_close(fast, slow, atol=1e-9, rtol=1e-9)
