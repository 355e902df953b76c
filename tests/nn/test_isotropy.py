"""Isotropy of sets of vectors: fixed points, the loop over pairs, and IsoScore by its own long definition."""

import math

import pytest
import torch

from trivium.core.seeds import generator
from trivium.nn.isotropy import cosines, cosines_reference, iso_score, participation_ratio, top_shares


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed, "rand"), dtype=torch.float64)


def test_the_fast_sum_is_the_loop_over_pairs_and_padding_does_not_count():
    hidden, mask = rand(3, 9, 5), torch.ones(3, 9, dtype=torch.bool)
    mask[0, 6:] = mask[1, :2] = False
    hidden[0, 6:] = float("nan")
    for got, expected in zip(cosines(hidden, mask), cosines_reference(hidden, mask), strict=True):
        torch.testing.assert_close(got, expected)


def test_gaussian_vectors_are_isotropic_and_opposite_ones_go_above_one():
    hidden = rand(1, 400, 64)
    total, pairs = cosines(hidden, torch.ones(1, 400, dtype=torch.bool))
    assert 1 - float(total / pairs) == pytest.approx(1, abs=0.02)
    pair = torch.stack((hidden[0, 0], -hidden[0, 0]))[None]
    total, pairs = cosines(pair, torch.ones(1, 2, dtype=torch.bool))
    assert 1 - float(total / pairs) == pytest.approx(2)  # 1 + 1 / (n - 1)


def long_iso_score(covariance):
    """Rudman et al. 2022, steps 3 to 7: variances to length sqrt(n), distance to ones, and what share that leaves."""
    n = len(covariance)
    spread = torch.linalg.eigvalsh(covariance)
    scaled = math.sqrt(n) * spread / spread.norm()
    defect = (scaled - 1).norm() / math.sqrt(2 * (n - math.sqrt(n)))
    share = (n - defect**2 * (n - math.sqrt(n))) ** 2 / n**2
    return float((n * share - 1) / (n - 1))


def test_iso_score_is_its_long_definition_and_participation_counts_directions():
    root = rand(7, 7)
    covariance = root @ root.mT
    assert iso_score(covariance) == pytest.approx(long_iso_score(covariance))
    assert iso_score(torch.eye(6)) == pytest.approx(1)
    assert iso_score(torch.ones(6, 6).double()) == pytest.approx(0)
    assert participation_ratio(torch.diag(torch.tensor([3.0, 3.0, 0.0, 0.0]))) == pytest.approx(2)
    assert participation_ratio(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(16 / 10)
    with pytest.raises(ValueError, match="no direction varies"):
        participation_ratio(torch.zeros(3, 3))


def test_shares_of_the_largest_dimensions():
    assert top_shares(torch.tensor([1.0, 6.0, 2.0, 1.0])) == pytest.approx({1: 0.6, 3: 0.9, 5: 1.0})
