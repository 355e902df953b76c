"""Eta sampling: the threshold falls with the entropy; by hand, and transformers' filter as the oracle."""

import math

import pytest
import torch
from transformers import EtaLogitsWarper

from tests.decoding.models import tiny
from trivium.decoding.epsilon_sampling import EpsilonSampling
from trivium.decoding.eta_sampling import EtaSampling
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.drafting.prompt_lookup import PromptLookup

PROMPT = torch.tensor([[1, 5, 6, 7, 5, 6, 7, 5, 6]])


def test_a_wide_distribution_is_cut_less_than_by_epsilon_and_a_narrow_one_alike():
    wide = torch.full((1, 1000), 1 / 1000).log()
    assert EpsilonSampling(0.01).keep(wide).sum() == 1
    assert EtaSampling(0.01).keep(wide).sum() == 1000  # the threshold is sqrt(0.01) / 1000
    narrow = torch.tensor([[0.98, 0.012, 0.008]]).log()
    assert EtaSampling(0.01).keep(narrow).tolist() == EpsilonSampling(0.01).keep(narrow).tolist()


def test_by_hand():
    """Two bits of entropy: the threshold is sqrt(epsilon) / 4."""
    p = torch.tensor([[0.25, 0.25, 0.25, 0.25]], dtype=torch.float64)
    for epsilon in (0.5, 0.9):
        assert math.sqrt(epsilon) / 4 < 0.25
        assert EtaSampling(epsilon).keep(p.log()).sum() == 4
    skew = torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.float64)
    threshold = math.sqrt(0.16) * math.exp(float((skew * skew.log()).sum()))
    assert 0.05 < threshold < 0.15 < 0.16  # so that the relative half of the rule decides about the third
    assert EtaSampling(0.16).keep(skew.log()).tolist() == [[True, True, True, False]]
    assert EtaSampling(0.02).keep(skew.log()).tolist() == [[True, True, True, True]]


@pytest.mark.parametrize("epsilon", [3e-4, 0.02, 0.5])
def test_parity_with_transformers(epsilon):
    spread = torch.tensor([[0.1], [0.5], [1.0], [2.0], [4.0], [8.0]], dtype=torch.float64)
    logits = spread * torch.randn(6, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theirs = EtaLogitsWarper(epsilon)(torch.zeros(6, 1), logits.clone()).isfinite()
    assert torch.equal(EtaSampling(epsilon).keep(logits.log_softmax(-1)), theirs)


def test_zero_is_plain_sampling_and_a_speculative_decoder_draws_the_very_same_tokens():
    one = lambda x: x(tiny(), PROMPT, limit=24, generator=torch.Generator().manual_seed(1)).ids  # noqa: E731
    assert torch.equal(one(EtaSampling(0.0)), one(Sampling()))
    plain = EtaSampling(0.1, temperature=1.2)
    assert not torch.equal(one(plain), one(Sampling(1.2)))
    assert torch.equal(one(plain), one(Sampling(1.2, eta=0.1)))
    assert torch.equal(one(Speculative(PromptLookup(ngram=1, nodes=12), of=plain)), one(plain))


@pytest.mark.parametrize("wrong", [{"epsilon": -0.1}, {"epsilon": 1.0}, {"temperature": 0.0}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EtaSampling(**wrong)
