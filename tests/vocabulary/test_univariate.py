"""Univariate rows: mean and spread of each coordinate, without padding rows."""

import pytest
import torch

from tests.vocabulary.systems import small
from trivium.core.seeds import generator
from trivium.models.vocabulary import rows_of
from trivium.vocabulary._frame import normal
from trivium.vocabulary.univariate import Univariate


def test_mean_and_spread_are_those_of_the_real_rows():
    source = torch.tensor([[0.0, 10.0], [2.0, 10.0]], dtype=torch.float64)
    rows = normal(20000, generator(0, "x"))(source)
    torch.testing.assert_close(rows.mean(0), torch.tensor([1.0, 10.0], dtype=torch.float64), atol=0.03, rtol=0)
    torch.testing.assert_close(rows.std(0), torch.tensor([1.0, 0.0], dtype=torch.float64), atol=0.03, rtol=0)
    assert normal(20000, generator(0, "x"), unbiased=True)(source).std(0)[0].item() == pytest.approx(2**0.5, rel=0.02)


def test_coordinates_are_drawn_by_themselves():
    source = torch.tensor([[1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    rows = normal(20000, generator(0, "x"))(source)
    assert abs(torch.corrcoef(rows.T)[0, 1].item()) < 0.03


def test_embedding_and_head_are_drawn_from_their_own_rows():
    system = small([*"abcdefgh"], tied=False)
    with torch.no_grad():
        system.model.head.weight.add_(1000)
    tokens = [*"abcdefgh", *(f"{n}x" for n in range(100, 160))]
    rows = rows_of(Univariate()(system, small(tokens).tokenizer, generator=generator(0, "x")).model)
    assert rows.head[8:].mean().item() == pytest.approx(1000, rel=0.01)
    assert abs(rows.embedding[8:].mean().item()) < 10
