"""Sources with known hidden states."""

import pytest
import torch

from trivium.core.seeds import generator
from trivium.data.chains import GaussianChain, HiddenMarkov


def test_a_gaussian_chain_is_standard_normal_and_remembers():
    chain = GaussianChain(size=3, persistence=0.8, noise=0.5)
    x, y = chain.draw(10_000, generator(0))
    assert x.shape == (10_000, 3)
    # Neighbours are alike: means are as sharp as of 1100 independent draws, mean squares as of 2200 (sd 0.03 both).
    torch.testing.assert_close(x.mean(0), torch.zeros(3).double(), atol=0.1, rtol=0)
    torch.testing.assert_close(x.mT @ x / len(x), torch.eye(3).double(), atol=0.1, rtol=0)
    ahead = x[1:].mT @ x[:-1] / len(x)  # 0.8 times an orthogonal matrix
    torch.testing.assert_close(ahead.mT @ ahead, 0.64 * torch.eye(3).double(), atol=0.15, rtol=0)
    weights = torch.linalg.lstsq(x, y[:, None]).solution[:, 0]
    assert weights.norm().item() == pytest.approx(1.0, abs=0.03)
    assert (y - x @ weights).std().item() == pytest.approx(0.5, abs=0.02)


def test_without_persistence_neighbours_have_nothing_in_common():
    x, _ = GaussianChain(size=3, persistence=0.0).draw(10_000, generator(0))
    assert (x[1:].mT @ x[:-1] / len(x)).abs().max() < 0.05


def test_blur_is_added_to_what_is_seen():
    plain, blurred = (GaussianChain(size=3, blur=blur).draw(5_000, generator(0))[0] for blur in (0.0, 2.0))
    assert (blurred - plain).std().item() == pytest.approx(2.0, abs=0.06)


def test_the_seed_fixes_the_chain_and_the_generator_what_is_drawn():
    one, same, other = GaussianChain(size=5), GaussianChain(size=5), GaussianChain(size=5, seed=1)
    assert torch.equal(one.draw(9, generator(3))[0], same.draw(9, generator(3))[0])
    assert not torch.equal(one.draw(9, generator(3))[0], other.draw(9, generator(3))[0])
    assert not torch.equal(one.draw(9, generator(3))[0], one.draw(9, generator(4))[0])


def test_a_hidden_markov_model_follows_its_tables():
    source = HiddenMarkov(states=3, symbols=4, stay=0.7, concentration=1.0)
    ids, states = source.draw(200, 200, generator(0))
    assert ids.shape == states.shape == (200, 200)
    for table in (source.transitions, source.emissions):
        torch.testing.assert_close(table.sum(1), torch.ones(3).double())
        assert table.min() >= 0
    assert source.transitions.diagonal().tolist() == pytest.approx([0.7] * 3)
    moves = torch.bincount((3 * states[:, :-1] + states[:, 1:]).flatten(), minlength=9).view(3, 3).double()
    shown = torch.bincount((4 * states + ids).flatten(), minlength=12).view(3, 4).double()
    torch.testing.assert_close(moves / moves.sum(1, keepdim=True), source.transitions, atol=0.02, rtol=0)
    torch.testing.assert_close(shown / shown.sum(1, keepdim=True), source.emissions, atol=0.02, rtol=0)


def test_the_smaller_the_concentration_the_fewer_symbols_a_state_shows():
    """Of a symmetric Dirichlet distribution over n symbols the squares sum to (c + 1) / (n c + 1) on the average."""
    for c in (0.001, 0.1, 10.0):
        shown = HiddenMarkov(states=2000, symbols=8, concentration=c).emissions
        assert shown.isfinite().all()
        assert shown.square().sum(1).mean().item() == pytest.approx((c + 1) / (8 * c + 1), abs=0.02)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: GaussianChain(size=0), "size must be at least 1"),
        (lambda: GaussianChain(persistence=1.0), "persistence must be 0 to below 1"),
        (lambda: GaussianChain(blur=-1.0), "blur must be at least 0"),
        (lambda: GaussianChain(noise=float("inf")), "noise must be at least 0 and finite"),
        (lambda: HiddenMarkov(states=1), "states must be at least 2"),
        (lambda: HiddenMarkov(stay=1.0), "stay is a probability below 1"),
        (lambda: HiddenMarkov(concentration=0.0), "concentration must be positive"),
    ],
)
def test_impossible_sources_are_refused(made, told):
    with pytest.raises(ValueError, match=told):
        made()
