"""The hash that says which model a trained part belongs to."""

import copy

import torch

from tests.families import wrapped
from trivium.models.fingerprint import fingerprint


def test_the_same_weights_have_one_hash_in_any_format_and_others_another():
    model = wrapped("llama", torch.float32)
    assert fingerprint(model) == fingerprint(copy.deepcopy(model)) == fingerprint(copy.deepcopy(model).bfloat16())
    assert fingerprint(model) != fingerprint(wrapped("llama", torch.float32, seed=1))


def test_a_model_that_was_trained_meanwhile_is_another():
    model = wrapped("llama", torch.float32)
    before = fingerprint(model)
    optimizer = torch.optim.AdamW(model.parameters(), 0.1, fused=True)
    model(torch.tensor([[1, 2]])).logits.sum().backward()
    optimizer.step()
    assert fingerprint(model) != before
    assert fingerprint(model) == fingerprint(model)
