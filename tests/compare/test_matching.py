"""Recipes are brought to one size, and what cannot be is said."""

import pytest
import torch

from trivium.architectures.gpt import GPT
from trivium.architectures.h3 import H3
from trivium.architectures.llama import Llama
from trivium.architectures.ngram_heads import NgramHeads
from trivium.architectures.transnormer import TransNormer
from trivium.compare.matching import matched, operations, parameters
from trivium.core.meter import count_flops

VOCAB = 61
RECIPES = [Llama(width=32, hidden=100), TransNormer(width=32), GPT(width=32, context=64), H3(width=32, states=8)]


def test_parameters_without_the_tables():
    model = Llama(width=32, hidden=100, tied=False).build(VOCAB)
    assert parameters(model) == sum(p.numel() for p in model.parameters()) - 2 * VOCAB * 32
    assert parameters(Llama(width=32, hidden=100).build(VOCAB)) == parameters(model)


def test_sizes_are_equal_and_nothing_but_the_width_inside_is_changed():
    sizes = [parameters(recipe.build(VOCAB)) for recipe in matched(RECIPES, VOCAB)]
    assert max(sizes) / min(sizes) < 1.02
    assert max(parameters(recipe.build(VOCAB)) for recipe in RECIPES) / sizes[0] > 1.1  # which was not so before
    for before, after in zip(RECIPES, matched(RECIPES, VOCAB), strict=True):
        changed = {name for name in vars(before) if getattr(before, name) != getattr(after, name)}
        assert changed <= {"hidden"}


def test_operations_are_those_that_are_counted():
    with torch.no_grad():
        for recipe in matched(RECIPES, VOCAB, by="flops", length=48):
            model, tokens = recipe.build(VOCAB), torch.zeros(1, 48, dtype=torch.int64)
            assert count_flops(lambda m=model, t=tokens: m(t)) == pytest.approx(operations(model, 48), rel=0.01)
            assert operations(model, 48) == pytest.approx(operations(RECIPES[0].build(VOCAB), 48), rel=0.02)


def test_the_nearest_width_is_taken():
    (_, found) = matched([Llama(width=32, hidden=100), Llama(width=32, hidden=7)], VOCAB)
    assert found.hidden == 100


def test_what_cannot_be_matched_is_said():
    with pytest.raises(ValueError, match=r"ngram_heads.* has no field 'hidden' to bring its parameters to"):
        matched([Llama(), NgramHeads()], VOCAB)
    with pytest.raises(ValueError, match=r"at hidden=1, which is not within 2% of .*; change its width or depth"):
        matched([Llama(width=8, heads=2, hidden=8), Llama(width=64)], VOCAB)
    with pytest.raises(ValueError, match="by must be one of parameters, flops; got 'bytes'"):
        matched([Llama()], VOCAB, by="bytes")
