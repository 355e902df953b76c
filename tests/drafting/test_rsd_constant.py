"""RSD-C: siblings are a draw without replacement, and stay one all the way to the output."""

import pytest
import torch

from tests.decoding.models import Table, noisy, tiny
from tests.drafting.laws import DRAFT, PROMPT, TARGET, ByToken, joint, law_of, pairs, sequences, start, trees
from trivium.decoding._pipeline import Pipeline
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.decoding.top_k import TopK
from trivium.drafting._model import MOST
from trivium.drafting.rsd_constant import RsdConstant

PROMPTS = torch.tensor([[1, 5, 6, 7, 5, 6, 7, 5, 6], [0, 0, 0, 3, 4, 5, 1, 2, 9]])
MASK = torch.tensor([[True] * 9, [False] * 3 + [True] * 6])


def test_the_shape_is_the_branching_and_siblings_differ():
    for tree in trees(RsdConstant(DRAFT, branching=(3, 1, 2)), 20):
        assert torch.bincount(tree.depths).tolist() == [1, 3, 3, 6]
        for below in tree.children:
            assert len({int(tree.tokens[child]) for child in below}) == len(below)


def test_room_cuts_the_depth():
    tree = trees(RsdConstant(DRAFT), 1, room=2)[0]
    assert torch.bincount(tree.depths).tolist() == [1, 2, 4]


def test_siblings_come_in_the_order_of_a_draw_without_replacement():
    """Ordered pairs of the root's children, and of a child's children, against q(a) q(b) / (1 - q(a))."""
    made = trees(RsdConstant(DRAFT, branching=(2, 2)), 1500)
    children = lambda tree, node: tuple(tree.tokens[list(tree.children[node])].tolist())  # noqa: E731
    law = pairs({token: p for (token,), p in sequences(DRAFT, 1).items()})
    assert law_of([children(tree, 0) for tree in made], law) > 1e-3
    below = dict(enumerate(DRAFT.table[1].softmax(-1).tolist()))
    found = [children(tree, node) for tree in made for node in (1, 2) if int(tree.tokens[node]) == 1]
    assert law_of(found, pairs(below)) > 1e-3
    assert law_of([tuple(sorted(children(tree, 0))) for tree in made], law) < 1e-3, "the test would see sorting"


def test_one_child_each_is_a_single_chain_of_the_draft():
    made = trees(RsdConstant(DRAFT, branching=(1, 1)), 1500)
    assert law_of([tuple(tree.tokens[1:].tolist()) for tree in made], sequences(DRAFT, 2)) > 1e-3
    assert not RsdConstant(branching=(1, 1)).branches


def test_draft_rows_are_the_processed_distribution_at_each_node():
    """On a transformer, with a pipeline that looks at the history, in a ragged batch, before and after a rejection."""
    pipeline = Pipeline(temperature=0.8, top_k=20, repetition_penalty=1.3)
    session = start(RsdConstant(noisy(), branching=(2, 2)), tiny(), pipeline)
    contexts = [torch.tensor([1, 5, 6, 7, 5]), torch.tensor([9, 3])]
    for _ in range(2):
        for tree, context in zip(session.propose(contexts, [9, 9]), contexts, strict=True):
            assert len(tree) == 7
            for node, below in enumerate(tree.children):
                if below:
                    text = torch.cat([context, tree.tokens[tree.path(node)[1:]]])
                    with torch.no_grad():
                        q = pipeline.probabilities(noisy()(text[None]).logits[0, -1:], [text], [0])[0]
                    torch.testing.assert_close(tree.probs[node], q, atol=1e-9, rtol=0)
        contexts = [torch.cat([context, torch.tensor([11, 4])]) for context in contexts]


def test_output_keeps_the_law_and_another_order_would_not():
    drafter = RsdConstant(DRAFT, branching=(2, 2))
    assert joint(drafter, 1000) > 1e-3
    assert joint(ByToken(drafter), 1000) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("of", [Sampling(), Sampling(0.7, top_p=0.8)], ids=["plain", "top_p"])
def test_the_same_with_fifty_thousand_draws(of):
    assert joint(RsdConstant(DRAFT, branching=(3, 2)), 50_000, of=of) > 1e-3
    assert joint(ByToken(RsdConstant(DRAFT, branching=(3, 2))), 10_000, of=of) < 1e-3


def test_a_pipeline_that_leaves_fewer_tokens_gives_fewer_children():
    for tree in trees(RsdConstant(DRAFT, branching=(3, 3)), 20, pipeline=Pipeline(top_k=2)):
        assert torch.bincount(tree.depths).tolist() == [1, 2, 4]
        assert tree.draws == "without_replacement"
    assert joint(RsdConstant(DRAFT, branching=(3,)), 1000, of=TopK(2)) > 1e-3


def test_a_draft_that_is_sure_gives_one_child():
    """Probabilities that underflow to 0 are never drawn, so that no verifier meets them."""
    sure = Table(torch.tensor([0.0, -2000.0, -2000.0, -2000.0]).double().repeat(4, 1))
    assert trees(RsdConstant(sure, branching=(3, 3)), 1)[0].tokens.tolist() == [2, 0, 0]


def test_at_temperature_zero_the_likeliest_are_drafted_and_matched():
    tree = trees(RsdConstant(DRAFT, branching=(3, 2)), 1, pipeline=Pipeline(temperature=0.0))[0]
    assert tree.draws == "deterministic"
    for node, below in enumerate(tree.children):
        if below:
            last = int(tree.tokens[node]) if node else int(PROMPT[-1])
            assert tree.tokens[list(below)].tolist() == DRAFT.table[last].topk(len(below)).indices.tolist()
    words = {"mask": MASK, "limit": 20, "generator": torch.Generator()}
    plain = Greedy()(tiny(), PROMPTS, **words)
    for verifier in ("recursive", "match", "typical"):
        made = Speculative(RsdConstant(noisy()), verifier=verifier)(tiny(), PROMPTS, **words)
        assert torch.equal(made.ids, plain.ids)
        assert made.trace.total("accepted") > 0


def test_a_draft_equal_to_the_target_is_taken_to_its_full_depth():
    """The first sibling is a draw from q = p, which recursive rejection always accepts."""
    fast = Speculative(RsdConstant(None, branching=(2, 2, 2)), verifier="recursive", of=Sampling())
    made = fast(TARGET, PROMPT.repeat(50, 1), limit=9, generator=torch.Generator().manual_seed(0))
    assert made.trace.mean_accepted_length == 4.0


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
def test_matching_gives_the_very_tokens_of_plain_sampling(family):
    made = [
        decoder(tiny(family), PROMPTS, mask=MASK, limit=16, generator=torch.Generator().manual_seed(3)).ids
        for decoder in (Sampling(), Speculative(RsdConstant(noisy(family)), of=Sampling()))
    ]
    assert torch.equal(*made)


def test_wrong_settings():
    for branching in ((), (2, 0), (-1,)):
        with pytest.raises(ValueError, match="branching gives at least 1 child"):
            RsdConstant(branching=branching)
    with pytest.raises(ValueError, match=f"trees of 1110 tokens, more than the {MOST}"):
        RsdConstant(branching=(10, 10, 10))
    with pytest.raises(ValueError, match=r"biased for without replacement drafts.*'match' or 'recursive'"):
        Speculative(RsdConstant(), verifier="rejection")
