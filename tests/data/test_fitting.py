"""Every token stands in one place, and rows are as full as they may be."""

import numpy as np
import pytest

from trivium.data.fitting import fitted


def lengths(seed, count=60, most=40):
    return np.random.default_rng(seed).integers(0, most, count)


def filled(pieces, context):
    """Row -> what stands in its columns, as (document, token)."""
    rows = {}
    for row, column, count, document, begin in pieces.tolist():
        assert count > 0
        assert column + count <= context
        there = rows.setdefault(row, [])
        assert len(there) == column, "pieces of a row stand one behind the other"
        there += [(document, begin + at) for at in range(count)]
    assert sorted(rows) == list(range(len(rows)))
    return rows


@pytest.mark.parametrize("way", ["best_fit", "concatenate"])
@pytest.mark.parametrize("context", [2, 7, 16, 64])
def test_every_token_stands_in_exactly_one_place(way, context):
    for seed in range(4):
        given = lengths(seed)
        rows = filled(fitted(way, given, context), context)
        placed = sorted(token for row in rows.values() for token in row)
        assert placed == [(document, token) for document, n in enumerate(given.tolist()) for token in range(n)]


def test_concatenated_rows_are_the_documents_cut_at_the_context():
    given = lengths(1)
    flat = [(document, token) for document, n in enumerate(given.tolist()) for token in range(n)]
    rows = filled(fitted("concatenate", given, 9), 9)
    assert [rows[number] for number in sorted(rows)] == [flat[at : at + 9] for at in range(0, len(flat), 9)]


def test_best_fit_by_hand():
    """9 opens a row, 6 another; 4 fits behind the 6; 3 opens one; 1 goes where room for 1 is left, not for 7."""
    pieces = fitted("best_fit", np.array([4, 9, 3, 6, 1, 23]), 10)
    assert pieces.tolist() == [
        [0, 0, 10, 5, 0], [1, 0, 10, 5, 10],
        [2, 0, 9, 1, 0], [2, 9, 1, 4, 0],
        [3, 0, 6, 3, 0], [3, 6, 4, 0, 0],
        [4, 0, 3, 2, 0], [4, 3, 3, 5, 20],
    ]  # fmt: skip


def test_best_fit_cuts_only_what_is_longer_than_a_row_and_pads_little():
    given = lengths(2, count=400, most=30)
    pieces = fitted("best_fit", given, 32)
    _, parts = np.unique(pieces[:, 3], return_counts=True)
    assert (parts == 1).all()
    assert pieces[:, 2].sum() / ((pieces[-1, 0] + 1) * 32) > 0.95
    _, parts = np.unique(fitted("concatenate", given, 32)[:, 3], return_counts=True)
    assert (parts > 1).sum() > 100, "which concatenation cuts"


@pytest.mark.parametrize("way", ["best_fit", "concatenate"])
def test_nothing_gives_nothing(way):
    assert fitted(way, np.zeros(0, np.int64), 8).shape == (0, 5)
    assert fitted(way, np.zeros(3, np.int64), 8).shape == (0, 5)


def test_bad_input():
    with pytest.raises(ValueError, match="by best_fit or concatenate, got 'first'"):
        fitted("first", np.array([1]), 8)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got context 1"):
        fitted("best_fit", np.array([1]), 1)
