"""Passes that are announced go through float32 weights in the layout of their products; nothing else changes."""

import pytest
import torch
from torch import nn

from tests.families import build
from tests.models.test_huggingface import tokens
from trivium.core.meter import Meter
from trivium.models import _packed
from trivium.models._packed import FEW, WORTH, packs
from trivium.models.huggingface import wrap

pytestmark = pytest.mark.skipif(not packs(torch.float32), reason="torch has no such layout here")


@pytest.fixture
def used(monkeypatch):
    """Products that were made in the second layout."""
    found = []
    original = _packed.Layout.holds
    monkeypatch.setattr(_packed.Layout, "holds", lambda self: found.append(self) or original(self))
    return found


@pytest.fixture
def model():
    return wrap(build("llama", torch.float32))


def linear(model):
    return sum(type(part) is nn.Linear for part in model.inner.modules())


@torch.no_grad()
def test_every_product_of_a_block_that_pays_and_none_outside(model, used):
    ids = tokens(2, 12)
    plain = model(ids).logits
    with model.hastened(WORTH - 1):
        assert torch.equal(model(ids).logits, plain)
    assert not used
    with model.hastened(1):  # together with what was before, it pays
        found = model(ids).logits
        assert len(used) == linear(model)
        assert torch.equal(model(ids[:1, : FEW - 1]).logits, model(ids[:1, : FEW - 1]).logits)
        assert len(used) == linear(model)
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)
    assert torch.equal(model(ids).logits, plain)
    with model.hastened(0):  # the copy stays
        assert torch.equal(model(ids).logits, found)


def test_not_with_gradients_nor_where_operations_are_counted(model, used):
    ids = tokens(1, 20)
    with model.hastened(WORTH):
        assert model(ids).logits.requires_grad
        assert not used
        with torch.no_grad(), Meter() as meter:
            model(ids)
        assert not used
        with torch.no_grad(), Meter() as again:  # counted before, so that it need not be again
            model(ids)
        assert used
    assert meter.spent.flops == again.spent.flops > 0


def test_a_weight_that_was_changed_is_seen(model):
    ids = tokens(1, 20)
    with torch.no_grad(), model.hastened(WORTH):
        before = model(ids).logits
        model.parts.head.weight.mul_(2)
        torch.testing.assert_close(model(ids).logits, 2 * before, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_not_without_memory_nor_in_other_precisions(model, used, monkeypatch):
    monkeypatch.setattr(_packed, "free_bytes", lambda device: 1000)
    with model.hastened(WORTH):
        model(tokens(1, 20))
    assert model.packed is None
    monkeypatch.setattr(_packed, "free_bytes", lambda device: None)
    with model.hastened(WORTH):
        model(tokens(1, 20))
    assert model.packed is not None
    assert used
    wide = wrap(build("llama", torch.float64))
    with wide.hastened(WORTH):
        wide(tokens(1, 20))
    assert wide.packed is None


def test_as_it_was_after_an_error(model):
    usual = model.upcast
    with pytest.raises(RuntimeError, match="stop"), model.hastened(WORTH):
        assert model.upcast is model.packed
        raise RuntimeError("stop")
    assert model.upcast is usual
