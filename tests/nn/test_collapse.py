"""Measures of collapse: by hand, against slow definitions, and the two bounds that say why deep models collapse."""

import math

import pytest
import torch
import torch.nn.functional as F

from trivium.nn.collapse import distance_to_rank_one, effective_dimension
from trivium.nn.feedforward import series_silu

SILU = 1.0998393
"""The steepest slope of silu."""


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_distances_by_hand():
    z = torch.tensor([[[1.0, 5.0], [3.0, 5.0]], [[2.0, 7.0], [2.0, 7.0]]])
    torch.testing.assert_close(distance_to_rank_one(z), torch.tensor([math.sqrt(2.0), 0.0]))


def test_the_distance_is_that_of_the_projection_and_no_other_matrix_of_equal_rows_is_nearer():
    z = rand(9, 5)
    e = torch.full((9, 1), 1 / 3, dtype=torch.float64)
    got = distance_to_rank_one(z)
    torch.testing.assert_close(got, ((torch.eye(9, dtype=torch.float64) - e @ e.mT) @ z).norm(), atol=1e-12, rtol=0)
    for seed in range(20):
        assert (z - (z.mean(0) + 0.3 * rand(5, seed=seed + 1))).norm() > got


def test_dimensions_by_hand():
    axes = torch.eye(4, dtype=torch.float64) * torch.tensor([4.0, 2, 1, 1]).double().sqrt()  # variances 4 : 2 : 1 : 1
    z = torch.cat((axes, -axes)) + 7.0
    for share, components in ((0.4, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.8, 3), (1.0, 4)):
        assert effective_dimension(z, share - 1e-9) == components, share
    assert effective_dimension(torch.ones(6, 3)) == 0
    assert effective_dimension(torch.outer(torch.arange(6.0), torch.ones(3))) == 1


@pytest.mark.parametrize("share", [0.3, 0.8, 0.99])
def test_the_dimension_is_that_of_the_covariance(share):
    z = rand(2, 30, 7) @ rand(7, 7, seed=1)
    expected = []
    for one in z:
        values = torch.linalg.eigvalsh(torch.cov(one.mT)).flip(0)
        held, count = 0.0, 0
        while held < share * values.sum():
            held, count = held + values[count], count + 1
        expected.append(count)
    assert effective_dimension(z, share).tolist() == expected
    turned = z @ torch.linalg.qr(rand(7, 7, seed=2)).Q + 5  # neither turning nor moving the cloud matters
    assert effective_dimension(turned, share).tolist() == expected


@pytest.mark.parametrize("seed", range(10))
def test_an_activation_widens_the_cloud_by_its_steepest_slope_at_most(seed):
    """d_M(act(Z)) <= L d_M(Z), where a series of activations adds up the slopes of its terms."""
    z, scale, bias = 3 * rand(12, 6, seed=seed), rand(3, 6, seed=seed + 100), rand(3, 6, seed=seed + 200)
    before = distance_to_rank_one(z)
    assert distance_to_rank_one(F.silu(z)) <= SILU * before
    steepest = SILU * scale.abs().sum(0).max()
    assert distance_to_rank_one(series_silu(z, scale, bias)) <= steepest * before


@pytest.mark.parametrize("seed", range(10))
def test_attention_narrows_the_cloud_by_its_own_bound(seed):
    """d_M(A Z W) <= sqrt(lambda) s d_M(Z), lambda the largest eigenvalue of A^T (I - e e^T) A, s that of W."""
    z, w, time = rand(12, 6, seed=seed), rand(6, 6, seed=seed + 100), 12
    scores = rand(time, time, seed=seed + 200).masked_fill(~torch.ones(time, time, dtype=torch.bool).tril(), -math.inf)
    a = scores.softmax(-1)
    centre = torch.eye(time, dtype=torch.float64) - 1 / time
    lam = torch.linalg.eigvalsh(a.mT @ centre @ a)[-1]
    bound = lam.sqrt() * torch.linalg.svdvals(w)[0] * distance_to_rank_one(z)
    got = distance_to_rank_one(a @ z @ w)
    assert 0 < got <= bound


def test_half_precision_is_widened_and_a_share_that_is_none_is_refused():
    z = rand(3, 20, 5).bfloat16()
    assert distance_to_rank_one(z).dtype == torch.float32
    torch.testing.assert_close(distance_to_rank_one(z), distance_to_rank_one(z.float()))
    assert torch.equal(effective_dimension(z), effective_dimension(z.float()))
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match="share is a part of the variance"):
            effective_dimension(z.float(), share)
