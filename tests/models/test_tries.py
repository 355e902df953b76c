"""Rows as tries: by hand, and against a slow walk."""

import random
from itertools import pairwise

import pytest
import torch

from trivium.models._tries import PASS, WIDE, Trie, common, stretches


def test_by_hand():
    """5 6 7 and 5 6 8 9 predict from their second token on, 5 from its first: so 5 and all below it stand last."""
    trie = Trie.of([(4, 1), (5, 6, 7), (5, 6, 8, 9)], [1, 1, 2])
    assert trie.tokens.tolist() == [4, 5, 1, 6, 7, 8, 9]
    assert trie.depths.tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert trie.kept == 5
    assert trie.places == ((2,), (3, 4), (5, 6))
    seen = [[at for at, yes in enumerate(row) if yes] for row in trie.visible.tolist()]
    assert seen == [[0], [1], [0, 2], [1, 3], [1, 3, 4], [1, 3, 5], [1, 3, 5, 6]]


def some(seed, count=40):
    draw = random.Random(seed)
    rows = sorted({tuple(draw.choices(range(3), k=draw.randint(1, 8))) for _ in range(count)})
    return rows, [draw.randrange(len(row)) for row in rows]


@pytest.mark.parametrize("seed", range(5))
def test_every_row_is_seen_from_its_end(seed):
    rows, firsts = some(seed)
    trie = Trie.of(rows, firsts)
    assert len(trie) == len({row[: end + 1] for row in rows for end in range(len(row))})
    assert not trie.visible.triu(1).any()  # a causal model never looks at what comes later
    for row, first, places in zip(rows, firsts, trie.places, strict=True):
        assert min(places) >= len(trie) - trie.kept
        path = trie.visible[places[-1]].nonzero()[:, 0]
        path = path[trie.depths[path].argsort()]
        assert tuple(trie.tokens[path].tolist()) == row
        assert trie.depths[path].tolist() == list(range(len(row)))
        assert tuple(path[first:].tolist()) == places


def cost(rows):
    size = len({row[: end + 1] for row in rows for end in range(len(row))})
    return PASS + size * (1 + size / WIDE)


@pytest.mark.parametrize(("nodes", "predictions"), [(1000, 1000), (12, 1000), (1000, 9), (1, 1)])
def test_stretches_cost_least(nodes, predictions):
    """Of all ways to part ten rows."""
    rows, firsts = some(3, 10)
    predicted = [len(row) - first for row, first in zip(rows, firsts, strict=True)]
    ways = []
    for bits in range(1 << (len(rows) - 1)):
        cuts = [0, *(at + 1 for at in range(len(rows) - 1) if bits >> at & 1), len(rows)]
        parts = [range(*pair) for pair in pairwise(cuts)]
        sizes = [len({row[: end + 1] for row in rows[p.start : p.stop] for end in range(len(row))}) for p in parts]
        if all(
            len(part) == 1 or (size <= nodes and sum(predicted[at] for at in part) <= predictions)
            for part, size in zip(parts, sizes, strict=True)
        ):
            ways.append(
                (sum(cost(rows[part.start : part.stop]) for part in parts), list(zip(sizes, parts, strict=True)))
            )
    found = stretches(rows, predicted, nodes, predictions)
    least = min(value for value, _ in ways)
    assert sum(cost(rows[part.start : part.stop]) for _, part in found) == pytest.approx(least)
    assert [size for size, _ in found] == [len(Trie.of([rows[n] for n in p], [0] * len(p))) for _, p in found]


def test_many_long_rows_that_share_nothing_stay_apart():
    rows = [(n, *range(2000)) for n in range(4)]
    assert stretches(rows, [1] * 4, 10_000, 10_000) == [(2001, range(n, n + 1)) for n in range(4)]


def test_common_beginnings():
    assert [common(*pair) for pair in (((), (1,)), ((1, 2), (1, 2, 3)), ((1, 2), (2, 2)), ((1, 2), (1, 3)))] == [
        0,
        2,
        0,
        1,
    ]


def test_it_takes_no_time_to_part_many_rows_that_are_nearly_alike():
    rows = [(1, 2, token) for token in range(3000)]
    found = stretches(rows, [1] * 3000, 400, 10_000)
    assert sum(len(part) for _, part in found) == 3000
    assert all(size <= 400 for size, _ in found)
    assert torch.tensor([size for size, _ in found]).sum() < 3000 + 3 * len(found)
