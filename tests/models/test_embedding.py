"""Texts as vectors: by hand, in any batch, from any layer."""

import logging

import pytest
import torch

from tests.compare.fakes import Uniform
from trivium.architectures.llama import Llama
from trivium.architectures.transnormer import TransNormer
from trivium.core.errors import NotFinite, NotOffered
from trivium.models.embedding import embed
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

TEXTS = ["one two three", "a", "quite long a text, and longer yet", "b c"]


def native(recipe=None):
    recipe = recipe or Llama(width=16, heads=2, context=48, depth=3)
    return System(recipe.build(259).double().eval(), ByteTokenizer(), "native")


def states(system, text, site=None):
    with torch.no_grad(), system.model.capture(*([site] if site else [])) as seen:
        hidden = system.model(system.prompt(text)).hidden
    return (seen[site] if site else hidden)[0, 1:]  # without <bos>


@pytest.mark.parametrize("recipe", [None, TransNormer(width=16, heads=2)])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_each_pooling_in_any_batch(recipe, batch_size):
    system = native(recipe)
    for pooling, by_hand in {
        "mean": lambda each: each.mean(0),
        "last": lambda each: each[-1],
        "weighted": lambda each: sum((n + 1) * row for n, row in enumerate(each)) / sum(range(1, len(each) + 1)),
    }.items():
        found = embed(system, TEXTS, pooling=pooling, batch_size=batch_size)
        assert found.shape == (4, 16)
        for text, vector in zip(TEXTS, found, strict=True):
            torch.testing.assert_close(vector, by_hand(states(system, text)), atol=1e-9, rtol=0)


def test_a_layer_s_stream():
    system = native()
    for layer, site in ((0, "blocks.0.out"), (-1, "blocks.2.out")):
        found = embed(system, TEXTS, layer=layer)
        torch.testing.assert_close(found[1], states(system, "a", site).mean(0), atol=1e-9, rtol=0)
    with pytest.raises(ValueError, match="layer 3 is none of the 3 of native"):
        embed(system, TEXTS, layer=3)
    with pytest.raises(NotOffered, match="uniform does not show the stream behind its layers"):
        embed(System(Uniform(), ByteTokenizer(), "uniform"), TEXTS, layer=0)


def test_a_long_text_is_cut_and_told(caplog):
    system = native()
    with caplog.at_level(logging.WARNING):
        found = embed(system, ["x" * 60, "a"], pooling="last")
    assert "1 of 2 texts are longer than the 48 tokens of native and are cut" in caplog.text
    torch.testing.assert_close(found[0], states(system, "x" * 47)[-1], atol=1e-9, rtol=0)


def test_half_precision_is_pooled_in_float32_and_training_goes_on():
    system = native()
    system.model.bfloat16().train()
    assert embed(system, TEXTS).dtype == torch.float32
    assert system.model.training


def test_what_embeds_by_itself_is_asked():
    class Ones:
        def embedded(self, texts, *, pooling, layer, batch_size):
            return torch.ones(len(texts), 2)

    assert embed(Ones(), TEXTS).shape == (4, 2)


def test_bad_input_is_named():
    system = native()
    with pytest.raises(ValueError, match="there is no text to embed"):
        embed(system, [])
    with pytest.raises(ValueError, match="text 1 is empty"):
        embed(system, ["a", ""])
    with pytest.raises(ValueError, match="pooling must be one of mean, last, weighted"):
        embed(system, TEXTS, pooling="max")
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        embed(system, TEXTS, batch_size=0)
    with torch.no_grad():
        system.model.head.weight[:] = float("nan")
        for parameter in system.model.parameters():
            parameter[:] = float("nan")
    with pytest.raises(NotFinite, match="native gives text 2, 'quite long a text, and longer yet', a vector"):
        embed(system, TEXTS, batch_size=1)
