"""Ancestral sampling: the law, the limits and the streams."""

from itertools import pairwise

import pytest
import torch

from tests.decoding.models import Table, tiny
from trivium.core.nouns import Stop
from trivium.decoding._certificate import chi_square
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling

GENERATOR = torch.Generator


def test_the_joint_of_two_tokens_is_the_models():
    table = 1.5 * torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prompt = torch.zeros(4000, 1, dtype=torch.int64)
    made = Sampling(temperature=0.8)(Table(table), prompt, limit=2, generator=torch.Generator().manual_seed(0))
    law = (table / 0.8).softmax(-1)
    joint = (law[0][:, None] * law).reshape(-1)
    counts = torch.bincount(made.ids[:, 0] * 4 + made.ids[:, 1], minlength=16).double()
    assert chi_square(counts, joint)[2] > 1e-3
    assert chi_square(counts, (table.softmax(-1)[0][:, None] * law).reshape(-1))[2] < 1e-3  # forgot the temperature


def test_temperature_zero_is_greedy_and_cold_is_nearly():
    prompt = torch.tensor([[1, 5, 6, 7]])
    plain = Greedy()(tiny(), prompt, limit=12, generator=torch.Generator()).ids
    for temperature in (0.0, 1e-4):
        assert torch.equal(Sampling(temperature)(tiny(), prompt, limit=12, generator=torch.Generator()).ids, plain)


def test_bad_words_and_minimum_length_hold_throughout():
    prompt = torch.tensor([[1, 5, 6, 7]])
    free = Greedy()(tiny(), prompt, limit=8, generator=torch.Generator()).row(0).tolist()
    held = Sampling(0.0, bad_words=((free[0],), (free[1], free[2])), min_length=4)
    made = held(tiny(), prompt, limit=8, generator=torch.Generator(), stop=Stop(tokens=tuple(free[3:6])))
    text = made.row(0).tolist()
    assert free[0] not in text
    assert all(pair != (free[1], free[2]) for pair in pairwise(text))
    assert not set(text[:4]) & set(free[3:6])


def test_a_repetition_penalty_makes_loops_rarer():
    prompt = torch.tensor([[1, 5, 6, 7]])
    kinds = [
        len(
            set(
                Sampling(0.0, repetition_penalty=r)(tiny(), prompt, limit=60, generator=torch.Generator())
                .row(0)
                .tolist()
            )
        )
        for r in (1.0, 5.0)
    ]
    assert kinds[1] > kinds[0]


def test_a_rows_stream_does_not_depend_on_its_neighbours():
    one = torch.tensor([[1, 5, 6, 7]])
    alone = Sampling()(tiny(), one, limit=10, generator=torch.Generator().manual_seed(2)).ids[0]
    among = Sampling()(tiny(), torch.cat([one, one + 1, one]), limit=10, generator=torch.Generator().manual_seed(2)).ids
    assert torch.equal(among[0], alone)
    assert not torch.equal(among[2], alone)  # the same prompt elsewhere draws its own numbers


def test_settings_are_checked():
    with pytest.raises(ValueError, match="temperature"):
        Sampling(temperature=-1)
    with pytest.raises(ValueError, match="only 64 tokens"):
        Sampling(top_k=65)(tiny(), torch.tensor([[1]]), limit=1, generator=torch.Generator())
