import pytest

from trivium.core.budget import UNITS, Budget, Spent
from trivium.core.errors import BudgetExceeded, UnknownName


def test_sums_add_and_peaks_take_the_larger():
    both = Spent(flops=2, calls=1, seconds=0.5, peak_bytes=10) + Spent(flops=3, calls=2, seconds=1.0, peak_bytes=7)
    assert (both.flops, both.calls, both.seconds, both.peak_bytes) == (5, 3, 1.5, 10)


def test_every_unit_can_be_asked_for():
    assert Spent(evaluations=5).of("evaluations") == 5
    assert all(Spent().of(unit) == 0 for unit in UNITS)


def test_overrun_is_raised_beyond_the_tolerance_only():
    budget = Budget("flops", 1.25e12)
    budget.check("gla", Spent(flops=1.27e12))
    with pytest.raises(BudgetExceeded, match=r"gla spent 1.31e\+12 of 1.25e\+12 flops \(\+4.8%\); the tolerance is 2%"):
        budget.check("gla", Spent(flops=1.31e12))


@pytest.mark.parametrize("amount", [0, -1, float("nan")])
def test_amounts_are_positive(amount):
    with pytest.raises(ValueError, match="must be positive"):
        Budget("calls", amount)


def test_unknown_units_name_the_near_one():
    with pytest.raises(UnknownName, match="did you mean 'new_tokens'"):
        Budget("newtokens", 5)
    with pytest.raises(UnknownName):
        Spent().of("apples")


def test_budgets_are_read_from_text():
    assert Budget.parse("64 new_tokens") == Budget("new_tokens", 64)
    assert Budget.parse(" 1e12 flops ") == Budget("flops", 1e12)
    with pytest.raises(ValueError, match="reads like '64 new_tokens'"):
        Budget.parse("many flops")
    assert str(Budget("flops", 1e12)) == "1e+12 flops"


def test_a_share_of_a_budget():
    assert Budget("calls", 12, 0.1).share(0.25) == Budget("calls", 3, 0.1)
    with pytest.raises(ValueError, match="must be positive"):
        Budget("calls", 12).share(0)
