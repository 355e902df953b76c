"""A second layout of bfloat16 weights changes the order of sums and nothing else, and is dropped with the weight."""

import gc
from typing import Any

import pytest
import torch
from torch import nn

from tests.families import build
from tests.models.test_huggingface import tokens
from trivium.models import _packed
from trivium.models._compiled import CompiledStep
from trivium.models._packed import MANY, Packed, layers_of, packs
from trivium.models.huggingface import wrap

pytestmark = pytest.mark.skipif(not packs(), reason="this processor has no bfloat16 instructions")


def layer(bias: bool = True) -> Any:
    made = nn.utils.skip_init(nn.Linear, 24, 40, bias=bias)
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    return made.to(torch.bfloat16)


def given(rows: int) -> torch.Tensor:
    return torch.randn(1, rows, 24, generator=torch.Generator().manual_seed(1)).bfloat16()


@pytest.mark.parametrize("rows", [1, 7, 16])
@pytest.mark.parametrize("bias", [True, False])
def test_the_product_is_that_of_float32_rounded_once(rows, bias, monkeypatch):
    made = layer(bias)
    packed, used = Packed([made], torch.bfloat16), []
    original = _packed.Layout.holds
    monkeypatch.setattr(_packed.Layout, "holds", lambda self: used.append(self) or original(self))
    with torch.no_grad(), packed.over(rows):
        found = made(given(rows))
    assert used
    expected = nn.functional.linear(given(rows).double(), made.weight.double(), made.bias.double() if bias else None)
    assert ((found.double() - expected).abs() <= expected.abs() * 2**-8 + 1e-5).all()


def test_a_weight_that_was_changed_is_seen():
    made = layer()
    packed = Packed([made], torch.bfloat16)
    with torch.no_grad():
        made.weight.mul_(2)
        with packed.over(1):
            found = made(given(1))
        expected = nn.functional.linear(given(1), made.weight, made.bias)
        assert torch.equal(found, expected)
        made.weight = nn.Parameter(torch.ones_like(made.weight))
        with packed.over(1):
            assert torch.equal(made(given(1)), nn.functional.linear(given(1), made.weight, made.bias))


def test_it_goes_with_the_weight():
    made = layer()
    place = made.weight.data_ptr()
    packed = Packed([made], torch.bfloat16)
    assert place in _packed._layouts
    del made, packed
    gc.collect()
    assert place not in _packed._layouts


def test_it_stays_out_of_the_way():
    made = layer()
    packed = Packed([made], torch.bfloat16)
    with packed.over(1):
        assert made(given(1)).requires_grad
    with torch.no_grad(), packed.over(MANY + 1):
        assert "forward" not in vars(made)
    with pytest.raises(RuntimeError, match="stop"), torch.no_grad(), packed.over(1):
        assert "forward" in vars(made)
        raise RuntimeError("stop")
    assert "forward" not in vars(made)
    assert not layers_of(layer().float(), torch.bfloat16)


def test_a_compiled_step_uses_it(monkeypatch):
    torch._dynamo.reset()
    hf = build("llama", torch.bfloat16)
    adapter, plain, used = wrap(hf), wrap(build("llama", torch.bfloat16)), []
    adapter.upcast = Packed(layers_of(hf, torch.bfloat16), torch.bfloat16)
    adapter.compiled = CompiledStep(adapter, backend="eager")
    original = _packed.Layout.holds
    monkeypatch.setattr(_packed.Layout, "holds", lambda self: used.append(self) or original(self))
    ids = tokens(1, 12)
    with torch.no_grad():
        state, same = adapter(ids[:, :8], keep_state=True).state, plain(ids[:, :8], keep_state=True).state
        used.clear()
        found, expected = adapter(ids[:, 8:], state=state).logits, plain(ids[:, 8:], state=same).logits
    assert len(used) == 3 * 7 + 1
    # a different order of sums in bfloat16, through three layers
    assert float((found - expected).float().square().mean().sqrt()) <= 0.03 * float(expected.float().std())
    torch._dynamo.reset()
