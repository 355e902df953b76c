"""Multivariate rows: covariance of the old ones, scaled."""

import pytest
import torch

from tests.vocabulary.systems import small
from trivium.core.seeds import generator
from trivium.models.vocabulary import rows_of
from trivium.vocabulary.multivariate import Multivariate


def drawn(scale, count=4000):
    system = small([*"abcdefghijkl"], width=4)
    tokens = [*"abcdefghijkl", *(f"{n}x" for n in range(1000, 1000 + count))]
    rows = rows_of(Multivariate(scale)(system, small(tokens, width=4).tokenizer, generator=generator(0, "x")).model)
    return rows_of(system.model).embedding.double(), rows.embedding[12:].double()


def test_mean_and_covariance_are_those_of_the_old_rows():
    old, new = drawn(1.0)
    wanted = torch.cov(old.T, correction=0)
    torch.testing.assert_close(torch.cov(new.T), wanted, atol=0.1 * float(wanted.diagonal().max()), rtol=0)
    torch.testing.assert_close(new.mean(0), old.mean(0), atol=0.06 * float(old.std()), rtol=0)
    assert torch.corrcoef(old.T).tril(-1).abs().max() > 0.3  # there is something to keep


def test_the_scale_is_one_of_variances():
    wide, narrow = drawn(1.0, 500)[1], drawn(0.01, 500)[1]
    torch.testing.assert_close(narrow.std(0), wide.std(0) / 10, rtol=1e-3, atol=0)
    assert drawn(0.0, 3)[1].std(0).max() < 1e-6


def test_equal_rows_have_no_covariance():
    system = small(["a", "b"], width=4)
    with torch.no_grad():
        system.model.embedding.weight[1] = system.model.embedding.weight[0]
    rows = rows_of(Multivariate()(system, small(["a", "cd"], width=4).tokenizer, generator=generator(0, "x")).model)
    torch.testing.assert_close(rows.embedding[1], rows.embedding[0])
    with pytest.raises(ValueError, match="variance"):
        Multivariate(scale=-1.0)
