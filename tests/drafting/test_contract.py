"""What every drafter keeps, whatever its name. A drafter may be wrong, slow or empty, but never change the output."""

import pytest
import torch

from tests.decoding.models import tiny
from tests.families import VOCAB
from trivium.core.method import find, names
from trivium.core.protocols import Accompanying, Observing, Sharing
from trivium.core.tree import TokenTree
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative

NAMES = names("drafting")
PROMPT = torch.tensor([[1, 5, 6, 7, 5, 6, 7, 5, 6], [9, 9, 3, 4, 3, 4, 3, 4, 3]])


def begin(name, seed=0):
    generator = torch.Generator().manual_seed(seed)
    session = find("drafting", name)().start(tiny(), generator=generator, logits=lambda logits, histories: logits)
    return Shown(session, tiny()) if isinstance(session, (Observing, Sharing)) else session


class Shown:
    """Does for one session what a decoder does: shows it the target's states of what was committed since, or its
    memory."""

    def __init__(self, session, model):
        self.session, self.model, self.told = session, model, {}

    @torch.no_grad()
    def propose(self, contexts, room):
        if isinstance(self.session, Sharing):
            width = max(map(len, contexts)) - 1
            ids = torch.stack([torch.nn.functional.pad(one[:-1], (width + 1 - len(one), 0)) for one in contexts])
            mask = torch.arange(width) > width - torch.tensor([len(one) for one in contexts])[:, None]
            self.session.share(range(len(contexts)), self.model(ids, mask=mask, keep_state=True).state)
        for row, context in enumerate(contexts):
            fed, new = context[None, :-1], self.told.get(row, 0)
            if not isinstance(self.session, Observing) or new == fed.shape[1]:
                continue
            hidden = self.model(fed).hidden[0]
            if isinstance(self.session, Accompanying):
                state = self.model(fed[:, :-1], keep_state=True).state
                self.session.accompany([row], [TokenTree.chain(int(fed[0, -1]))], state)
                new = len(hidden) - 1
            elif new == 0 and not self.session.reads_prompt:
                new = len(hidden) - 1
            self.session.observe([row], [torch.arange(len(hidden) - new)], [hidden[new:]])
            self.told[row] = len(hidden)
        return self.session.propose(contexts, room)


@pytest.mark.parametrize("name", NAMES)
def test_trees_are_rooted_at_the_pending_token_and_fit_the_room(name):
    session, contexts = begin(name), [row.clone() for row in PROMPT]
    for _ in range(4):
        room = [4, 2]
        trees = session.propose(contexts, room)
        for tree, context, most in zip(trees, contexts, room, strict=True):
            assert isinstance(tree, TokenTree)
            assert tree.draws == find("drafting", name)().draws
            assert int(tree.tokens[0]) == int(context[-1])
            assert int(tree.depths.max()) <= most
            assert ((tree.tokens >= 0) & (tree.tokens < VOCAB)).all()
        contexts = [torch.cat([context, torch.tensor([5, 6])]) for context in contexts]


@pytest.mark.parametrize("name", NAMES)
def test_no_room_means_no_proposal_and_a_finished_row_does_not_disturb(name):
    alone, beside = begin(name), begin(name)
    contexts = list(PROMPT)
    for _ in range(3):
        assert len(beside.propose(contexts, [0, 0])[0]) == 1
        one = alone.propose(contexts[:1], [4])[0]
        two = beside.propose(contexts, [4, 0])
        assert one.tokens.tolist() == two[0].tokens.tolist()
        assert len(two[1]) == 1
        contexts = [torch.cat([context, torch.tensor([6])]) for context in contexts]


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides_and_contexts_are_not_changed(name):
    contexts = list(PROMPT.clone())
    before = torch.random.get_rng_state()
    one, two = (begin(name, seed=4).propose(contexts, [5, 5]) for _ in range(2))
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(one, two, strict=True))
    assert torch.equal(torch.stack(contexts), PROMPT)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("name", NAMES)
def test_the_output_is_that_of_plain_decoding(name, family):
    for plain in (Greedy(), Sampling(temperature=0.7, repetition_penalty=1.2)):
        fast = Speculative(find("drafting", name)(), of=plain)
        made = [
            decoder(tiny(family), PROMPT, limit=20, generator=torch.Generator().manual_seed(1)).ids
            for decoder in (plain, fast)
        ]
        assert torch.equal(*made)
