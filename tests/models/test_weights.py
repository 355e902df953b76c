"""Weights by name: what a model adds to its stream is what its matrices say, on every family."""

import pytest
import torch
from torch import nn

from tests.families import ATTENTION_FAMILIES, WIDTH, build, wrapped
from trivium.core.errors import NotOffered
from trivium.core.method import find
from trivium.models import weights
from trivium.models._int8 import quantise
from trivium.models.huggingface import wrap
from trivium.models.slots import LayerNorm, RMSNorm, SimpleRMSNorm
from trivium.models.weights import Norm

IDS = torch.tensor([[7, 3, 11, 3, 2, 12, 5, 1]])
LOOSE = 2e-6
"""Norms of Hugging Face models run in float32, in a float64 model too."""


def made(name):
    if name.startswith("native "):
        return find("architectures", name.removeprefix("native "))(kv_heads=2).build(64).double().eval()
    return wrapped(name)


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", [*ATTENTION_FAMILIES, "native llama", "native pangu", "native polycom"])
def test_values_weights_and_outputs_make_up_what_the_attention_adds(name):
    model = made(name)
    for layer in range(model.depth):
        block = f"blocks.{layer}."
        with (
            torch.no_grad(),
            model.capture(*(block + s for s in ("in", "attn.norm", "attn.weights", "attn.out"))) as seen,
        ):
            model(IDS)
        read = weights.norm(model, block + "attn.norm")(seen[block + "in"])
        torch.testing.assert_close(read, seen[block + "attn.norm"], atol=LOOSE, rtol=LOOSE)
        total = torch.zeros_like(read)
        bias = weights.value_bias(model, layer)
        for head in range(weights.heads(model, layer)):
            v = read @ weights.value_matrix(model, layer, head).T
            v = v if bias is None else v + bias[head]
            pattern = seen[block + "attn.weights"][:, head].double()
            total = total + pattern @ v @ weights.output_matrix(model, layer, head).T
        if (shared := weights.output_bias(model, layer)) is not None:
            total = total + shared
        if (behind := weights.norm_behind(model, layer)) is not None:
            total = behind(total)
        torch.testing.assert_close(total, seen[block + "attn.out"], atol=10 * LOOSE, rtol=10 * LOOSE)


@pytest.mark.parametrize("name", ATTENTION_FAMILIES)
def test_other_norms_too(name):
    model = wrapped(name)
    end = model.depth - 1
    middle = "blocks.1.in" if name == "gpt_neox" else "blocks.1.mid"
    with torch.no_grad(), model.capture(middle, "blocks.1.mlp.norm", f"blocks.{end}.out", "final.norm") as seen:
        model(IDS)
    for site, source in (("blocks.1.mlp.norm", middle), ("final.norm", f"blocks.{end}.out")):
        got = weights.norm(model, site)(seen[source])
        torch.testing.assert_close(got, seen[site], atol=LOOSE, rtol=LOOSE)
        assert weights.norm_gain(model, site).shape == (WIDTH,)


def test_heads_of_a_group_read_the_same_values():
    """Four heads, two groups: heads 0 and 1 read the first, 2 and 3 the second."""
    model = wrapped("llama")
    held = model.inner.model.layers[1].self_attn
    for head in range(4):
        group = head // 2
        expected = held.v_proj.weight[8 * group : 8 * group + 8]
        torch.testing.assert_close(weights.value_matrix(model, 1, head), expected, atol=0, rtol=0)
        expected = held.o_proj.weight[:, 8 * head : 8 * head + 8]
        torch.testing.assert_close(weights.output_matrix(model, 1, head), expected, atol=0, rtol=0)
    assert weights.values(model, 1).shape == (4, 8, WIDTH)
    assert weights.value_bias(model, 1) is None
    assert weights.output_bias(model, 1) is None


