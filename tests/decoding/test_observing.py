"""What a speculative decoder shows to drafters that ask for it: the target's states, as they were."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from tests.decoding.models import tiny
from trivium.core.meter import Meter
from trivium.core.protocols import Accompanying, Observing
from trivium.core.tree import TokenTree
from trivium.decoding._trees import pack
from trivium.decoding.greedy import Greedy
from trivium.decoding.speculative import Speculative

PROMPT = torch.tensor([[1, 5, 6, 7, 5, 6, 7, 5, 6], [0, 0, 0, 3, 4, 5, 1, 2, 9], [0, 0, 8, 8, 8, 8, 8, 8, 8]])
MASK = torch.tensor([[True] * 9, [False] * 3 + [True] * 6, [False] * 2 + [True] * 7])


@dataclass
class Noting:
    """Proposes trees of which one branch is now and then right, and writes down what it is shown."""

    texts: list[list[int]]
    reads_prompt: bool
    draws: str = "deterministic"
    branches: bool = True
    seen: dict[int, list[torch.Tensor]] = field(default_factory=dict)
    model: Any = None

    def start(self, model, *, generator, logits):
        self.model = model
        return self

    def observe(self, rows, nodes, hidden):
        for row, of, states in zip(rows, nodes, hidden, strict=True):
            assert len(of) == len(states)
            assert self.seen.setdefault(row, []) == [] or int(of[0]) == 0
            self.seen[row].append(states)

    def propose(self, contexts, room):
        trees = []
        for row, (context, most) in enumerate(zip(contexts, room, strict=True)):
            right = self.texts[row][len(context) : len(context) + most]
            bad = [(token + 1) % 64 for token in right]
            trees.append(TokenTree.from_paths(int(context[-1]), [bad, right[:1] + bad[1:], right[: len(context) % 4]]))
        return trees


@dataclass
class Beside(Noting):
    """The same, with a column of its own beside the trees, which nothing but itself may see."""

    def accompany(self, rows, trees, state):
        given = pack([*trees], state, self.model.device)
        batch, nodes = given["ids"].shape
        mask = given.get("mask")
        if mask is None or mask.ndim == 2:
            mask = torch.ones(batch, 1, nodes, state.slots + nodes, dtype=torch.bool).tril(state.slots)
        mask = torch.nn.functional.pad(mask, (0, 1, 0, 1))
        mask[..., -1, -1] = True
        depth = torch.stack([torch.nn.functional.pad(tree.depths, (0, nodes - len(tree))) for tree in trees])
        positions = torch.nn.functional.pad(state.lengths[:, None] + depth, (0, 1))
        ids = torch.nn.functional.pad(given["ids"], (0, 1), value=3)
        out = self.model(ids, mask=mask, positions=positions, state=state, keep_state=True)
        return type(out)(out.logits[:, :nodes], out.hidden[:, :nodes], out.state)


def run(decoder, model):
    return decoder(model, PROMPT, mask=MASK, limit=17, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("kind", [Noting, Beside])
@pytest.mark.parametrize("reads_prompt", [True, False])
def test_a_session_sees_the_states_of_every_token_that_was_fed(family, kind, reads_prompt):
    model = tiny(family)
    plain = run(Greedy(), model)
    texts = [PROMPT[row][MASK[row]].tolist() + plain.row(row).tolist() for row in range(3)]
    session = kind(texts, reads_prompt)
    assert isinstance(session, Observing)
    assert isinstance(session, Accompanying) == (kind is Beside)
    made = run(Speculative(session), model)
    assert torch.equal(made.ids, plain.ids)
    assert made.trace.mean_accepted_length > 1.3
    for row, text in enumerate(texts):
        states = torch.cat(session.seen[row])
        prompt = int(MASK[row].sum())
        with torch.no_grad():
            expected = model(torch.tensor([text])).hidden[0, (0 if reads_prompt else prompt - 1) :]
        assert len(states) > prompt * reads_prompt + 8
        torch.testing.assert_close(states, expected[: len(states)], atol=1e-9, rtol=0)
    extra = 3 if kind is Beside else 0
    entry = made.trace.iterations[0]
    assert entry["target_positions"] - extra == entry["drafted"] + 3


class Blind:
    """Proposes nothing and asks for nothing."""

    draws = "deterministic"

    def start(self, model, *, generator, logits):
        return self

    def propose(self, contexts, room):
        return [TokenTree.chain(int(context[-1])) for context in contexts]


def test_prompts_are_read_whole_only_where_that_is_asked_for():
    """Without it, logits and states come of the last tokens alone, as for a drafter that sees nothing."""
    spent, model = {}, tiny()
    for what, drafter in {
        "blind": Blind(),
        "last": Noting([[]] * 3, reads_prompt=False),
        "whole": Noting([[]] * 3, reads_prompt=True),
    }.items():
        with Meter() as meter:
            run(Speculative(drafter), model)
        spent[what] = meter.spent
    assert spent["blind"].flops == spent["last"].flops
    assert spent["blind"].calls == spent["last"].calls == spent["whole"].calls
    head = 2 * 32 * 64  # FLOPs of one position in the head: 3 rows of 9, of which the last is needed anyway
    assert spent["whole"].flops - spent["last"].flops == 3 * 8 * head
