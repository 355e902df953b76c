"""Epsilon sampling: a fixed threshold, never an empty set, and transformers' filter as the oracle."""

import pytest
import torch
from transformers import EpsilonLogitsWarper

from tests.decoding.models import tiny
from trivium.decoding.epsilon_sampling import EpsilonSampling
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.drafting.prompt_lookup import PromptLookup

PROMPT = torch.tensor([[1, 5, 6, 7, 5, 6, 7, 5, 6]])


def test_by_hand_and_the_likeliest_always_stays():
    logp = torch.tensor([[0.6, 0.3, 0.07, 0.03]], dtype=torch.float64).log()
    assert EpsilonSampling(0.05).keep(logp).tolist() == [[True, True, True, False]]
    assert EpsilonSampling(0.1).keep(logp).tolist() == [[True, True, False, False]]
    assert EpsilonSampling(0.9).keep(logp).tolist() == [[True, False, False, False]]
    assert EpsilonSampling(0.9).keep(torch.zeros(1, 3)).tolist() == [[True, False, False]]
    assert EpsilonSampling(0.1, temperature=2.0).keep(logp).tolist() == [[True, True, True, False]]


@pytest.mark.parametrize("epsilon", [3e-4, 0.02, 0.5])
def test_parity_with_transformers(epsilon):
    logits = 3 * torch.randn(6, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = EpsilonLogitsWarper(epsilon)(torch.zeros(6, 1), logits.clone()).isfinite()
    assert torch.equal(EpsilonSampling(epsilon).keep(logits.log_softmax(-1)), theirs)


def test_zero_is_plain_sampling_and_a_speculative_decoder_draws_the_very_same_tokens():
    one = lambda x: x(tiny(), PROMPT, limit=24, generator=torch.Generator().manual_seed(1)).ids  # noqa: E731
    assert torch.equal(one(EpsilonSampling(0.0)), one(Sampling()))
    plain = EpsilonSampling(0.05)
    assert not torch.equal(one(plain), one(Sampling()))
    assert torch.equal(one(plain), one(Sampling(epsilon=0.05)))
    assert torch.equal(one(Speculative(PromptLookup(ngram=1, nodes=12), of=plain)), one(plain))


@pytest.mark.parametrize("wrong", [{"epsilon": -0.1}, {"epsilon": 1.0}, {"temperature": 0.0}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EpsilonSampling(**wrong)