def test_a_gain_stored_less_one_is_given_whole():
    model = wrapped("gemma")
    stored = model.inner.model.layers[0].input_layernorm.weight
    torch.testing.assert_close(weights.norm_gain(model, "blocks.0.attn.norm"), 1 + stored, atol=0, rtol=0)
    assert weights.norm_behind(model, 0) is not None
    assert weights.norm_behind(wrapped("llama"), 0) is None


@pytest.mark.parametrize("width", [2, 5, 8, 33])
@pytest.mark.parametrize("kind", [RMSNorm, LayerNorm, SimpleRMSNorm, nn.LayerNorm, nn.RMSNorm])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_a_norm_does_is_found_out(kind, width, dtype):
    module = SimpleRMSNorm(eps=1e-6) if kind is SimpleRMSNorm else kind(width, eps=1e-3)
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.copy_(rand(width, seed=seed) + (2 if seed == 0 else 0))
    found = weights._probed(module.to(dtype), width)
    assert found.eps == pytest.approx(1e-6 if kind is SimpleRMSNorm else 1e-3)
    assert found.centred == (kind in (LayerNorm, nn.LayerNorm))
    assert (found.bias is not None) == found.centred
    x = rand(4, width, seed=9).to(dtype)
    limit = 0.05 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(found.double()(x.double()), module(x).double(), atol=limit, rtol=limit)


def test_a_norm_by_hand():
    """Mean square of (3, 4) is 12.5; about their mean the deviation is 0.5."""
    plain = Norm(torch.tensor([1.0, 2.0]), None, 0.0, False)
    torch.testing.assert_close(plain(torch.tensor([3.0, 4.0])), torch.tensor([3.0, 8.0]) / 12.5**0.5)
    centred = Norm(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0]), 0.0, True)
    torch.testing.assert_close(centred(torch.tensor([3.0, 4.0])), torch.tensor([-1.0, 3.0]))
    assert Norm(torch.ones(2), None, 0.75, True).scale(torch.tensor([3.0, 4.0])).item() == pytest.approx(1.0)


def test_probing_a_norm_wakes_no_hook():
    model, calls = wrapped("llama"), []
    with model.edit({"blocks.0.attn.norm": lambda x: calls.append(1) or x}):
        weights.norm(model, "blocks.0.attn.norm")
        assert not calls
        model(IDS)
    assert calls == [1]


def test_eight_bit_weights_are_widened():
    plain = wrapped("gpt2", torch.bfloat16)
    held = wrap(quantise(build("gpt2", torch.bfloat16)))
    for read in (weights.value_matrix, weights.output_matrix):
        wide = read(plain, 0, 1).float()
        assert (read(held, 0, 1).float() - wide).abs().max() < 0.02 * wide.abs().max()


def test_what_a_model_lacks_is_named():
    with pytest.raises(NotOffered, match=r"layer 0 of this HuggingFaceModel has no 'attn\.v'"):
        weights.value_matrix(wrapped("mamba"), 0, 0)
    model = wrapped("llama")
    with pytest.raises(ValueError, match="layer 3 is none of the 3"):
        weights.output_matrix(model, 3, 0)
    with pytest.raises(ValueError, match="layer -1 is none"):
        weights.value_matrix(model, -1, 0)
    for head in (4, -1):
        with pytest.raises(ValueError, match=f"head {head} is none of the 4"):
            weights.value_matrix(model, 0, head)
    with pytest.raises(NotOffered, match=r"no norm at 'blocks\.9\.attn\.norm'"):
        weights.norm(model, "blocks.9.attn.norm")
    with pytest.raises(NotOffered, match="is no norm by the root mean square"):
        weights.norm(model, "blocks.0.mlp.act")
    model.inner.model.layers[0].self_attn.o_proj = nn.Sequential(model.inner.model.layers[0].self_attn.o_proj)
    with pytest.raises(NotOffered, match="made by a Sequential, which is no matrix"):
        weights.output_matrix(model, 0, 0)
