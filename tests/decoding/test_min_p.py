"""Min-p sampling: the kept set shrinks as confidence grows."""

import pytest
import torch

from tests.decoding.models import tiny
from trivium.decoding.greedy import Greedy
from trivium.decoding.min_p import MinP
from trivium.decoding.sampling import Sampling


def test_keeps_all_when_unsure_and_one_when_sure():
    unsure, sure = torch.zeros(1, 10), torch.tensor([[9.0] + [0.0] * 9])
    assert MinP(floor=0.1).keep(unsure.log_softmax(-1)).sum() == 10
    assert MinP(floor=0.1).keep(sure.log_softmax(-1)).sum() == 1


def test_by_hand_and_temperature_first():
    logp = torch.tensor([[0.6, 0.3, 0.07, 0.03]]).log()
    assert MinP(0.1).keep(logp).tolist() == [[True, True, True, False]]
    assert MinP(0.2).keep(logp).tolist() == [[True, True, False, False]]
    assert MinP(0.2, temperature=2.0).keep(logp).tolist() == [[True, True, True, True]]  # ratios become square roots


def test_only_kept_tokens_are_drawn_and_the_limits_are_greedy_and_sampling():
    prompt = torch.tensor([[1, 5, 6, 7]])
    made = MinP(0.4, temperature=1.5)(tiny(), prompt, limit=20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        probs = (tiny()(torch.cat([prompt, made.ids], 1)).logits[0, 3:-1] / 1.5).softmax(-1)
    assert (probs.gather(1, made.ids[0, :, None])[:, 0] >= 0.4 * probs.amax(1)).all()
    one = lambda x: x(tiny(), prompt, limit=12, generator=torch.Generator().manual_seed(1)).ids  # noqa: E731
    assert torch.equal(one(MinP(0.0)), one(Sampling()))
    assert torch.equal(one(MinP(1.0)), one(Greedy()))


@pytest.mark.parametrize("wrong", [{"floor": -0.1}, {"floor": 1.1}, {"temperature": 0.0}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MinP(**wrong)
