"""Greedy decoding: equal to transformers' own, ties, and the loop's bookkeeping."""

import pytest
import torch

from tests.decoding.models import Table, tiny
from trivium.core.meter import Meter
from trivium.core.nouns import Stop
from trivium.decoding.greedy import Greedy


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_equals_generate_on_a_padded_batch(family):
    model = tiny(family)
    prompt = torch.tensor([[0, 0, 3, 4, 5], [1, 5, 6, 7, 8]])
    mask = torch.tensor([[False, False, True, True, True], [True] * 5])
    ours = Greedy()(model, prompt, mask=mask, limit=12, generator=torch.Generator(), stop=Stop(tokens=(2,)))
    theirs = model.inner.generate(
        prompt, attention_mask=mask.long(), do_sample=False, max_new_tokens=12, pad_token_id=0, eos_token_id=2
    )[:, 5:]
    for row in range(2):
        assert ours.row(row).tolist() == theirs[row, : int(ours.lengths[row])].tolist()


def test_ties_go_to_the_lowest_id():
    model = Table(torch.zeros(5, 5))
    assert Greedy()(model, torch.tensor([[4]]), limit=3, generator=torch.Generator()).ids.tolist() == [[0, 0, 0]]


def test_one_pass_per_token_and_finished_rows_are_dropped():
    table = torch.full((6, 6), -9.0).scatter(1, torch.tensor([[0], [2], [5], [1], [4], [5]]), 9.0)
    prompt = torch.tensor([[1], [1], [3], [4]])  # 1 -> 2 -> 5, the stop; 3 -> 1 -> 2 -> 5; 4 goes on for ever
    with Meter() as meter:
        made = Greedy()(Table(table), prompt, limit=8, generator=torch.Generator(), stop=Stop(tokens=(5,)))
    assert made.lengths.tolist() == [2, 2, 3, 8]
    assert meter.spent.calls == 8
    assert [entry["target_positions"] for entry in made.trace.iterations] == [4, 4, 2, 1, 1, 1, 1, 1]
    assert made.trace.mean_accepted_length == 1.0
