"""Without gradients, float32 products go through weights in the layout of the product; nothing else changes."""

import copy

import pytest
import torch
from torch import nn

from tests.families import build
from tests.models.test_huggingface import tokens
from trivium.core.meter import Meter
from trivium.models import _packed
from trivium.models._packed import packs
from trivium.models.huggingface import wrap

pytestmark = pytest.mark.skipif(not packs(torch.float32), reason="torch has no such layout here")


@pytest.fixture
def used(monkeypatch):
    """Products that were made in the second layout."""
    found = []
    original = torch.ops.mkldnn._linear_pointwise
    monkeypatch.setattr(_packed, "multiplied", lambda *given: found.append(given) or original(*given))
    return found


@pytest.fixture
def model():
    return wrap(build("llama", torch.float32))


def linear(model):
    return sum(type(part) is nn.Linear for part in model.inner.modules())


def test_every_product_and_not_with_gradients(model, used):
    ids = tokens(2, 12)
    plain = model(ids).logits
    assert plain.requires_grad
    assert not used
    with torch.no_grad():
        found = model(ids).logits
    assert len(used) == linear(model)
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        again = model(ids)
    assert torch.equal(again.logits, found)
    assert torch.equal(model(ids).logits, plain)


@torch.no_grad()
def test_operations_are_counted_and_the_same_with_and_without(model, used, monkeypatch):
    ids = tokens(1, 20)
    with Meter() as counted:
        found = model(ids).logits
    assert used
    with Meter() as reused:
        assert torch.equal(model(ids).logits, found)  # the same bits whether it is counted or not
    monkeypatch.setattr(_packed, "free_bytes", lambda device: 0)
    other = wrap(build("llama", torch.float32))
    used.clear()
    with Meter() as plain:
        other(ids)
    assert not used
    assert counted.spent.flops == reused.spent.flops == plain.spent.flops > 0


@torch.no_grad()
def test_a_weight_that_was_changed_is_seen_and_the_copy_let_go(model, used):
    ids = tokens(1, 20)
    before = model(ids).logits
    kept = len(_packed._layouts)
    model.parts.head.weight.mul_(2)
    used.clear()
    torch.testing.assert_close(model(ids).logits, 2 * before, atol=1e-5, rtol=1e-5)
    assert not used
    assert len(_packed._layouts) == kept - linear(model)


@torch.no_grad()
def test_a_copy_of_the_model_has_its_own(model, used):
    ids = tokens(1, 20)
    model(ids)
    other = copy.deepcopy(model)
    other.parts.head.weight.mul_(2)
    torch.testing.assert_close(other(ids).logits, 2 * model(ids).logits, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_not_without_memory_nor_in_other_precisions(used, monkeypatch):
    wide = wrap(build("llama", torch.float64))
    wide(tokens(1, 20))
    monkeypatch.setattr(_packed, "free_bytes", lambda device: 1000)
    wrap(build("llama", torch.float32))(tokens(1, 20))
    assert not used
