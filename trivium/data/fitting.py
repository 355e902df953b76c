"""Documents of these lengths in rows of one length, as pieces: which tokens of which document stand where.

    concatenate  one after another; a document goes on in the next row
    best_fit     a document stays whole where it fits a row: each goes where it leaves the least room, longest first
                 (Ding et al. 2024, "Fewer Truncations Improve Language Modeling", arXiv:2404.10830). One longer than a
                 row fills rows by itself, and its rest is fitted like a document.

Every token of every document stands in exactly one place, either way; what is left of a row is padding.
"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Way = Literal["best_fit", "concatenate"]
Pieces = NDArray[np.int64]
"""(pieces, 5): row, column of the first token, tokens, document, and place within the document; by row and column."""


def fitted(way: Way, lengths: NDArray[np.int64], context: int) -> Pieces:
    """The pieces of documents of these lengths. Raises ValueError for another way or a context below 2 tokens."""
    if way not in get_args(Way):
        raise ValueError(f"documents are packed by {' or '.join(get_args(Way))}, got {way!r}")
    if context < 2:
        raise ValueError(f"a row needs at least 2 tokens to predict one from another, got context {context}")
    return _WAYS[way](lengths, context)


def _concatenate(lengths: NDArray[np.int64], context: int) -> Pieces:
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    starts = ends - lengths
    edges = np.unique(np.concatenate([starts[lengths > 0], np.arange(0, total, context)]))
    owner = np.searchsorted(ends, edges, "right")
    counts = np.diff(np.append(edges, total))
    return np.stack([edges // context, edges % context, counts, owner, edges - starts[owner]], axis=1)


def _best_fit(lengths: NDArray[np.int64], context: int) -> Pieces:
    whole, rest = np.divmod(lengths, context)
    full = np.repeat(np.arange(len(lengths)), whole)
    begins = (np.arange(len(full)) - np.repeat(np.cumsum(whole) - whole, whole)) * context
    pieces = [(row, 0, context, *piece) for row, piece in enumerate(zip(full.tolist(), begins.tolist(), strict=True))]
    rows = len(pieces)
    open_rows: dict[int, list[int]] = {}
    rooms = 0  # bit r: a row with room for r tokens is open
    order = np.argsort(-rest, kind="stable")
    for document in order[rest[order] > 0].tolist():
        count = int(rest[document])
        fitting = rooms >> count
        if fitting:
            room = count + (fitting & -fitting).bit_length() - 1
            row = open_rows[room].pop()
            if not open_rows[room]:
                rooms ^= 1 << room
        else:
            room, row, rows = context, rows, rows + 1
        pieces.append((row, context - room, count, document, int(whole[document]) * context))
        if room > count:
            open_rows.setdefault(room - count, []).append(row)
            rooms |= 1 << room - count
    return np.array(sorted(pieces), np.int64).reshape(-1, 5)


_WAYS: dict[str, Callable[[NDArray[np.int64], int], Pieces]] = {"concatenate": _concatenate, "best_fit": _best_fit}
