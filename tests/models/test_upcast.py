"""bfloat16 weights are multiplied in float32 where several positions share them, and nothing else changes."""

import pytest
import torch
from torch import nn

from tests.families import build
from tests.models.test_huggingface import tokens
from trivium.models import _upcast
from trivium.models._upcast import LEAST, Upcast
from trivium.models.huggingface import wrap


@pytest.fixture
def emulated(monkeypatch):
    """A processor without bfloat16 instructions, whatever the tests run on."""
    monkeypatch.setattr(_upcast, "emulated", lambda: True)


def layer(bias: bool = True, dtype=torch.bfloat16) -> nn.Linear:
    generator = torch.Generator().manual_seed(0)
    made = nn.utils.skip_init(nn.Linear, 24, 40, bias=bias)
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return made.to(dtype)


@pytest.mark.parametrize("piece", [24 * 40, 24 * 7, 5])
@pytest.mark.parametrize("bias", [True, False])
def test_the_product_is_that_of_float32_rounded_once(emulated, monkeypatch, piece, bias):
    monkeypatch.setattr(_upcast, "PIECE", piece)
    made = layer(bias)
    given = torch.randn(2, 3, 24, generator=torch.Generator().manual_seed(1)).bfloat16()
    with torch.no_grad():
        with Upcast(made).over(6):
            found = made(given)
        expected = nn.functional.linear(
            given.double(), made.weight.double(), made.bias.double() if made.bias is not None else None
        )
    assert found.dtype == torch.bfloat16
    error = (found.double() - expected).abs()
    assert (error <= expected.abs() * 2**-8 + 1e-5).all()


def test_it_is_used_only_where_it_pays(emulated, monkeypatch):
    used = []
    monkeypatch.setattr(_upcast.Wide, "__call__", lambda self, given: used.append(given.shape) or given)
    made = layer()
    upcast = Upcast(made)
    with torch.no_grad():
        with upcast.over(LEAST - 1):
            made(torch.zeros(1, 24, dtype=torch.bfloat16))
        assert not used
        with upcast.over(LEAST):
            made(torch.zeros(LEAST, 24, dtype=torch.bfloat16))
        made(torch.zeros(LEAST, 24, dtype=torch.bfloat16))
    assert len(used) == 1
    with upcast.over(LEAST):
        assert made(torch.zeros(LEAST, 24, dtype=torch.bfloat16)).requires_grad
    assert len(used) == 1
    assert not Upcast(layer(dtype=torch.float32)).layers


def test_processors_with_instructions_are_left_alone(monkeypatch):
    monkeypatch.setattr(_upcast, "emulated", lambda: False)
    assert not Upcast(layer()).layers


def test_the_layer_is_as_before_after_an_exception(emulated):
    made = layer()
    with pytest.raises(RuntimeError, match="stop"), torch.no_grad(), Upcast(made).over(9):
        assert "forward" in vars(made)
        raise RuntimeError("stop")
    assert "forward" not in vars(made)


def test_a_model_in_bfloat16_sees_its_hooks_and_gives_nearly_the_same(emulated):
    adapter = wrap(build("llama").to(torch.bfloat16))
    assert adapter.upcast.layers
    ids = tokens(2, 9)
    with torch.no_grad():
        with adapter.capture("blocks.1.mlp.out") as seen:
            found = adapter(ids).logits
        adapter.upcast.layers = []
        plain = adapter(ids).logits
    assert seen["blocks.1.mlp.out"].shape == (2, 9, 32)
    torch.testing.assert_close(found, plain, rtol=0.05, atol=0.02)
