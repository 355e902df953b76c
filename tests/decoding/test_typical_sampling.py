"""Locally typical sampling: against the definition, transformers' filter, by hand, and inside draft trees."""

import itertools

import pytest
import torch
from transformers import TypicalLogitsWarper

from tests.decoding.models import tiny
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.decoding.typical_sampling import TypicalSampling
from trivium.drafting.prompt_lookup import PromptLookup

PROMPT = torch.tensor([[1, 5, 6, 7, 5, 6, 7, 5, 6]])


def test_by_hand():
    """Entropy of (1/2, 1/4, 1/8, 1/8) is 1.75 bits: the token of 2 bits is nearest, then those of 1 and 3 bits."""
    logp = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    kept = lambda mass: TypicalSampling(mass).keep(logp)[0].tolist()  # noqa: E731
    assert kept(0.2) == [False, True, False, False]  # not the likeliest token
    assert kept(0.3) == [True, True, False, False]
    assert kept(0.8) == [True, True, True, False]  # of equals the lowest id
    assert kept(1.0) == [True] * 4


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_nearest_set_that_reaches_the_mass(seed):
    """No other set of that probability lies nearer for its size: every kept token is nearer than every dropped one,
    and the set without its farthest token falls short."""
    p = torch.randn(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(-1)
    kept = TypicalSampling(0.6).keep(p.log()[None])[0]
    distance = (-p.log() - (-(p * p.log()).sum())).abs()
    assert distance[kept].max() <= distance[~kept].min()
    assert p[kept].sum() >= 0.6
    assert p[kept].sum() - p[kept][distance[kept].argmax()] < 0.6


@pytest.mark.parametrize(("seed", "mass"), list(itertools.product(range(3), (0.2, 0.9, 0.95))))
def test_parity_with_transformers(seed, mass):
    logits = 3 * torch.randn(4, 200, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    theirs = TypicalLogitsWarper(mass)(torch.zeros(4, 1), logits.clone()).isfinite()
    assert torch.equal(TypicalSampling(mass).keep(logits.log_softmax(-1)), theirs)


def test_temperature_acts_first_and_mass_one_is_plain_sampling():
    logp = torch.tensor([[0.6, 0.3, 0.07, 0.03]]).log()
    assert TypicalSampling(0.5).keep(logp).tolist() == [[True, True, False, False]]
    assert TypicalSampling(0.5, temperature=0.5).keep(logp).tolist() == [[True, False, False, False]]
    one = lambda x: x(tiny(), PROMPT, limit=12, generator=torch.Generator().manual_seed(1)).ids  # noqa: E731
    assert torch.equal(one(TypicalSampling(1.0)), one(Sampling()))
    assert not torch.equal(one(TypicalSampling(0.2)), one(Sampling()))
    assert torch.equal(one(TypicalSampling(0.2, 0.9)), one(Sampling(0.9, typical_p=0.2)))


def test_a_speculative_decoder_draws_the_very_same_tokens():
    run = lambda x: x(tiny(), PROMPT, limit=24, generator=torch.Generator().manual_seed(2))  # noqa: E731
    plain = TypicalSampling(0.5)
    fast = run(Speculative(PromptLookup(ngram=1, nodes=12), of=plain))
    assert torch.equal(fast.ids, run(plain).ids)


@pytest.mark.parametrize("wrong", [{"mass": 0.0}, {"mass": 1.1}, {"temperature": 0.0}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TypicalSampling(**wrong)
