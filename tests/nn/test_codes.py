"""Unique codes and pairs by hand, and against sets."""

import itertools

import pytest
import torch

from trivium.nn.codes import present, unique_codes, unique_pairs, votes

CODES = torch.tensor([[0, 2], [1, 2], [1, 0], [0, 0], [0, 1]])
POSITIVE = torch.tensor([True, True, True, False, False])


def drawn(prompts=12, heads=5, size=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, size, (prompts, heads), generator=generator), torch.arange(prompts) < prompts // 2


def test_by_hand():
    """Head 0 has 0 and 1 on positives and 0 on negatives; head 1 has 2 and 0, and 0 and 1."""
    unique, every = unique_codes(CODES, POSITIVE, 3)
    assert unique.tolist() == [1.0, 1.0]
    assert every.tolist() == [2.0, 3.0]
    pairs, all_pairs = unique_pairs(CODES, POSITIVE, 3)
    assert pairs.tolist() == [[0.0, 3.0], [3.0, 0.0]]
    assert all_pairs.tolist() == [[0.0, 5.0], [5.0, 0.0]]
    # each of the three has code 1 of head 0 or code 2 of head 1, which tell by themselves
    assert unique_pairs(CODES, POSITIVE, 3, beyond_nodes=True)[0].tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_two_heads_that_tell_only_together():
    """Each code is seen with both sorts; equal codes are of positives."""
    codes = torch.tensor([[0, 0], [1, 1], [0, 1], [1, 0]])
    positive = torch.tensor([True, True, False, False])
    assert unique_codes(codes, positive, 2)[0].tolist() == [0.0, 0.0]
    for beyond in (False, True):
        assert unique_pairs(codes, positive, 2, beyond_nodes=beyond)[0].tolist() == [[0.0, 2.0], [2.0, 0.0]]


def test_the_silent_code_counts_as_one():
    codes = torch.tensor([[-1], [0], [0]])
    assert present(codes, 2).tolist() == [[True, True, False]]
    unique, every = unique_codes(codes, torch.tensor([True, False, False]), 2)
    assert (unique.item(), every.item()) == (1.0, 2.0)


@pytest.mark.parametrize("seed", range(3))
def test_they_are_what_sets_give(seed):
    codes, positive = drawn(seed=seed)
    unique, every = unique_codes(codes, positive, 4)
    pairs, all_pairs = unique_pairs(codes, positive, 4)
    beyond, _ = unique_pairs(codes, positive, 4, beyond_nodes=True)
    alone = []
    for head in range(5):
        here, there = set(codes[positive, head].tolist()), set(codes[~positive, head].tolist())
        assert unique[head] == len(here - there)
        assert every[head] == len(here | there)
        alone.append(here - there)
    for one, other in itertools.product(range(5), repeat=2):
        here = {tuple(row) for row in codes[positive][:, [one, other]].tolist()}
        there = {tuple(row) for row in codes[~positive][:, [one, other]].tolist()}
        if one == other:
            assert pairs[one, other] == all_pairs[one, other] == 0
            continue
        assert pairs[one, other] == len(here - there)
        assert all_pairs[one, other] == len(here | there)
        left = [pair for pair in here - there if pair[0] not in alone[one] and pair[1] not in alone[other]]
        assert beyond[one, other] == len(left)


def test_votes_by_hand():
    pairs = torch.tensor([[0.0, 5.0, 1.0], [4.0, 0.0, 2.0], [0.0, 3.0, 0.0]])
    # in order 0-1, 1-0, 2-1, 1-2, 0-2: each is two entries of a list
    assert votes(pairs, 1).tolist() == [1.0, 0.0, 0.0]
    assert votes(pairs, 4).tolist() == [2.0, 2.0, 0.0]
    assert votes(pairs, 8).tolist() == [2.0, 4.0, 2.0]
