"""Random rows: their spread; and that they win the largest logit, which means inside the hull never do."""

import pytest
import torch

from tests.vocabulary.systems import native, new_tokenizer, small
from trivium.core.seeds import generator
from trivium.models.vocabulary import rows_of
from trivium.vocabulary.random import Random


def test_rows_have_the_spread_asked_for_whatever_the_old_ones_are():
    got = Random(std=3.0).transplant(native(), new_tokenizer(), generator=generator(0, "x"))
    rows = rows_of(got.system.model).embedding[(got.origin < 0)]
    assert rows.std().item() == pytest.approx(3.0, rel=0.1)
    assert abs(rows.mean().item()) < 0.3
    assert got.report.outside == got.report.new


def test_a_long_random_row_takes_over_the_output():
    system = small([*"abcdefgh"])
    grown = Random(std=1000.0)(system, small([*"abcdefgh", "ij", "kl"]).tokenizer, generator=generator(0, "x"))
    assert (grown.model(torch.arange(8)[None]).logits.argmax(-1) >= 8).any()


def test_rows_of_zeros_are_refused():
    with pytest.raises(ValueError, match="std must be positive"):
        Random(std=0.0)
    with pytest.raises(ValueError, match="match must be one of"):
        Random(match="near")
