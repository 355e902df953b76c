"""Explainers that only call the model go through weights in the layout of their products, and find the same scores."""

import pytest
import torch

from tests.families import build
from tests.models.test_huggingface import tokens
from trivium.attribution.lime import Lime
from trivium.attribution.occlusion import Occlusion
from trivium.attribution.reagent import ReAGent
from trivium.core.nouns import Target
from trivium.models import _packed, huggingface
from trivium.models._packed import packs
from trivium.models.huggingface import wrap

pytestmark = pytest.mark.skipif(not packs(torch.float32), reason="torch has no such layout here")


@pytest.mark.parametrize("explainer", [Occlusion(), Lime(masks=64), ReAGent(steps=2, top=1, probes=8)])
def test_scores_are_the_same_and_the_layout_is_used(explainer, monkeypatch):
    used = []
    original = _packed.Layout.holds
    monkeypatch.setattr(_packed.Layout, "holds", lambda self: used.append(self) or original(self))
    ids = tokens(1, 32)[0]

    def explained(model):
        return explainer(model, ids, Target(4), generator=torch.Generator().manual_seed(0)).scores

    fast = wrap(build("llama", torch.float32))
    fast.train()
    found = explained(fast)
    assert used
    assert fast.training
    assert fast.upcast is not fast.packed  # outside nothing has changed
    used.clear()
    monkeypatch.setattr(huggingface, "WORTH", float("inf"))
    plain = explained(wrap(build("llama", torch.float32)))
    assert not used
    torch.testing.assert_close(found, plain, atol=1e-4 * plain.abs().max().item(), rtol=1e-4)
