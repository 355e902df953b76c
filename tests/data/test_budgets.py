"""A budget of words: never exceeded, never missed by a document that would have fitted."""

import numpy as np
import pytest

from trivium.data.budgets import BABYLM_2023, WordBudget, fitting
from trivium.data.choosing import Group


def groups(**sizes: list[int]) -> list[Group]:
    start, made = 0, []
    for name, each in sizes.items():
        made.append(Group(name, np.arange(start, start + len(each)), np.array(each, np.int64)))
        start += len(each)
    return made


def test_each_source_gives_its_share_and_nothing_left_out_would_fit():
    lengths = np.random.default_rng(0).integers(20, 90, 4000)
    some = groups(child=lengths[:1500].tolist(), wiki=lengths[1500:].tolist(), web=[])
    taken = [
        one.at(np.arange(one.count), 0)
        for one in WordBudget(20_000, {"child": 0.7, "wiki": 0.3, "web": 0}).choose(some)
    ]
    words = [int(lengths[mine].sum()) for mine in taken]
    for got, quota in zip(words, (14_000, 6000, 0), strict=True):
        assert abs(got - quota) < 90
    numbers = np.concatenate(taken)
    assert len(set(numbers.tolist())) == len(numbers)
    assert 0 <= 20_000 - sum(words) < np.delete(lengths, numbers).min()


def test_what_is_left_of_quotas_goes_to_the_source_that_lacks_most():
    some = groups(a=[30, 5, 6], b=[90, 40, 8], c=[7, 7, 30])
    found = WordBudget(100, {"a": 0.3, "b": 0.5, "c": 0.2}).choose(some)
    # quotas of 30, 50 and 20: a takes 30, b 40 and 8, c 7 and 7; of the 8 left c has nothing more, b nothing, a its 5
    assert {one.group: one.members.tolist() for one in found} == {"a": [0, 1], "b": [4, 5], "c": [6, 7]}
    none = WordBudget(100, {"a": 0.0, "b": 0.7, "c": 0.3}).choose(some)
    assert [one.count for one in none] == [0, 2, 3]


@pytest.mark.parametrize("room", [0, 1, 7, 500, 10**6])
def test_fitting_is_what_a_plain_loop_takes(room):
    sizes = np.random.default_rng(room).integers(0, 60, 9001)
    left, want = room, []
    for size in sizes.tolist():
        want.append(size <= left)
        left -= size if size <= left else 0
    assert fitting(sizes, room).tolist() == want


def test_shares_by_default_are_those_of_the_words_and_by_name_those_of_the_challenge():
    some = groups(a=[1] * 300, b=[1] * 100)
    assert [draws.count for draws in WordBudget(200).choose(some)] == [150, 50]
    assert sum(BABYLM_2023.values()) == pytest.approx(1)
    of = {name: [5] * 400 for name in BABYLM_2023}
    counts = {draws.group: 5 * draws.count for draws in WordBudget(2000, "babylm_2023").choose(groups(**of))}
    assert counts == {name: pytest.approx(2000 * share) for name, share in BABYLM_2023.items()}


def test_too_little_is_an_error_with_the_shortfall_or_taken_from_the_others():
    some = groups(a=[10] * 5, b=[10] * 100, c=[10] * 100)
    with pytest.raises(ValueError, match=r"'a' has 50 of the 100 words it is to give, 50 too few"):
        WordBudget(400, {"a": 0.25, "b": 0.5, "c": 0.25}).choose(some)
    found = WordBudget(400, {"a": 0.25, "b": 0.5, "c": 0.25}, rebalance=True).choose(some)
    assert [10 * draws.count for draws in found] == [50, 230, 120]  # the rest goes to b and c as 2 to 1
    with pytest.raises(ValueError, match=r"'d' has 0 of the 100 words"):
        WordBudget(400, {"a": 0.0, "b": 0.5, "c": 0.25, "d": 0.25}).choose(some)
    assert sum(d.count for d in WordBudget(400, {"a": 0, "b": 0.5, "c": 0.25, "d": 0.25}, True).choose(some)) == 40
    with pytest.raises(ValueError, match="there are 2,050 words to take, 3,000 are asked for"):
        WordBudget(3000, rebalance=True).choose(some)


def test_bad_settings():
    for given, said in [
        ({"words": 0}, "at least 1"), ({"words": 9, "shares": "babylm"}, "no shares are called 'babylm'"),
        ({"words": 9, "shares": {"a": 0.5}}, "come to 0.5"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=said):
            WordBudget(**given)
    with pytest.raises(ValueError, match="says nothing of 'b'"):
        WordBudget(9, {"a": 1.0}).choose(groups(a=[3], b=[3]))
