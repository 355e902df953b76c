"""Numbers by row: against whole numbers of Python, free of the batch and of padding, and uniform."""

import pytest
import torch

from trivium.core.seeds import generator
from trivium.nn.uniform_by_row import uniform_by_row, uniform_by_row_reference


def tokens(rows=3, time=9, vocab=300):
    return torch.randint(vocab, (rows, time), generator=generator(0, "tokens"))


@pytest.mark.parametrize("seed", [0, 1, 2**62 - 1])
@pytest.mark.parametrize("alike", [False, True])
def test_equals_the_reference_bit_by_bit(seed, alike):
    real = torch.ones(3, 9, dtype=torch.bool)
    real[0, :4] = real[1, 3:5] = real[2, -2:] = False
    for mask in (None, real):
        found, expected = (
            draw(tokens(), mask, seed=seed, fields=3, alike=alike)
            for draw in (uniform_by_row, uniform_by_row_reference)
        )
        assert torch.equal(found, expected)
        assert found.dtype == torch.float64


def test_a_row_is_drawn_for_as_alone_whatever_its_padding():
    ids = tokens()
    real = torch.ones(3, 9, dtype=torch.bool)
    real[0, :4] = real[1, 3:5] = real[2, -2:] = False
    whole = uniform_by_row(ids, real, seed=5, fields=2)
    for row in range(3):
        alone = uniform_by_row(ids[row, real[row]][None], seed=5, fields=2)
        assert torch.equal(whole[:, row, : alone.shape[-1]], alone[:, 0])
    other = torch.where(real, ids, 7)
    assert torch.equal(uniform_by_row(other, real, seed=5, fields=2), whole)


def test_seed_row_order_and_field_all_matter_unless_rows_are_alike():
    ids = tokens(1)
    base = uniform_by_row(ids, seed=5, fields=2)
    turned, other = ids.flip(1), torch.cat([ids[:, :-1], ids[:, -1:] + 1], 1)
    for changed in (
        uniform_by_row(ids, seed=6, fields=2),
        uniform_by_row(turned, seed=5, fields=2),
        uniform_by_row(other, seed=5, fields=2),
        base.flip(0),
    ):
        assert not (changed == base).any()
    same = uniform_by_row(torch.cat([ids, turned]), seed=5, fields=2, alike=True)
    assert torch.equal(same[:, 0], same[:, 1])
    assert not torch.equal(same[:, 0], base[:, 0])


def test_numbers_are_uniform_and_do_not_hang_together():
    """256 000 draws: means and correlations within five standard errors, every cell of 16 x 16 about as full."""
    u = uniform_by_row(tokens(1000, 128), seed=3, fields=2)
    assert (u >= 0).all()
    assert (u < 1).all()
    count = u.numel()
    assert abs(float(u.mean()) - 0.5) < 5 * (1 / 12 / count) ** 0.5
    centred = (u - 0.5) * 12**0.5
    neighbours = (
        centred[:, :, 1:] * centred[:, :, :-1],
        centred[:, 1:] * centred[:, :-1],
        centred[0] * centred[1],
    )
    for product in neighbours:
        assert abs(float(product.mean())) < 5 / product.numel() ** 0.5
    cells = torch.bincount((16 * (16 * u[0]).long() + (16 * u[1]).long()).flatten(), minlength=256).double()
    expected = count / 2 / 256
    statistic = float(((cells - expected) ** 2 / expected).sum())
    assert abs(statistic - 255) < 5 * (2 * 255) ** 0.5  # chi-square with 255 degrees of freedom
