"""The order is one: everything once, and no order like another."""

import numpy as np
import pytest

from trivium.data.shuffle import shuffled


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 63, 64, 65, 1000, 4097])
def test_everything_once(count):
    assert sorted(shuffled(np.arange(count), count, 0).tolist()) == list(range(count))


def test_any_place_alone_is_what_it_is_among_the_others():
    whole = shuffled(np.arange(501), 501, 3, "epoch", 2)
    for place in (0, 7, 500):
        assert shuffled(np.array([place]), 501, 3, "epoch", 2).tolist() == [whole[place]]


def test_seeds_and_names_give_other_orders():
    orders = [shuffled(np.arange(50), 50, seed, "epoch", epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_it_is_no_cheap_pattern():
    """Over many orders a thing stands everywhere alike, and neighbours come apart: chi-square within what chance
    gives."""
    count, orders = 12, 3000
    drawn = np.array([shuffled(np.arange(count), count, seed) for seed in range(orders)])
    for values in (drawn[:, 0], drawn[:, 7], (drawn[:, 1] - drawn[:, 0]) % count):
        kinds = count if values is not None and (values == 0).any() else count - 1
        seen = np.bincount(values, minlength=count)
        seen = seen[seen > 0]
        assert len(seen) == kinds
        expected = orders / kinds
        assert ((seen - expected) ** 2 / expected).sum() < 35  # 11 degrees of freedom: p below 3e-4


def test_large_counts_need_no_memory():
    count = 10**15
    some = shuffled(np.array([0, 1, count - 1]), count, 0)
    assert len(set(some.tolist())) == 3
    assert ((some >= 0) & (some < count)).all()


def test_places_outside_are_refused():
    with pytest.raises(ValueError, match="places 0 to 5 do not all lie in an order of 5"):
        shuffled(np.arange(6), 5, 0)
    with pytest.raises(ValueError, match="places -1 to 2"):
        shuffled(np.array([-1, 2]), 5, 0)
    assert shuffled(np.array([], np.int64), 5, 0).tolist() == []
