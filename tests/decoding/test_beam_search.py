"""Beam search: against every text there is, its limits, and what finishing does."""

import itertools

import pytest
import torch

from tests.decoding.models import Table, tiny
from trivium.core.nouns import Stop
from trivium.decoding.beam_search import BeamSearch
from trivium.decoding.greedy import Greedy

PROMPT = torch.tensor([[1, 5, 6, 7]])


def best_of_all(table, first, limit, stop, penalty):
    """Every text that ends at its first stop or at the limit."""
    logp, found = table.log_softmax(-1), {}
    for text in itertools.product(range(len(table)), repeat=limit):
        end = next((at + 1 for at, token in enumerate(text) if token == stop), limit)
        total, before = 0.0, first
        for token in text[:end]:
            total, before = total + float(logp[before, token]), token
        found[text[:end]] = total / end**penalty
    return sorted(found.items(), key=lambda item: -item[1])


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_beam_wide_enough_finds_the_best_text_of_all(seed, penalty):
    table = 2 * torch.randn(4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    wanted = best_of_all(table, 1, 4, 3, penalty)
    beam = BeamSearch(width=256, length_penalty=penalty)
    found = beam.n_best(Table(table), torch.tensor([[1]]), limit=4, stop=Stop(tokens=(3,)))[0]
    assert len(found) == len(wanted)
    assert found[0].tokens == wanted[0][0]
    assert [h.score(penalty) for h in found] == pytest.approx([score for _, score in wanted])


def test_width_one_is_greedy_and_wider_is_likelier():
    run = lambda decoder: decoder(tiny(), PROMPT, limit=20, generator=torch.Generator())  # noqa: E731
    plain = run(Greedy())
    assert torch.equal(run(BeamSearch(width=1)).ids, plain.ids)
    assert run(BeamSearch(width=8)).logprobs.sum() > plain.logprobs.sum()


def test_width_one_is_greedy_with_a_stop():
    stop = Stop(tokens=(int(Greedy()(tiny(), PROMPT, limit=5, generator=torch.Generator()).ids[0, 3]),))
    one, two = (d(tiny(), PROMPT, limit=12, generator=torch.Generator(), stop=stop) for d in (BeamSearch(1), Greedy()))
    assert torch.equal(one.ids, two.ids)


def test_greedy_can_be_trapped_where_a_beam_is_not():
    p = torch.tensor([[0.0, 0.6, 0.4], [0.34, 0.33, 0.33], [0.98, 0.01, 0.01]]).clamp(min=1e-9).log()
    model, prompt = Table(p.double()), torch.tensor([[0]])
    assert Greedy()(model, prompt, limit=2, generator=torch.Generator()).ids.tolist() == [[1, 0]]
    assert BeamSearch(2)(model, prompt, limit=2, generator=torch.Generator()).ids.tolist() == [[2, 0]]


def test_the_length_penalty_chooses_between_short_and_long():
    p = torch.tensor([[0.5, 0.5], [0.1, 0.9]]).log().double()  # token 1 stops
    run = lambda penalty: BeamSearch(8, penalty)(  # noqa: E731
        Table(p), torch.tensor([[0]]), limit=3, generator=torch.Generator(), stop=Stop(tokens=(1,))
    )
    assert run(0.0).lengths.tolist() == [1]
    assert run(1.5).lengths.tolist() == [3]


def test_hypotheses_are_distinct_and_ranked():
    found = BeamSearch(6).n_best(tiny(), PROMPT, limit=5)[0]
    assert len({h.tokens for h in found}) == len(found) == 6
    assert [h.total for h in found] == sorted((h.total for h in found), reverse=True)
    assert all(h.total == pytest.approx(sum(h.logprobs)) for h in found)


@pytest.mark.parametrize("wrong", [{"width": 0}, {"length_penalty": float("nan")}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BeamSearch(**wrong)
