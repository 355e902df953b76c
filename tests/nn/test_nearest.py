"""Neighbours, votes and mixtures: against sorting everything, by hand, and at their limits."""

import math

import pytest
import torch

from trivium.core.seeds import generator
from trivium.nn import nearest
from trivium.nn.nearest import best_share, distribution, interpolate, oracle, search, similarities, vote, whitening


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed, "rand"), dtype=torch.float64)


VALUES = torch.randint(5, (40,), generator=generator(1))


@pytest.mark.parametrize("similarity", ["l2", "dot"])
@pytest.mark.parametrize("room", [1 << 24, 100, 7])
def test_the_search_is_a_sort_of_everything_whatever_fits_at_once(similarity, room, monkeypatch):
    monkeypatch.setattr(nearest, "ROOM", room)
    queries, keys = rand(9, 6), rand(40, 6, seed=1)
    pairs = -(queries[:, None] - keys).square() if similarity == "l2" else queries[:, None] * keys
    every = pairs.sum(-1)
    torch.testing.assert_close(similarities(queries, keys, similarity), every)
    scores, index = search(queries, keys, 7, similarity=similarity)
    expected = every.sort(dim=1, descending=True)
    torch.testing.assert_close(scores, expected.values[:, :7])
    assert torch.equal(index, expected.indices[:, :7])


def test_a_query_leaves_out_itself_and_nothing_else():
    keys = rand(40, 6)
    keys[3] = keys[0]  # a copy of it counts
    own = torch.tensor([0, -1, 5])
    scores, index = search(keys[[0, 1, 5]], keys, 4, own=own)
    assert index[0, 0] == 3
    assert scores[0, 0] == pytest.approx(0, abs=1e-12)
    assert index[1, 0] == 1
    assert 5 not in index[2]
    everyone = search(keys[[0]], keys, 39, own=torch.tensor([0]))[1]
    assert sorted(everyone[0].tolist()) == list(range(1, 40))
    with pytest.raises(ValueError, match="k must be 1 to the 39 entries"):
        search(keys[[0]], keys, 40, own=torch.tensor([0]))


def test_votes_by_hand():
    """Scores 0, -1 and -2 at tau 2 weigh 1, e^-0.5 and e^-1; values 4, 4 and 7."""
    scores, values = torch.tensor([[0.0, -1.0, -2.0]]), torch.tensor([[4, 7, 4]])
    weights = torch.tensor([1.0, math.exp(-0.5), math.exp(-1.0)])
    got = vote(scores, values, torch.tensor([4]), 2.0).exp().item()
    assert got == pytest.approx(float((weights[0] + weights[2]) / weights.sum()))
    assert vote(scores, values, torch.tensor([5]), 2.0).item() == float("-inf")
    whole = distribution(scores, values, 9, 2.0).exp()
    assert whole.sum().item() == pytest.approx(1)
    assert whole[0, 4].item() == pytest.approx(got)
    assert vote(scores, values, torch.tensor([7]), 1e9).exp().item() == pytest.approx(1 / 3)
    assert vote(scores, values, torch.tensor([4]), 1e-9).exp().item() == pytest.approx(1)
    assert vote(scores - 1e30, values, torch.tensor([4]), 1e-9).isfinite().all()


def test_all_entries_are_the_closed_softmax_over_keys():
    queries, keys, targets = rand(9, 6), rand(40, 6, seed=1), torch.arange(9) % 5
    scores, index = search(queries, keys, 40)
    got = distribution(scores, VALUES[index], 5, 0.7)
    closed = (-(queries[:, None] - keys).square().sum(-1) / 0.7).softmax(1) @ torch.nn.functional.one_hot(
        VALUES, 5
    ).double()
    torch.testing.assert_close(got.exp(), closed)
    torch.testing.assert_close(vote(scores, VALUES[index], targets, 0.7), got.gather(1, targets[:, None])[:, 0])


def test_missing_neighbours_have_no_say():
    scores, values = torch.tensor([[0.0, float("-inf")], [float("-inf")] * 2]), torch.tensor([[1, 2], [1, 2]])
    said = vote(scores, values, torch.tensor([1, 1]), 1.0)
    assert said.tolist() == [0.0, float("-inf")]
    assert distribution(scores, values, 3, 1.0)[1].tolist() == [float("-inf")] * 3
    answered = (scores > float("-inf")).any(1)
    model = torch.tensor([-2.0, -3.0])
    assert interpolate(model, said, 0.5, answered)[1] == -3
    assert interpolate(model, said, 1.0, answered)[1] == -3
    assert interpolate(model, said, 0.5)[1] == pytest.approx(-3 + math.log(0.5))


def test_mixtures_are_of_probabilities_and_the_oracle_beats_all_of_them():
    model, neighbours = rand(50).abs().neg(), rand(50, seed=1).abs().neg()
    neighbours[3] = float("-inf")
    assert interpolate(model, neighbours, 0.0) is model
    assert torch.equal(interpolate(model, neighbours, 1.0), neighbours)
    mixed = interpolate(model, neighbours, 0.3)
    torch.testing.assert_close(mixed.exp(), 0.7 * model.exp() + 0.3 * neighbours.exp())
    share, losses = best_share(model, neighbours, 11)
    assert len(losses) == 11
    assert losses[0] == pytest.approx(float(-model.mean()))
    assert losses[10] == float("inf")
    assert share == pytest.approx(float(losses.argmin()) / 10)
    assert 0 < share < 1
    top = oracle(model, neighbours)
    for one in (0.0, 0.1, 0.5, 0.9, 1.0):
        assert (top >= interpolate(model, neighbours, one) - 1e-12).all()
    assert best_share(model, model - 1)[0] == 0
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match="share of the neighbours is 0 to 1"):
            interpolate(model, neighbours, wrong)


def test_whitened_keys_have_the_identity_for_a_covariance():
    keys = rand(500, 5) @ rand(5, 5, seed=2) + 7
    mean, turn = whitening(keys)
    white = (keys - mean) @ turn
    torch.testing.assert_close(white.mT @ white / 500, torch.eye(5, dtype=torch.float64))
    flat = torch.cat((keys, torch.full((500, 1), 3.0).double()), 1)
    mean, turn = whitening(flat)
    assert ((flat - mean) @ turn).abs().max() < 100


def test_misuse_is_told():
    keys = rand(4, 3)
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k must be 1 to the 4 entries there are to find, got {k}"):
            search(keys, keys, k)
    keys[2, 1] = float("inf")
    with pytest.raises(ValueError, match="keys must be finite numbers, row 2"):
        search(rand(1, 3), keys, 1)
    for tau in (0.0, -1.0, float("inf")):
        with pytest.raises(ValueError, match="tau divides the scores"):
            vote(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.int64), torch.tensor([0]), tau)
    with pytest.raises(ValueError, match="a grid needs two shares"):
        best_share(torch.zeros(3), torch.zeros(3), 1)
