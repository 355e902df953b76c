"""An order of draws: shares that hold on every stretch, nothing again before all, and every place by itself."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from trivium.data import orders
from trivium.data.orders import Draws, Order


def made(counts: list[tuple[int, int]], seed: int = 0) -> Order:
    """Groups of so many members, of which so many are drawn; members of all groups are numbered through."""
    start, draws = 0, []
    for number, (n, count) in enumerate(counts):
        draws.append(Draws(f"g{number}", np.arange(start, start + n), count))
        start += n
    return Order(draws, seed)


ORDERS = [[(5, 5)], [(7, 20), (3, 1), (4, 0), (100, 33)], [(0, 0), (2, 3)], [(1, 50), (1, 1)], [(3, 4)] * 9]


@pytest.mark.parametrize("counts", ORDERS)
def test_every_place_by_itself_is_what_it_is_in_the_whole(counts, monkeypatch):
    monkeypatch.setattr(orders, "STRETCH", 4)
    order = made(counts, seed=3)
    whole = order.between(0, len(order)).tolist()
    assert len(whole) == len(order) == sum(count for _, count in counts)
    for k in range(len(order)):
        assert order.between(k, k + 1).tolist() == [whole[k]]
        assert order.between(k, min(k + 5, len(order))).tolist() == whole[k : k + 5]
    for k in (0, len(order) // 3, len(order)):
        assert list(order.from_(k)) == whole[k:]


@pytest.mark.parametrize("counts", ORDERS)
def test_groups_come_by_their_shares_as_the_definition_says(counts):
    order = made(counts)
    keys = [(Fraction(2 * j + 1, 2 * count), g, j) for g, (_, count) in enumerate(counts) for j in range(count)]
    group, draw = order.split(0, len(order))
    assert list(zip(group.tolist(), draw.tolist(), strict=True)) == [(g, j) for _, g, j in sorted(keys)]


def test_every_prefix_holds_each_group_by_its_share():
    order = made([(50, 700), (900, 250), (10, 50)])
    group, _ = order.split(0, 1000)
    for number, count in enumerate((700, 250, 50)):
        ahead = np.cumsum(group == number) - count / 1000 * np.arange(1, 1001)
        assert np.abs(ahead).max() <= 2


def test_nothing_comes_again_before_all_have_come_and_each_epoch_is_another():
    order = made([(40, 100)], seed=5)
    whole = list(order.from_())
    assert whole[:40] == list(range(40))
    assert sorted(whole[40:80]) == whole[:40] != whole[40:80]
    assert len(set(whole[80:])) == 20
    assert whole[80:] != whole[40:60]
    assert set(Counter(whole).values()) == {2, 3}
    assert list(made([(40, 100)], seed=6).from_(40)) != whole[40:]


def test_a_group_of_which_nothing_is_drawn_changes_nothing():
    order, more = made([(7, 20), (3, 2)]), made([(7, 20), (3, 2), (5, 0)])
    assert list(order.from_()) == list(more.from_())


def test_far_places_of_a_long_order():
    order = made([(10**6, 9 * 10**11), (999_983, 10**11 + 7)])
    k = len(order) - 10
    assert order.between(k, k + 10).tolist() == list(order.from_(k))
    group, draw = order.split(k, k + 10)
    assert draw[group == 0].max() == 9 * 10**11 - 1


def test_bad_input():
    with pytest.raises(ValueError, match="cannot be drawn from 'web', which has 0"):
        Draws("web", np.arange(0), 3)
    with pytest.raises(ValueError, match="places 3 to 9 do not lie in an order of 5"):
        made([(5, 5)]).between(3, 9)
