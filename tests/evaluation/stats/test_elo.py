from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.stats.judged import drawn
from trivium.evaluation.stats.elo import online, shuffled
from trivium.evaluation.stats.judgements import Judgement

JUDGED = drawn([0.8, 0.0, -0.8], prompts=40, nu=0.3)


def test_two_games_by_hand():
    found = online([Judgement("p", "x", "y", "a"), Judgement("q", "x", "y", "tie")], k=32)
    first = 1016.0
    expected = 1 / (1 + 10 ** ((984 - 1016) / 400))
    assert found["x"] == pytest.approx(first + 32 * (0.5 - expected))
    assert found["x"] + found["y"] == pytest.approx(2000)


def test_points_only_change_hands():
    found = online(JUDGED, k=32, start=1500)
    assert sum(found.values()) == pytest.approx(4500)
    assert online(JUDGED) != online(JUDGED[::-1])


def test_time_gives_the_order():
    timed = [replace(one, time=float(n)) for n, one in enumerate(JUDGED)]
    assert online(timed[::-1]) == pytest.approx(online(JUDGED))
    with pytest.raises(ValueError, match="1 judgements have no time"):
        online([*timed, JUDGED[0]])


def test_orders_all_at_once_are_each_order_by_itself():
    found = shuffled(JUDGED, orders=3, k=20)
    from trivium.core import seeds

    order = seeds.numpy_generator(0, "orders of judgements").permuted(np.tile(np.arange(len(JUDGED)), (3, 1)), axis=1)
    each = [online([JUDGED[n] for n in row], k=20) for row in order]
    for one in found:
        assert one.mean == pytest.approx(np.mean([ratings[one.system] for ratings in each]))
        assert one.spread == pytest.approx(np.std([ratings[one.system] for ratings in each], ddof=1))
    assert [one.system for one in found] == ["a", "b", "c"]
    assert all(one.low <= one.mean <= one.high for one in found)


def test_the_order_matters_more_the_more_a_game_counts():
    small, large = shuffled(JUDGED, orders=100, k=4), shuffled(JUDGED, orders=100, k=32)
    assert max(one.spread for one in small) < min(one.spread for one in large)
    assert shuffled(JUDGED, orders=100) == small
    assert shuffled(JUDGED, orders=100, seed=1) != small


def test_bad_input_is_refused():
    for call, message in (
        (lambda: online([]), "no judgement"),
        (lambda: online(JUDGED, k=0), "got 0"),
        (lambda: shuffled(JUDGED, orders=1), "got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
