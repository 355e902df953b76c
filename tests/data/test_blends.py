"""How much of each group a blend draws: shares by weights and by temperature, whole epochs and limits to them."""

import logging
import math

import numpy as np
import pytest

from trivium.data.blends import Blend
from trivium.data.choosing import Group
from trivium.data.orders import Order
from trivium.data.shares import capped, tempered


def groups(**counts: int) -> list[Group]:
    """Groups of so many documents of 2, 3 and 4 words in turn."""
    start, made = 0, []
    for name, n in counts.items():
        made.append(Group(name, np.arange(start, start + n), np.arange(n) % 3 + 2))
        start += n
    return made


def drawn(blend: Blend, some: list[Group]) -> dict[str, int]:
    """Units of each group that its draws come to."""
    sizes = np.concatenate([group.sizes for group in some])
    draws = blend.choose(some)
    return {one.group: int(sizes[one.at(np.arange(one.count), blend.seed)].sum()) for one in draws}


def test_weights_are_shares_of_units_and_epochs_follow():
    some = groups(crawl=3000, wiki=300, books=30)
    found = drawn(Blend("words", weights={"crawl": 0.5, "wiki": 0.3, "books": 0.2}, size=6000), some)
    for name, share in {"crawl": 0.5, "wiki": 0.3, "books": 0.2}.items():
        assert 0 <= share * 6000 - found[name] < 4
    (draws,) = (one for one in Blend("words", weights={"books": 1.0}, size=225).choose(groups(books=30)))
    assert draws.count == 75
    times = np.bincount(draws.at(np.arange(75), 0))
    assert set(times.tolist()) == {2, 3}


def test_whole_epochs_end_with_the_last_document_and_empty_ones_are_drawn_along():
    group = Group("a", np.arange(4), np.array([0, 2, 0, 3]))
    assert [group.fill(wanted, 0).count for wanted in (0, 1, 2, 4, 5, 10)] == [0, 1, 3, 3, 4, 8]


def test_the_share_achieved_is_that_of_the_weights():
    """Within a thousandth after many draws, on every long prefix too."""
    some = groups(crawl=30_000, wiki=3000)
    blend = Blend("words", weights={"crawl": 0.7, "wiki": 0.3}, size=200_000)
    order = Order(blend.choose(some), 0)
    sizes = np.concatenate([group.sizes for group in some])
    numbers = order.between(0, len(order))
    wiki = np.where(numbers >= 30_000, sizes[numbers], 0).cumsum()
    share = wiki / sizes[numbers].cumsum()
    assert abs(share[-1] - 0.3) < 0.001
    assert np.abs(share[20_000:] - 0.3).max() < 0.005


@pytest.mark.parametrize("temperature", [1.0, 3.0, math.inf])
def test_temperature_takes_shares_between_proportional_and_equal(temperature):
    some = groups(en=9000, oc=90)
    found = drawn(Blend("words", temperature=temperature, size=30_000), some)
    power = 0 if math.isinf(temperature) else 1 / temperature
    want = 9000**power / (9000**power + 90**power)
    assert found["en"] / 30_000 == pytest.approx(want, abs=0.001)
    factors = drawn(Blend("words", temperature=temperature, factors={"oc": 100}, size=30_000), some)
    assert factors["en"] == pytest.approx(factors["oc"], abs=5)


def test_no_group_is_gone_through_more_often_than_allowed_and_the_others_take_the_rest():
    some = groups(a=30, b=300, c=3000)
    found = drawn(Blend("words", temperature=math.inf, max_epochs=2, size=3000), some)
    assert found["a"] == 2 * 90
    assert found["b"] == found["c"] + 0 == pytest.approx((3000 - 180) / 2, abs=4)
    half = drawn(Blend("words", max_epochs=0.5, size=100), some)
    assert all(found <= group.size / 2 for found, group in zip(half.values(), some, strict=True))


