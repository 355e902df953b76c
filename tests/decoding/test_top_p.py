"""Top-p sampling: a hand-worked nucleus, the limits, and the claim that it follows the model's confidence."""

import pytest
import torch

from tests.decoding.models import tiny
from trivium.decoding.sampling import Sampling
from trivium.decoding.top_p import TopP

LOGP = torch.tensor([[0.1, 0.5, 0.25, 0.15]]).double().log()


def test_by_hand():
    assert TopP(0.49).keep(LOGP).tolist() == [[False, True, False, False]]
    assert TopP(0.51).keep(LOGP).tolist() == [[False, True, True, False]]
    assert TopP(0.77).keep(LOGP).tolist() == [[False, True, True, True]]
    assert TopP(1.0).keep(LOGP).all()
    assert TopP(1e-9).keep(LOGP).sum() == 1


def test_temperature_acts_before_the_cut():
    assert TopP(0.49, temperature=1e6).keep(LOGP).sum() > TopP(0.49).keep(LOGP).sum()


def test_few_are_kept_when_sure_and_many_when_unsure():
    sure, unsure = torch.tensor([[9.0] + [0.0] * 9]), torch.zeros(1, 10)
    assert TopP(0.9).keep(sure.log_softmax(-1)).sum() == 1
    assert TopP(0.9).keep(unsure.log_softmax(-1)).sum() == 9


def test_only_the_nucleus_is_drawn_and_the_limit_is_sampling():
    prompt = torch.tensor([[1, 5, 6, 7]])
    made = TopP(0.3)(tiny(), prompt, limit=20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        probs = tiny()(torch.cat([prompt, made.ids], 1)).logits[0, 3:-1].softmax(-1)
    own = probs.gather(1, made.ids[0, :, None])
    assert ((probs * (probs > own)).sum(1) < 0.3).all()
    one = lambda x: x(tiny(), prompt, limit=12, generator=torch.Generator().manual_seed(1)).ids  # noqa: E731
    assert torch.equal(one(TopP(1.0)), one(Sampling()))


@pytest.mark.parametrize("wrong", [{"p": 0.0}, {"p": 1.2}, {"temperature": 0.0}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TopP(**wrong)
