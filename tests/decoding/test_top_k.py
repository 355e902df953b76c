"""Top-k sampling: who is kept, and the limits."""

import pytest
import torch

from tests.decoding.models import tiny
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.top_k import TopK

PROMPT = torch.tensor([[1, 5, 6, 7]])


def test_the_kept_set_has_k_tokens_and_grows_with_k():
    logp = torch.randn(3, 20, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    kept = [TopK(k).keep(logp) for k in (1, 5, 20)]
    assert [mask.sum(-1).tolist() for mask in kept] == [[1] * 3, [5] * 3, [20] * 3]
    assert (kept[0] <= kept[1]).all()
    assert torch.equal(kept[0].int().argmax(-1), logp.argmax(-1))


def test_only_kept_tokens_are_drawn_and_the_limits_are_greedy_and_sampling():
    made = TopK(3, temperature=2.0)(tiny(), PROMPT, limit=20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = tiny()(torch.cat([PROMPT, made.ids], 1)).logits[0, 3:-1]
    ranks = (logits > logits.gather(1, made.ids[0, :, None])).sum(1)
    assert ranks.max() == 2
    same = lambda a, b: torch.equal(  # noqa: E731
        *(x(tiny(), PROMPT, limit=12, generator=torch.Generator().manual_seed(1)).ids for x in (a, b))
    )
    assert same(TopK(1), Greedy())
    assert same(TopK(64), Sampling())


@pytest.mark.parametrize("wrong", [{"k": 0}, {"temperature": 0.0}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TopK(**wrong)
