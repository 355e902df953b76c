import pytest
import scipy.stats
import torch

from trivium.core.seeds import generator
from trivium.nn.alignment import linear_cka, pearson, ranks, rsa, spearman_brown, split_half


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed, "rand"), dtype=torch.float64)


def test_correlations_are_scipys_and_nan_where_nothing_varies():
    x = rand(12, 3)
    y = x + rand(12, 3, seed=1)
    y[:, 2] = 4.0
    got = pearson(x, y)
    for column in (0, 1):
        assert got[column].item() == pytest.approx(scipy.stats.pearsonr(x[:, column], y[:, column]).statistic)
    assert got[2].isnan()
    with pytest.raises(ValueError, match="three rows"):
        pearson(x[:2], y[:2])


def test_halves_tell_the_reliability_of_the_mean():
    """Of n repeats with noise of the signal's variance the mean has reliability n / (n + 1)."""
    signal = rand(4000, 1)
    repeats = signal + rand(6, 4000, 1, seed=1)
    assert split_half(repeats, generator(0)).item() == pytest.approx(6 / 7, abs=0.01)
    assert spearman_brown(torch.tensor([0.5, 1.0, 0.0, -0.9])).tolist() == pytest.approx([2 / 3, 1.0, 0.0, -1.0])
    with pytest.raises(ValueError, match="two repeats"):
        split_half(repeats[:1], generator(0))


@pytest.mark.parametrize(("rows", "columns"), [(20, 4), (6, 30)])
def test_cka_sees_rotations_and_scalings_as_alike(rows, columns):
    x, y = rand(rows, columns), rand(rows, 5, seed=1)
    turn = torch.linalg.qr(rand(columns, columns, seed=2))[0]
    assert linear_cka(x, 3 * x @ turn + 7) == pytest.approx(1)
    off = [each - each.mean(0) for each in (x, y)]
    grams = [each @ each.mT for each in off]
    expected = float((grams[0] * grams[1]).sum() / grams[0].norm() / grams[1].norm())
    assert linear_cka(x, y) == pytest.approx(expected) == pytest.approx(linear_cka(y, x))
    with pytest.raises(ValueError, match="does not vary"):
        linear_cka(x, torch.ones(rows, 2))


def test_rsa_is_spearmans_over_pairs():
    x, y = rand(9, 6), rand(9, 4, seed=1)
    pairs = [(i, j) for i in range(9) for j in range(i + 1, 9)]
    apart = [[1 - float(torch.corrcoef(each[[i, j]])[0, 1]) for i, j in pairs] for each in (x, y)]
    assert rsa(x, y) == pytest.approx(scipy.stats.spearmanr(*apart).statistic)
    assert rsa(x, 5 * x + 2) == pytest.approx(1)
    assert ranks(torch.tensor([3.0, 1.0, 3.0])).tolist() == [1.5, 0.0, 1.5]
    x[4] = 2.0
    with pytest.raises(ValueError, match="stimulus 4 is the same"):
        rsa(x, y)
