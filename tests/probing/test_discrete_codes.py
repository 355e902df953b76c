"""Planted heads are found, classes and orders are treated alike, and the autoencoder is what it says."""

from dataclasses import replace

import pytest
import torch

from trivium.core.seeds import generator
from trivium.probing.discrete_codes import Autoencoder, DiscreteCodes

PROMPTS, HEADS, WIDTH = 40, 6, 8
PLANTED = 2
QUICK = DiscreteCodes(features=24, steps=150, examples=12, sparsity=0.01, rate=1e-2)


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed, "rand"), dtype=torch.float64)


def planted(seed=0):
    """Every head has an output of its own with a little noise; the planted one has another for each sort of prompt, of
    several kinds for the positives. The last head is always the same."""
    centres = rand(HEADS, WIDTH, seed=seed)
    x = centres + 0.02 * rand(PROMPTS, HEADS, WIDTH, seed=seed + 1)
    positive = torch.arange(PROMPTS) < PROMPTS // 2
    kinds = 2 * rand(4, WIDTH, seed=seed + 2)
    x[positive, PLANTED] = kinds[torch.arange(PROMPTS // 2) % 4] + 0.02 * rand(PROMPTS // 2, WIDTH, seed=seed + 3)
    x[:, -1] = centres[-1]
    return x, positive.long()


def fit(x, y, method=QUICK, seed=0):
    return method.fit(x, y, generator=generator(seed, "fit"))


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_head_is_found_and_a_constant_one_is_not(seed):
    probe = fit(*planted(seed))
    for normalised in (False, True):
        for held_out in (False, True):
            scores = probe.nodes(normalised=normalised, held_out=held_out)
            assert int(scores.argmax()) == PLANTED
            assert scores[-1] == 0.0
    assert probe.nodes()[PLANTED] >= 2
    shares = probe.shares()
    assert float(shares.sum()) == pytest.approx(1.0)
    assert int(shares.argmax()) == PLANTED
    assert probe.score(*planted(seed)) > 0.8


def test_counts_are_those_of_the_codes():
    x, y = planted()
    probe = fit(x, y)
    codes = probe.encode(x)
    assert torch.equal(codes, probe.codes)
    for head in range(HEADS):
        here, there = set(codes[y == 1, head].tolist()), set(codes[y == 0, head].tolist())
        assert probe.nodes()[head] == len(here - there)
        assert probe.nodes(normalised=True)[head] == len(here - there) / len(here | there)
    rest = [place for place in range(PROMPTS) if place not in probe.trained]
    assert len(rest) == PROMPTS - 12
    here, there = (set(codes[[p for p in rest if y[p] == label], PLANTED].tolist()) for label in (1, 0))
    assert probe.nodes(held_out=True)[PLANTED] == len(here - there)


def test_held_out_counts_leave_out_what_trained():
    x, y = planted()
    probe = fit(x, y)
    code = int(probe.codes[0, PLANTED])
    with_it = (probe.codes[:, PLANTED] == code).nonzero()[:, 0].tolist()
    other = replace(probe, trained=tuple(with_it))
    assert other.nodes(held_out=True)[PLANTED] == probe.nodes()[PLANTED] - 1
    assert torch.equal(other.nodes(), probe.nodes())
    assert other.edges(held_out=True, beyond_nodes=False).sum() < probe.edges(beyond_nodes=False).sum()


def test_classes_exchanged_exchange_what_is_unique_to_them():
    x, y = planted()
    probe, other = fit(x, y), fit(x, 1 - y)
    assert torch.equal(probe.codes, other.codes)
    codes = probe.codes
    for head in range(HEADS):
        here, there = set(codes[y == 1, head].tolist()), set(codes[y == 0, head].tolist())
        assert other.nodes()[head] == len(there - here)


def test_identical_sorts_have_nothing_unique():
    x, _ = planted()
    both, y = torch.cat((x[:10], x[:10])), (torch.arange(20) < 10).long()
    probe = fit(both, y)
    assert probe.nodes().tolist() == [0.0] * HEADS
    assert probe.edges(beyond_nodes=False).abs().max() == 0
    assert probe.shares().tolist() == pytest.approx([1 / HEADS] * HEADS)


def test_orders_do_not_matter():
    x, y = planted()
    scores = fit(x, y).nodes()
    order = torch.cat((torch.randperm(20, generator=generator(1)), 20 + torch.randperm(20, generator=generator(2))))
    assert torch.equal(fit(x[order], y[order]).nodes(), scores)
    heads = torch.randperm(HEADS, generator=generator(3))
    moved = fit(x[:, heads], y)
    assert torch.equal(moved.nodes(), scores[heads])
    assert torch.equal(moved.edge_votes().sort().values, fit(x, y).edge_votes().sort().values)


def test_the_autoencoder_has_rows_of_length_one_and_learns():
    x, y = planted()
    probe = fit(x, y)
    made = probe.autoencoder
    for weight in (made.encoder, made.decoder):
        torch.testing.assert_close(weight.norm(dim=1), torch.ones(len(weight)).double())
    assert probe.losses[-1] < 0.2 * probe.losses[0]
    left_out = [place for place in range(PROMPTS) if place not in probe.trained]
    fresh = x[left_out]
    error = (made.decode(made.encode(fresh)) - fresh).square().mean()
    mean = (x[list(probe.trained)].flatten(0, 1).mean(0) - fresh).square().mean()
    assert error < 0.2 * mean


def test_one_step_by_hand():
    """The loss before the first step, and rows that only turned: their gradient lies across them."""
    x, y = planted()
    method = DiscreteCodes(features=5, steps=1, examples=PROMPTS, sparsity=0.3)
    probe = fit(x, y, method)
    draws = generator(0, "fit")
    torch.randn(WIDTH, generator=draws, dtype=torch.float64)
    torch.randperm(PROMPTS, generator=draws)
    encoder, decoder = (torch.randn(*s, generator=draws, dtype=torch.float64) for s in ((5, WIDTH), (WIDTH, 5)))
    encoder, decoder = (w / w.norm(dim=1, keepdim=True) for w in (encoder, decoder))
    threshold = (2 * torch.rand(5, generator=draws, dtype=torch.float64) - 1) / WIDTH**0.5
    code = (x @ encoder.T + threshold).relu()
    expected = (code @ decoder.T - x).square().mean() + 0.3 * code.abs().sum(-1).mean()
    assert probe.losses == pytest.approx((float(expected),))
    assert threshold.abs().max() <= WIDTH**-0.5
    # Adam's first step is the rate, with the sign of the gradient; then rows are of length 1 again
    moved = probe.autoencoder.threshold - threshold
    assert moved.abs().max().item() == pytest.approx(1e-3, rel=1e-3)
    assert probe.autoencoder.bias.abs().max().item() == pytest.approx(1e-3, rel=1e-3)


def test_silent_heads_have_a_code_of_their_own_or_share_the_first():
    x, y = planted()
    x[: PROMPTS // 2, 0] = 0.0  # says nothing with positives
    found = {}
    for silent in ("own", "zero"):
        probe = fit(x, y, DiscreteCodes(features=24, steps=150, examples=12, rate=1e-2, silent=silent))
        made = probe.autoencoder
        quiet = Autoencoder(made.encoder, made.decoder, made.bias, torch.full_like(made.threshold, -1e6), made.scale)
        codes = type(probe)(
            quiet, probe.codes, probe.labels, probe.classes, probe.means, silent, probe.losses, probe.trained
        ).encode(x)
        found[silent] = codes.unique().tolist()
    assert found == {"own": [-1], "zero": [0]}


def test_a_scale_makes_large_outputs_readable():
    x, y = planted()
    method = DiscreteCodes(features=24, steps=150, examples=12, rate=1e-2, scale=True)
    plain, scaled = fit(x, y, method), fit(1e4 * x, y, method)
    assert torch.equal(plain.nodes(), scaled.nodes())
    small, large = plain.autoencoder, scaled.autoencoder
    assert large.scale == pytest.approx(1e4 * small.scale)
    torch.testing.assert_close(large.decode(large.encode(1e4 * x)), 1e4 * small.decode(small.encode(x)))
    assert fit(x, y, QUICK).autoencoder.scale == 1.0


def together(seed=0):
    """Heads 1 and 4 each take one of two outputs at will; with positives they agree, with negatives they do not."""
    x = rand(HEADS, WIDTH, seed=seed) + 0.02 * rand(PROMPTS, HEADS, WIDTH, seed=seed + 1)
    kinds = 2 * rand(2, 2, WIDTH, seed=seed + 2)
    first = torch.arange(PROMPTS) % 2
    positive = torch.arange(PROMPTS) < PROMPTS // 2
    second = torch.where(positive, first, 1 - first)
    x[:, 1] = kinds[0][first] + 0.01 * rand(PROMPTS, WIDTH, seed=seed + 3)
    x[:, 4] = kinds[1][second] + 0.01 * rand(PROMPTS, WIDTH, seed=seed + 4)
    return x, positive.long()


def test_an_edge_is_found_where_no_head_tells_alone():
    probe = fit(*together())
    assert probe.nodes()[1] == probe.nodes()[4] == 0
    edges = probe.edges(torch.tensor([0, 0, 0, 1, 1, 1]))
    assert int(edges.argmax()) == 1 * HEADS + 4
    assert edges[1, 4] == 2
    assert edges[4, 1] == edges[1, 2] == 0
    symmetric = probe.edges()
    assert torch.equal(symmetric, symmetric.T)
    assert probe.edges(normalised=True)[1, 4] == 2 / 4
    votes = probe.edge_votes(2)
    assert votes[1] == votes[4] == 1
    assert probe.edge_votes(normalised=True).sum() == HEADS**2 // 2
    with pytest.raises(ValueError, match=r"layers must be \(6,\)"):
        probe.edges(torch.zeros(5))


def test_normalised_votes_are_by_pairs_of_both_sorts():
    """As the authors divide: by pairs on positives plus pairs on negatives."""
    x, y = planted()
    probe = fit(x, y)
    shares = torch.zeros(HEADS, HEADS, dtype=torch.float64)
    for one in range(HEADS):
        for other in range(HEADS):
            here, there = (
                {tuple(row) for row in probe.codes[y == label][:, [one, other]].tolist()} for label in (1, 0)
            )
            if one != other:
                shares[one, other] = len(here - there) / (len(here) + len(there))
    order = shares.flatten().argsort(descending=True, stable=True)[:3].tolist()
    entries = [head for pair in order for head in (pair // HEADS, pair % HEADS)]
    expected = [float(entries.count(head)) for head in range(HEADS)]
    assert probe.edge_votes(6, normalised=True).tolist() == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": 1}, "features must be at least 2, got 1"),
        ({"examples": 0}, "examples must be at least 1, got 0"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"sparsity": -1.0}, "sparsity must be at least 0"),
        ({"rate": 0.0}, "rate must be positive"),
        ({"silent": "dead"}, "silent must be one of own, zero; got 'dead'"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        DiscreteCodes(**settings)


def test_labels_that_are_no_two_sorts_are_refused():
    x, y = planted()
    with pytest.raises(ValueError, match=r"at least 2 prompts of each of two classes; there are \[40\]"):
        fit(x, torch.zeros_like(y))
    few = torch.zeros_like(y)
    few[0] = 1
    with pytest.raises(ValueError, match=r"there are \[39, 1\]"):
        fit(x, few)
    with pytest.raises(ValueError, match="whole numbers, 1 for positives"):
        fit(x, y.double())
    with pytest.raises(ValueError, match=r"activations must be \(prompts, heads, width\)"):
        fit(x[..., None], y)
    small = fit(x[15:25], y[15:25], DiscreteCodes(features=4, steps=1, examples=10))
    with pytest.raises(ValueError, match="of 0 prompts 0 are positive"):
        small.nodes(held_out=True)
