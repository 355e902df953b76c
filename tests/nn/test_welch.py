import pytest
import scipy.stats
import torch

from trivium.core.seeds import generator
from trivium.nn.welch import largest, welch_t, welch_t_reference


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed, "rand"), dtype=torch.float64)


def test_it_is_scipys_and_the_loop_and_changes_sign_with_the_groups():
    a, b = 3 * rand(17, 6) + 0.4, rand(9, 6, seed=1)
    t = welch_t(a, b)
    expected = scipy.stats.ttest_ind(a.numpy(), b.numpy(), equal_var=False).statistic
    torch.testing.assert_close(t, torch.from_numpy(expected), atol=1e-6, rtol=0)
    torch.testing.assert_close(t, welch_t_reference(a, b))
    torch.testing.assert_close(welch_t(b, a), -t, atol=0, rtol=0)


def test_by_hand():
    """Means 2 and 5, variances 1 and 4 over 3 and 2 rows: -3 / sqrt(1/3 + 2)."""
    a, b = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[5 - 2**0.5], [5 + 2**0.5]]).double()
    assert welch_t(a, b).item() == pytest.approx(-3 / (1 / 3 + 4 / 2) ** 0.5)


def test_units_that_never_change_have_none():
    """Also where the mean of equal numbers is rounded, as that of seven times 0.1 is."""
    a, b = rand(7, 3), rand(5, 3, seed=1)
    a[:, 1] = b[:, 1] = 0.1
    a[:, 2], b[:, 2] = 0.1, 0.3
    t = welch_t(a.float(), b.float())
    assert t[1] == 0
    assert t[2] == float("-inf")
    assert t[0].isfinite()


def test_a_constant_unit_has_none_whatever_its_value():
    """Means of equal numbers are rounded for some of them, which would look like a spread, and like a gap."""
    values = rand(300)
    a, b = values.expand(7, -1), values.expand(5, -1)
    assert (a.mean(0) != values).any()
    assert (welch_t(a, b) == 0).all()


def test_the_largest_of_equal_values_come_first():
    assert largest(torch.tensor([1.0, 3.0, 3.0, 3.0, 0.0]), 2).tolist() == [False, True, True, False, False]
    for wrong in (0, 6):
        with pytest.raises(ValueError, match=f"count must be 1 to the 5 units there are, got {wrong}"):
            largest(torch.zeros(5), wrong)


def test_misuse_is_told():
    with pytest.raises(ValueError, match="two rows in each group, got 4 and 1"):
        welch_t(rand(4, 3), rand(1, 3))
    b = rand(4, 3)
    b[2, 1] = float("inf")
    with pytest.raises(ValueError, match="unit 1 of row 2 in the second group is not finite"):
        welch_t(rand(4, 3), b)
