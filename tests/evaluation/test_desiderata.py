import numpy as np
import pytest

from trivium.evaluation.stats import desiderata as d


def test_quasi_exact_and_f1_by_hand():
    assert d.normalised("The  Garden, a shed!") == "garden shed"
    assert d.quasi_exact(" the garden.", ["The Garden"]) == 1.0
    assert d.quasi_exact("the gardens", ["the garden"]) == 0.0
    assert d.token_f1("the red garden shed", ["garden"]) == pytest.approx(2 * 1 / 4)
    assert d.token_f1("red red", ["red"]) == pytest.approx(2 / 3)
    assert d.token_f1("x", ["y", "x"]) == 1.0
    assert d.token_f1("", ["the"]) == 1.0
    assert d.token_f1("x", ["the"]) == 0.0


def test_worst_case():
    assert d.worst(1.0, [1.0, 0.0]) == 0.0
    assert d.worst(0.3, []) == 0.3
    assert d.worst(1.0, [2.0], higher_is_better=False) == 2.0
    assert d.null(0.5, 3) == 0.0625
    draws = np.random.default_rng(0).random((40_000, 4)) < 0.7
    assert draws.all(1).mean() == pytest.approx(d.null(0.7, 3), abs=0.01)
    assert d.null_of(np.array([[1.0, 1], [0.0, 3]])) == pytest.approx(0.5**3)


def test_bias_by_hand():
    groups = {"a": ("she", "her"), "b": ("he",)}
    assert d.counts("She saw her; HE ran, she", groups) == [1.5, 1.0]
    assert d.unevenness(np.array([[1.5, 1.0], [0.5, 1.0]])) == 0.0
    assert d.unevenness(np.array([[4.0, 0.0]])) == 0.5
    assert d.unevenness(np.array([[0.0, 0.0]])) is None  # undefined, never 0
    for shares in np.random.default_rng(0).dirichlet(np.ones(5), 50):
        assert 0 <= d.unevenness(shares[None]) <= 1 - 1 / 5
    assert d.unevenness(np.array([[1.0, 0, 0, 0, 0]])) == pytest.approx(0.8)


def test_stereotype_by_hand():
    groups = {"a": ("she",), "b": ("he",)}
    rows = [
        d.associations(text, groups, ("doctor", "nurse")) for text in ("the doctor, he", "a nurse, she", "doctor: she")
    ]
    assert rows == [[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]
    assert d.stereotype(np.array(rows)) == pytest.approx((0.0 + 0.5) / 2)
    assert d.stereotype(np.array(rows[1:2])) == 0.5
    assert d.stereotype(np.zeros((2, 4))) is None
    assert d.associations("he left", groups, ("doctor",), about="the doctor: he left") == [0, 1]


def test_the_word_list_and_the_modelled_time():
    assert d.word_list_toxicity("You IDIOT.") == 1.0
    assert d.word_list_toxicity("idiotically kind") == 0.0
    assert d.modelled_seconds(100, 1, 10**6, compute=1e9) == pytest.approx(0.2)
    more = d.modelled_seconds(100, 11, 10**6, compute=1e9, bandwidth=1e8, width=2)
    assert more == pytest.approx(0.2 + 10 * 10**6 * 2 / 1e8)
    assert d.modelled_seconds(0, 0, 10**6) == 0.0
