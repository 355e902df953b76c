"""The mean row: by hand, in the hull, and harmless to greedy output."""

import pytest
import torch

from tests.vocabulary.hull import residual
from tests.vocabulary.systems import native, new_tokenizer, small
from trivium.core.seeds import generator
from trivium.models.vocabulary import rows_of
from trivium.vocabulary.mean import Mean


def test_the_row_is_the_mean_and_untied_heads_have_their_own():
    system = small(["a", "b", "c"], tied=False)
    got = rows_of(Mean(jitter=0.0)(system, small(["c", "de", "a"]).tokenizer, generator=generator(0, "x")).model)
    torch.testing.assert_close(got.embedding[1], rows_of(system.model).embedding.mean(0))
    torch.testing.assert_close(got.head[1], rows_of(system.model).head.mean(0))


def test_jitter_tells_rows_apart_within_the_hull():
    system = native()
    got = Mean().transplant(system, new_tokenizer(), generator=generator(0, "x"))
    rows = rows_of(got.system.model).embedding
    fresh = rows[got.origin < 0]
    assert len(fresh.unique(dim=0)) > len(fresh) / 2
    old = rows_of(system.model).embedding[: system.tokenizer.vocab_size]
    assert residual(fresh[:5].double().numpy(), old.double().numpy()) < 1e-4
    same = Mean(jitter=0.0).transplant(system, new_tokenizer(), generator=generator(0, "x"))
    assert len(rows_of(same.system.model).embedding[same.origin < 0].unique(dim=0)) == 1


def test_jitter_is_a_share():
    with pytest.raises(ValueError, match="jitter"):
        Mean(jitter=1.0)
