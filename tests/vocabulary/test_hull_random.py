"""Random hull points: weights by the limits, membership, and the same mean for both ends."""

import pytest
import torch

from tests.vocabulary.hull import residual
from tests.vocabulary.systems import native, new_tokenizer, small
from trivium.core.seeds import generator
from trivium.models.vocabulary import rows_of
from trivium.vocabulary.hull_random import HullRandom


def test_rows_are_in_the_hull():
    system = native()
    got = HullRandom().transplant(system, new_tokenizer(), generator=generator(0, "x"))
    old = rows_of(system.model).embedding[: system.tokenizer.vocab_size].double().numpy()
    fresh = rows_of(got.system.model).embedding[got.origin < 0].double().numpy()
    assert residual(fresh[:10], old) < 1e-4
    assert residual(2 * fresh[:3], old) > 1e-2  # the measure tells


def test_one_row_is_a_copy_and_a_large_alpha_an_even_mean():
    system, tokenizer = small([*"abcd"]), small([*"abcd", "xy", "zw"]).tokenizer
    old = rows_of(system.model).embedding
    one = rows_of(HullRandom(k=1)(system, tokenizer, generator=generator(0, "x")).model).embedding[4]
    assert (old == one).all(1).any()
    even = rows_of(HullRandom(k=9, alpha=1e9)(system, tokenizer, generator=generator(0, "x")).model).embedding[5]
    torch.testing.assert_close(even, old.mean(0), rtol=1e-3, atol=1e-3)


def test_embedding_and_head_are_the_same_mean():
    system, tokenizer = small([*"abcd"], tied=False), small([*"abcd", "xy"]).tokenizer
    with torch.no_grad():
        system.model.head.weight.copy_(2 * system.model.embedding.weight)
    rows = rows_of(HullRandom(k=3)(system, tokenizer, generator=generator(0, "x")).model)
    torch.testing.assert_close(rows.head[4], 2 * rows.embedding[4])


def test_bad_settings():
    for settings in ({"k": 0}, {"alpha": 0.0}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            HullRandom(**settings)
