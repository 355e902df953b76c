"""Every decoder tells its tokens as they are committed: all of them, in order, and none that is taken back."""

import pytest
import torch

from tests.decoding.models import tiny
from trivium.core.method import find, names
from trivium.core.nouns import Stop
from trivium.core.streaming import listening
from trivium.decoding._loop import Writer

PROMPT = torch.tensor([[0, 0, 1, 5, 6, 7, 5, 6, 7, 5, 6], [1, 3, 4, 3, 4, 5, 3, 4, 5, 3, 4]])
MASK = torch.tensor([[False] * 2 + [True] * 9, [True] * 11])


@pytest.mark.parametrize("name", names("decoding"))
def test_what_is_told_is_what_is_made(name):
    decoder, model = find("decoding", name)(), tiny()
    told: dict[int, list[int]] = {}
    with listening(lambda row, tokens: told.setdefault(row, []).extend(tokens)):
        made = decoder(
            model,
            PROMPT,
            mask=MASK,
            limit=12,
            generator=torch.Generator().manual_seed(0),
            stop=Stop(tokens=(9,), texts=("7 7",), decode=lambda ids: " ".join(map(str, ids))),
        )
    assert told == {row: made.row(row).tolist() for row in range(len(made.ids))}


def test_tokens_are_told_while_the_text_is_still_made():
    lengths: list[int] = []
    with listening(lambda row, tokens: lengths.append(len(tokens))):
        find("decoding", "greedy")()(tiny(), PROMPT[1:], limit=6, generator=torch.Generator())
    assert lengths == [1] * 6


def test_what_a_block_holds_behind_its_stop_is_not_told():
    told: list[int] = []
    writer = Writer(1, 5, Stop(tokens=(9,)))
    with listening(lambda row, tokens: told.extend(tokens)):
        writer.commit(0, [1, 9, 3], [0.0] * 3, drafted=2)
    assert told == [1, 9]
