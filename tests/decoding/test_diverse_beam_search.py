"""Diverse beam search: against a slow loop, its limits, and the variety that it is for."""

import pytest
import torch

from tests.decoding.models import Table, tiny
from trivium.core.nouns import Stop
from trivium.decoding.beam_search import BeamSearch
from trivium.decoding.diverse_beam_search import DiverseBeamSearch

PROMPT = torch.tensor([[1, 5, 6, 7]])


def slow(table, first, limit, groups, each, strength, stop):
    """Algorithm 1 over a table of log-probabilities, one hypothesis and token at a time."""
    logp = table.log_softmax(-1).tolist()
    beams = [[((), 0.0, 0.0)] for _ in range(groups)]  # tokens, log-probability, penalty
    done = [[] for _ in range(groups)]
    for _ in range(limit):
        chosen = []
        for group in range(groups):
            options = []
            for tokens, total, taken in beams[group]:
                for v in range(len(table)):
                    off = taken + strength * chosen.count(v)
                    now = total + logp[tokens[-1] if tokens else first][v]
                    options.append(((*tokens, v), now, off))
            options.sort(key=lambda option: -(option[1] - option[2]))
            best = options[: each - len(done[group])]
            done[group] += [option for option in best if option[0][-1] == stop or len(option[0]) == limit]
            beams[group] = [option for option in best if option[0][-1] != stop and len(option[0]) < limit]
            chosen += [option[0][-1] for option in best]
    return [{tokens: total for tokens, total, _ in group} for group in done]


@pytest.mark.parametrize("strength", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_against_algorithm_1_in_a_slow_loop(seed, strength):
    table = 2 * torch.randn(6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    search = DiverseBeamSearch(6, 3, strength)
    found = search.n_best(Table(table), torch.tensor([[1], [2]]), limit=5, stop=Stop(tokens=(5,)))
    for row, first in enumerate((1, 2)):
        expected = slow(table, first, 5, 3, 2, strength, 5)
        for group in range(3):
            ours = {one.tokens: pytest.approx(one.total) for one in found[row] if one.group == group}
            assert expected[group] == ours
        assert [one.score(1.0) for one in found[row]] == sorted((one.score(1.0) for one in found[row]), reverse=True)


def test_one_group_is_beam_search_and_without_strength_all_groups_are_equal():
    plain = BeamSearch(4).n_best(tiny(), PROMPT, limit=8)[0]
    assert [one.tokens for one in DiverseBeamSearch(4, 1).n_best(tiny(), PROMPT, limit=8)[0]] == [
        one.tokens for one in plain
    ]
    found = DiverseBeamSearch(6, 3, 0.0).n_best(tiny(), PROMPT, limit=8)[0]
    two = {one.tokens for one in BeamSearch(2).n_best(tiny(), PROMPT, limit=8)[0]}
    for group in range(3):
        assert {one.tokens for one in found if one.group == group} == two
    one = DiverseBeamSearch(6, 3)(tiny(), PROMPT, limit=8, generator=torch.Generator())
    first = BeamSearch(2)(tiny(), PROMPT, limit=8, generator=torch.Generator())
    assert one.logprobs.sum() >= first.logprobs.sum() - 1e-9  # the first group is that search


def test_groups_differ_at_every_step_and_more_than_a_beam():
    different = lambda found: len({token for one in found for token in enumerate(one.tokens)})  # noqa: E731
    diverse = DiverseBeamSearch(6, 6, 50.0).n_best(tiny(), PROMPT, limit=8)[0]
    for step in range(8):
        assert len({one.tokens[step] for one in diverse}) == 6
    assert different(diverse) > different(BeamSearch(6).n_best(tiny(), PROMPT, limit=8)[0])


@pytest.mark.parametrize(
    "wrong", [{"width": 5}, {"width": 0}, {"groups": 0}, {"strength": -0.1}, {"length_penalty": float("nan")}]
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DiverseBeamSearch(**wrong)