def test_the_size_by_default_is_what_there_is_or_what_the_limit_allows():
    some = groups(a=30, b=300)
    assert drawn(Blend("words"), some) == {"a": 90, "b": 900}
    assert drawn(Blend("documents", temperature=math.inf), groups_of_one(30, 300)) == {"0": 165, "1": 165}
    assert drawn(Blend("words", weights={"a": 0.5, "b": 0.5}, max_epochs=3), some) == {"a": 270, "b": 270}


def groups_of_one(*counts: int) -> list[Group]:
    starts = np.cumsum([0, *counts])
    return [Group(str(at), np.arange(n) + starts[at], np.ones(n, np.int64)) for at, n in enumerate(counts)]


def test_a_weight_of_0_may_name_a_group_that_is_not_there():
    assert drawn(Blend("words", weights={"a": 1.0, "b": 0, "c": 0}, size=90), groups(a=30, b=3)) == {"a": 90, "b": 0}


def test_more_than_four_epochs_are_told(caplog):
    with caplog.at_level(logging.WARNING):
        Blend("words", weights={"a": 0.5, "b": 0.5}, size=900).choose(groups(a=30, b=300))
    assert [record.getMessage() for record in caplog.records] == ["a is gone through 5.0 times"]


def test_what_is_drawn_stays_drawn_where_more_is():
    some = groups(a=300)
    (few,), (more,) = (Blend("words", size=size).choose(some) for size in (200, 500))
    assert set(few.at(np.arange(few.count), 0)) < set(more.at(np.arange(more.count), 0))


def test_shares_come_to_one_and_none_is_above_its_cap():
    for seed in range(20):
        generator = np.random.default_rng(seed)
        weights = dict(zip("abcdef", generator.random(6), strict=True))
        caps = dict(zip("abcdef", generator.random(6), strict=True))
        if sum(caps.values()) < 1:
            continue
        shares = capped(weights, caps)
        assert sum(shares.values()) == pytest.approx(1)
        assert all(share <= caps[name] + 1e-9 for name, share in shares.items())
        free = [shares[name] / weights[name] for name in shares if shares[name] < caps[name] - 1e-9]
        assert max(free, default=1) == pytest.approx(min(free, default=1))
        held = [shares[name] / weights[name] for name in shares if shares[name] >= caps[name] - 1e-9]
        assert max(held, default=0) <= min(free, default=1e9) + 1e-9
    assert tempered({"a": 8.0, "b": 1.0}, 3) == pytest.approx({"a": 2 / 3, "b": 1 / 3})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"weights": {"a": 0.5, "b": 0.4}}, "come to 0.9, not to 1"),
        ({"weights": {"a": 1.5, "b": -0.5}}, "'b' is -0.5"),
        ({"weights": {"a": math.nan, "b": 1.0}}, "'a' is nan"),
        ({"weights": {"a": 1.0}, "temperature": 2.0}, "weights say it all"),
        ({"temperature": 0.5}, "at least 1"),
        ({"temperature": math.nan}, "at least 1"),
        ({"max_epochs": 0}, "max_epochs must be positive"),
        ({"factors": {"a": -1}}, "factors not negative"),
        ({"size": 0}, "size must be at least 1"),
    ],
)
def test_bad_settings(given, said):
    with pytest.raises(ValueError, match=said):
        Blend("words", **given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"weights": {"a": 1.0}}, "says nothing of 'b' \\(source\\)"),
        ({"weights": {"a": 0.5, "b": 0.25, "c": 0.25}}, "'c' has the weight 0.25 and no words"),
        ({"max_epochs": 1, "size": 2000}, "come to less than 2,000 words"),
        ({"weights": {"a": 1.0, "b": 0.0}, "max_epochs": 1, "size": 100}, "come to less than 100 words"),
        ({"factors": {"c": 2}}, "of which there is no text"),
    ],
)
def test_what_cannot_be_had(given, said):
    with pytest.raises(ValueError, match=said):
        Blend("words", **given).choose(groups(a=30, b=300))
