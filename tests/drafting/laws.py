"""What the tests of random drafters share: a pair of models over four tokens, trees by the thousand, exact laws."""

from dataclasses import dataclass
from typing import Any

import torch

from tests.decoding.models import Table
from trivium.core.tree import TokenTree
from trivium.decoding._certificate import chi_square, exact_joint
from trivium.decoding._pipeline import Pipeline
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative

V = 4
NEW = 4


def table(seed: int, vocab: int = V) -> Table:
    """A model whose next token depends on the last one."""
    return Table(1.3 * torch.randn(vocab, vocab, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


TARGET, DRAFT = table(0), table(1)
PROMPT = torch.tensor([0, 1, 2])


def start(settings, target=TARGET, pipeline=Pipeline(), seed=0):
    logits = lambda raw, histories: pipeline.logits(raw, histories, [0] * len(histories))  # noqa: E731
    return settings.start(target, generator=torch.Generator().manual_seed(seed), logits=logits)


def trees(settings, rows, target=TARGET, pipeline=Pipeline(), room=99, seed=0):
    """So many independent proposals after one prompt."""
    return start(settings, target, pipeline, seed).propose([PROMPT] * rows, [room] * rows)


def law_of(outcomes, law):
    """p-value of a list of outcomes under {outcome: probability}."""
    counts = {outcome: 0 for outcome in law}
    for outcome in outcomes:
        counts[outcome] += 1
    return chi_square(torch.tensor(list(counts.values())).double(), torch.tensor(list(law.values())).double())[2]


def sequences(model, depth):
    """{tokens: probability} of all texts of so many tokens after the prompt."""
    law = {(): 1.0}
    for _ in range(depth):
        law = {
            (*text, token): share * float(p)
            for text, share in law.items()
            for token, p in enumerate(model.table[text[-1] if text else int(PROMPT[-1])].softmax(-1))
        }
    return law


def pairs(law):
    """The law of the first two drawn without replacement, in order."""
    return {(a, b): law[a] * law[b] / (1 - law[a]) for a in law for b in law if a != b}


def joint(drafter, draws, of=Sampling(), verifier: Any = "recursive"):
    """p-value of the output of speculative decoding against the exact joint of its first tokens."""
    fast = Speculative(drafter, verifier=verifier, of=of)
    counts = torch.zeros(V**NEW, dtype=torch.float64)
    places = V ** torch.arange(NEW - 1, -1, -1)
    for seed in range(draws // 500):
        generator = torch.Generator().manual_seed(seed)
        made = fast(TARGET, PROMPT.repeat(500, 1), limit=NEW, generator=generator)
        counts += torch.bincount((made.ids * places).sum(1), minlength=len(counts))
        assert made.trace.mean_accepted_length > 1.2, "hardly anything was accepted, so hardly anything was tested"
    return chi_square(counts, exact_joint(TARGET, of.pipeline, NEW, PROMPT.tolist()))[2]


@dataclass(frozen=True)
class ByToken:
    """The wrong-order control: a drafter's trees with siblings sorted by token."""

    inner: Any
    draws: str = "without_replacement"
    branches: bool = True

    def start(self, model, *, generator, logits):
        session = self.inner.start(model, generator=generator, logits=logits)
        return Sorting(session)


class Sorting:
    def __init__(self, session):
        self.session = session

    def propose(self, contexts, room):
        return [by_token(tree) for tree in self.session.propose(contexts, room)]


def by_token(tree):
    order, renamed, level = [0], {0: 0}, [0]
    while level:
        below = [c for node in level for c in sorted(tree.children[node], key=lambda child: int(tree.tokens[child]))]
        for child in below:
            renamed[child] = len(order)
            order.append(child)
        level = below
    parents = torch.tensor([renamed.get(int(tree.parents[node]), -1) for node in order])
    probs = None if tree.probs is None else tree.probs[order]
    return TokenTree(tree.tokens[order], parents, tree.draws, probs)
