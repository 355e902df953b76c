import math

import pytest
import torch

from trivium.core.seeds import generator
from trivium.nn.noisy import averaged, counted, noisy_token, winners

DRAWS = 200_000


def test_a_changed_record_changes_one_vote_and_two_counts():
    votes = torch.tensor([[0, 1, 1, 2]])
    other = votes.clone()
    other[0, 3] = 1
    change = counted(other, 4) - counted(votes, 4)
    assert counted(votes, 4).tolist() == [[1, 2, 1, 0]]
    assert change.abs().sum() == 2
    assert change.double().norm() == pytest.approx(math.sqrt(2))


def test_no_noise_is_the_plain_majority():
    counts = torch.tensor([[1, 5, 4], [3, 3, 1]])
    for noise in ("none", "gumbel", "laplace", "gaussian"):
        assert winners(counts, noise, 0.0, generator=generator(0)).tolist() == [1, 0]
    assert winners(counts, "none", 9.0, generator=generator(0)).tolist() == [1, 0]


def shares(counts, noise, scale, seed):
    drawn = winners(torch.tensor(counts).expand(DRAWS, -1), noise, scale, generator=generator(seed))
    return torch.bincount(drawn, minlength=len(counts)) / DRAWS


@pytest.mark.parametrize("noise", ["gumbel", "laplace"])
@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_neighbouring_sets_are_hard_to_tell_apart(noise, epsilon):
    """The log ratio of each label's share stays within epsilon and three standard errors."""
    one, other = shares([4, 3, 3], noise, 2 / epsilon, 1), shares([3, 4, 3], noise, 2 / epsilon, 2)
    error = ((1 - one) / one / DRAWS + (1 - other) / other / DRAWS).sqrt()
    ratio = (one / other).log().abs()
    assert (ratio <= epsilon + 3 * error).all()
    assert ratio.max() > epsilon / 4  # and it is no more noise than that takes


def test_gumbel_noise_is_the_exponential_mechanism():
    law = torch.tensor([4.0, 3.0, 1.0]).mul(1.5 / 2).softmax(0)
    torch.testing.assert_close(shares([4, 3, 1], "gumbel", 2 / 1.5, 3), law, atol=0.005, rtol=0)  # 4 standard errors


def test_scales_of_the_noise():
    """Of two labels, of which one has a vote more: how often it wins, by the law of the difference of two draws."""
    gap, sigma = 1.0, 2.0
    normal = 0.5 * (1 + math.erf(gap / (sigma * math.sqrt(2)) / math.sqrt(2)))
    assert float(shares([3, 2], "gaussian", sigma, 4)[0]) == pytest.approx(normal, abs=0.005)
    b = 2.0
    laplace = 1 - math.exp(-gap / b) * (2 + gap / b) / 4
    assert float(shares([3, 2], "laplace", b, 5)[0]) == pytest.approx(laplace, abs=0.005)


def test_averages_over_the_public_top_and_how_far_one_group_moves_them():
    draws = generator(6)
    logits, public = 9 * torch.randn(8, 50, generator=draws), torch.randn(50, generator=draws)
    kept, mean = averaged(logits, public, 10)
    assert set(kept.tolist()) == set(public.argsort(descending=True)[:10].tolist())
    slow = sum(torch.tensor([math.exp(float(row[t] - row[kept].max())) for t in kept]) /
               sum(math.exp(float(row[t] - row[kept].max())) for t in kept) for row in logits) / 8  # fmt: skip
    torch.testing.assert_close(mean, slow.double(), atol=1e-6, rtol=0)
    for group in range(8):
        other = logits.clone()
        other[group] = 50 * torch.randn(50, generator=draws)
        moved = averaged(other, public, 10)
        assert torch.equal(moved[0], kept)  # the private part has no say in which tokens these are
        assert (moved[1] - mean).norm() <= math.sqrt(2) / 8 + 1e-12
    assert averaged(logits, public, 99)[0].numel() == 50


def test_the_noise_on_an_average():
    logits, public = torch.tensor([[2.0, 1.0], [2.0, 1.0]]), torch.zeros(2)
    assert noisy_token(logits, public, 2, 0.0, generator=generator(0)) == 0
    draws, sigma = generator(1), 1.5
    won = sum(noisy_token(logits, public, 2, sigma, generator=draws) == 0 for _ in range(3000)) / 3000
    gap = math.tanh(0.5)
    expected = 0.5 * (1 + math.erf(gap / (sigma / 2 * math.sqrt(2)) / math.sqrt(2)))
    assert won == pytest.approx(expected, abs=0.035)  # four standard errors
