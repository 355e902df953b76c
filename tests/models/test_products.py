"""In inference mode, float32 products go through weights in the layout of the product; nothing else changes."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.families import build
from tests.models.test_huggingface import tokens
from trivium.core.meter import Meter
from trivium.models import _packed
from trivium.models._packed import packs
from trivium.models.huggingface import wrap

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not packs(torch.float32), reason="torch has no such layout here")


@pytest.fixture
def used(monkeypatch):
    """Products that were made in the second layout."""
    found = []
    original = _packed.multiplied
    monkeypatch.setattr(_packed, "multiplied", lambda *given: found.append(given) or original(*given))
    return found


@pytest.fixture
def model():
    return wrap(build("llama", torch.float32))


def linear(model):
    return sum(type(part) is nn.Linear for part in model.inner.modules())


def test_every_product_and_not_elsewhere(model, used):
    ids = tokens(2, 12)
    plain = model(ids).logits
    assert plain.requires_grad
    assert not used
    with torch.no_grad():
        assert torch.equal(model(ids).logits, plain)
    assert not used
    with torch.inference_mode():
        found = model(ids).logits
    assert len(used) == linear(model)
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)
    assert torch.equal(model(ids).logits, plain)
    assert len(used) == linear(model)


@torch.inference_mode()
def test_operations_are_counted_and_the_same_with_and_without(model, used, monkeypatch):
    ids = tokens(1, 20)
    with Meter() as counted:
        found = model(ids).logits
    assert used
    with Meter() as reused:
        assert torch.equal(model(ids).logits, found)  # the same bits whether it is counted or not
    monkeypatch.setattr(_packed, "free_bytes", lambda device: 0)
    with torch.inference_mode(False):
        other = wrap(build("llama", torch.float32))
    used.clear()
    with Meter() as plain:
        other(ids)
    assert not used
    assert counted.spent.flops == reused.spent.flops == plain.spent.flops > 0


def logits(model, ids):
    with torch.inference_mode():
        return model(ids).logits.clone()


def test_a_weight_that_was_changed_is_seen(model, used):
    ids = tokens(1, 20)
    before = logits(model, ids)
    with torch.no_grad():
        model.parts.head.weight.mul_(2)
    used.clear()
    torch.testing.assert_close(logits(model, ids), 2 * before, atol=1e-5, rtol=1e-5)
    assert len(used) == linear(model)  # the copy was made anew


@pytest.mark.parametrize("how", [{"fused": True}, {"foreach": True}, {"foreach": False}])
def test_the_step_of_an_optimiser_is_seen(model, used, how):
    """A fused step leaves the versions of the weights as they were."""
    ids = tokens(1, 20)
    before = logits(model, ids)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, **how)
    model(ids).logits.square().sum().backward()
    optimizer.step()
    used.clear()
    after = logits(model, ids)
    assert used
    assert (after - before).abs().max() > 0.1
    with torch.no_grad():
        torch.testing.assert_close(after, model(ids).logits, atol=1e-4, rtol=1e-4)


def test_a_copy_of_the_model_has_its_own(model):
    ids = tokens(1, 20)
    logits(model, ids)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.parts.head.weight.mul_(2)
    torch.testing.assert_close(logits(other, ids), 2 * logits(model, ids), atol=1e-5, rtol=1e-5)


def test_not_without_memory_nor_in_other_precisions(used, monkeypatch):
    logits(wrap(build("llama", torch.float64)), tokens(1, 20))
    monkeypatch.setattr(_packed, "free_bytes", lambda device: 1000)
    logits(wrap(build("llama", torch.float32)), tokens(1, 20))
    assert not used


def test_a_first_pass_of_a_process_is_counted_whole():
    """The counter knows the product when it begins: wrapping a model is enough."""
    code = """
import torch
from tests.families import build
from trivium.core.meter import count_flops
from trivium.models.huggingface import wrap

model, ids = wrap(build("llama", torch.float32)), torch.ones(1, 20, dtype=torch.int64)
with torch.inference_mode():
    first = count_flops(lambda: model(ids))
    assert model.packed.layers
    assert first == count_flops(lambda: model(ids))
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
