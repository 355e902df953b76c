"""What the prompts of a batch begin with is passed once for all of them, and no row can tell."""

import pytest
import torch

from tests.decoding.models import tiny
from trivium.core.meter import Meter
from trivium.core.nouns import Stop
from trivium.decoding._loop import prefill, prepare
from trivium.decoding.greedy import Greedy

COMMON = list(range(3, 33))


def padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    return ids, torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows])


ROWS = {
    "ragged ends": [[*COMMON, 40], [*COMMON, 41, 42, 43], [*COMMON, 44, 45]],
    "equal ends": [[*COMMON, 40, 41], [*COMMON, 42, 43], [*COMMON, 40, 43]],
    "one is the beginning of the others": [COMMON, [*COMMON, 41, 42, 43], [*COMMON, 9]],
    "all the same": [COMMON, COMMON, COMMON],
}


def prompts(rows: list[list[int]]):
    ids, mask = padded(rows)
    return prepare(Greedy(), tiny(), ids, mask, 4, Stop())


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS.keys())
def test_each_row_continues_as_it_does_alone(family, rows):
    model = tiny(family)
    ids, mask = padded(rows)
    made = Greedy()(model, ids, mask=mask, limit=8, generator=torch.Generator())
    for index, row in enumerate(rows):
        alone = Greedy()(model, torch.tensor([row]), limit=8, generator=torch.Generator())
        assert made.row(index).tolist() == alone.row(0).tolist()
        torch.testing.assert_close(made.logprobs[index], alone.logprobs[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS.keys())
def test_the_beginning_is_passed_once(rows):
    model, asked = tiny(), prompts(rows)
    with Meter() as meter, torch.inference_mode():
        out = prefill(model, asked)
    shared = min(len(row) for row in rows) - 1 if COMMON in rows else len(COMMON)
    assert meter.spent.calls == 2
    assert meter.spent.positions == shared + 3 * (max(map(len, rows)) - shared)
    assert out.logits.shape[:2] == (3, 1)
    assert out.state.lengths.tolist() == [len(row) for row in rows]


@pytest.mark.parametrize(
    "rows",
    [[COMMON], [[1, *COMMON], [2, *COMMON]], [[5, 6, 7, 8], [5, 6, 7, 9]]],
    ids=["one row", "nothing in common", "too little in common"],
)
def test_one_pass_where_nothing_is_saved(rows):
    model, asked = tiny(), prompts(rows)
    with Meter() as meter, torch.inference_mode():
        prefill(model, asked)
    assert meter.spent.calls == 1
