import numpy as np
import pytest

from trivium.evaluation.stats.agreement import alpha, kappa

# The example of Krippendorff's "Computing Krippendorff's Alpha-Reliability": four observers, twelve units, gaps.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
FEW = {"resamples": 200}


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_krippendorffs_example(level, published):
    found = alpha(OBSERVERS, level=level)
    assert found.mean == pytest.approx(published, abs=5e-4)
    assert found.n == 11  # the last unit has a single rating
    assert found.low < found.mean < found.high


def test_gaps_may_be_nan_and_words_nominal():
    numbers = [[float("nan") if x is None else float(x) for x in row] for row in OBSERVERS]
    assert alpha(numbers, level="interval", **FEW).mean == alpha(OBSERVERS, level="interval", **FEW).mean
    words = [[x if x is None else "abcde"[x - 1] for x in row] for row in OBSERVERS]
    assert alpha(words, **FEW).mean == alpha(OBSERVERS, **FEW).mean
    given = alpha(words, level="ordinal", categories="abcde", **FEW)
    assert given.mean == alpha(OBSERVERS, level="ordinal", **FEW).mean


def test_alpha_by_its_slow_definition():
    rng = np.random.default_rng(0)
    table = rng.integers(0, 4, (3, 15)).astype(float)
    table[rng.uniform(size=table.shape) < 0.2] = np.nan
    units = [column[~np.isnan(column)] for column in table.T]
    units = [unit for unit in units if len(unit) > 1]
    everything = np.concatenate(units)
    observed = sum(((u[:, None] - u) ** 2).sum() / (len(u) - 1) for u in units) / len(everything)
    expected = ((everything[:, None] - everything) ** 2).sum() / (len(everything) * (len(everything) - 1))
    assert alpha(table, level="interval", **FEW).mean == pytest.approx(1 - observed / expected)


def test_raters_who_always_agree_reach_one_and_chance_is_zero():
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 3, 3000), rng.integers(0, 3, 3000)
    for measure in (lambda a, b: kappa(a, b, **FEW), lambda a, b: alpha([a, b], **FEW)):
        same, chance = measure(one, one), measure(one, other)
        assert same.low == same.mean == same.high == 1.0
        assert chance.low < 0.05
        assert chance.mean == pytest.approx(0.0, abs=0.04)


def test_kappa_by_hand():
    # 20 both yes, 5 and 10 apart, 15 both no: observed agreement 0.7, expected 0.5 (Cohen's textbook table).
    first, second = "y" * 25 + "n" * 25, "y" * 20 + "n" * 5 + "y" * 10 + "n" * 15
    assert kappa(first, second, **FEW).mean == pytest.approx(0.4)


def test_weights_count_how_far_apart_ratings_are():
    first, second = [1, 2, 3, 1, 2, 2], [1, 2, 3, 2, 3, 3]
    table = np.array([[1, 1, 0], [0, 1, 2], [0, 0, 1]]) / 6
    expected = np.outer(table.sum(1), table.sum(0))
    distance = np.abs(np.subtract.outer(range(3), range(3)))
    for weights, cost in (("none", distance > 0), ("linear", distance), ("quadratic", distance**2)):
        by_hand = 1 - (cost * table).sum() / (cost * expected).sum()
        assert kappa(first, second, weights=weights, **FEW).mean == pytest.approx(by_hand)
    turned = kappa(first, second, weights="linear", categories=[2, 1, 3], **FEW).mean
    assert turned != pytest.approx(kappa(first, second, weights="linear", **FEW).mean)


def test_units_of_a_cluster_are_drawn_together():
    rng = np.random.default_rng(2)
    first = np.repeat(rng.integers(0, 2, 40), 5)
    second = np.where(np.repeat(rng.uniform(size=40) < 0.7, 5), first, 1 - first)
    for measure in (lambda **o: kappa(first, second, **o), lambda **o: alpha([first, second], **o)):
        alone, together = measure(resamples=1000), measure(clusters=np.arange(200) // 5, resamples=1000)
        assert alone.mean == together.mean
        assert together.high - together.low > 1.6 * (alone.high - alone.low)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kappa([1, 2], [1]), "got 2 and 1"),
        (lambda: kappa([1, 1], [1, 1]), "undefined"),
        (lambda: kappa([1, 2], [1, 2], weights="cubic"), "got 'cubic'"),
        (lambda: kappa([1, None], [1, 2]), "missing"),
        (lambda: kappa([1, "a"], [1, "b"]), "no common order"),
        (lambda: kappa([1, 2], [1, 2], categories=[1]), "missing: "),
        (lambda: alpha([[1, 2]]), "two or more"),
        (lambda: alpha([[1, 2], [1]]), "same units"),
        (lambda: alpha([[1, None], [None, 2]]), "no unit has two"),
        (lambda: alpha([[1, 1], [1, 1]]), "undefined"),
        (lambda: alpha([["a", "b"], ["a", "a"]], level="interval"), "needs numbers"),
        (lambda: alpha([[1, 2], [1, 2]], level="ratio"), "got 'ratio'"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
