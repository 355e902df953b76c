"""Draft model: what it draws, its state between proposals, and the rules for length."""

import pytest
import torch

from tests.decoding.models import Table, noisy, tiny
from trivium.core.errors import NotOffered
from trivium.drafting.draft_model import DraftModel
from trivium.models.sources import load

CONTEXTS = [torch.tensor([1, 5, 6, 7]), torch.tensor([9, 3])]


def start(settings, target=None):
    generator = torch.Generator().manual_seed(0)
    return settings.start(target or tiny(), generator=generator, logits=lambda logits, histories: logits)


def greedy_text(model, context, length):
    text = context.tolist()
    for _ in range(length):
        with torch.no_grad():
            text.append(int(model(torch.tensor([text])).logits[0, -1].argmax()))
    return text[len(context) :]


def test_a_deterministic_chain_is_the_drafts_greedy_text_before_and_after_rejection():
    """The second proposal starts from a state that was cut back and fed what was missing."""
    session = start(DraftModel(noisy(), length=4, draws="deterministic", min_confidence=0.0))
    contexts = list(CONTEXTS)
    for accepted in (4, 0, 2, 3):
        trees = session.propose(contexts, [9, 9])
        for tree, context in zip(trees, contexts, strict=True):
            assert tree.tokens[1:].tolist() == greedy_text(noisy(), context, 4)
        contexts = [
            torch.cat([context, tree.tokens[1 : 1 + accepted - row % 2 * (accepted > 1)], torch.tensor([11 + row])])
            for row, (tree, context) in enumerate(zip(trees, contexts, strict=True))
        ]


def test_tree_levels_are_the_top_tokens_after_each_path():
    tree = start(DraftModel(noisy(), length=2, branching=(3, 2), draws="deterministic", min_confidence=0.0)).propose(
        CONTEXTS, [9, 9]
    )[1]
    assert [len(children) for children in tree.children[:4]] == [3, 2, 2, 2]
    for node in range(4):
        text = torch.cat([CONTEXTS[1], tree.tokens[tree.path(node)[1:]]])[None]
        with torch.no_grad():
            wanted = noisy()(text).logits[0, -1].topk(len(tree.children[node])).indices
        assert tree.tokens[list(tree.children[node])].tolist() == wanted.tolist()


def test_independent_draws_come_with_the_distribution_they_came_from():
    tree = start(DraftModel(noisy(), length=3, branching=(2,), min_confidence=0.0)).propose(CONTEXTS, [9, 9])[0]
    assert tree.draws == "independent"
    for node, children in enumerate(tree.children):
        if children:
            text = torch.cat([CONTEXTS[0], tree.tokens[tree.path(node)[1:]]])[None]
            with torch.no_grad():
                q = noisy()(text).logits[0, -1].softmax(-1)
            torch.testing.assert_close(tree.probs[node], q, atol=1e-9, rtol=0)


def test_siblings_are_drawn_from_that_distribution():
    q = torch.tensor([0.7, 0.2, 0.1]).double()
    session = start(
        DraftModel(Table(q.log().repeat(3, 1)), length=1, branching=(2000,), min_confidence=0.0),
        Table(torch.zeros(3, 3)),
    )
    tokens = session.propose([torch.tensor([0])], [1])[0].tokens[1:]
    torch.testing.assert_close(torch.bincount(tokens, minlength=3) / 2000, q.float(), atol=0.04, rtol=0)


def test_drafting_stops_where_the_draft_is_unsure():
    sure, unsure = [8.0, 0.0, 0.0], [0.1, 0.0, 0.0]
    table = torch.tensor([unsure, sure, [0.0, 8.0, 0.0]]).double()  # 2 -> 1 -> 0, where it is unsure
    settings = DraftModel(Table(table), length=5, draws="deterministic", min_confidence=0.4)
    assert start(settings, Table(table)).propose([torch.tensor([2])], [9])[0].tokens.tolist() == [2, 1, 0]
    assert len(start(settings, Table(table)).propose([torch.tensor([0])], [9])[0]) == 1


def test_the_adaptive_length_goes_up_by_two_and_down_by_one():
    session = start(DraftModel(noisy(), length=3, draws="deterministic", adaptive=True, min_confidence=0.0))
    context, sizes = CONTEXTS[0], []
    for accept in (True, True, False, False, True):
        tree = session.propose([context], [99])[0]
        sizes.append(len(tree) - 1)
        drafted = tree.tokens[1:] if accept else (tree.tokens[1:2] + 1) % 64
        context = torch.cat([context, drafted, torch.tensor([11])])
    assert sizes == [3, 5, 7, 6, 5]


def test_the_draft_is_fed_each_token_once():
    session = start(DraftModel(noisy(), length=3, draws="deterministic", min_confidence=0.0))
    tree = session.propose(CONTEXTS[:1], [9])[0]
    assert session.positions == 4 + 2  # the prompt, then all drafts but the last
    session.propose([torch.cat([CONTEXTS[0], tree.tokens[1:], torch.tensor([3])])], [9])
    assert session.positions == 6 + 2 + 2  # the last draft and the new pending token, then two drafts


def test_what_does_not_fit_is_refused():
    small = Table(torch.zeros(5, 5))
    with pytest.raises(ValueError, match="share a tokenizer"):
        start(DraftModel(small))
    small = Table(torch.zeros(64, 64))
    small.offers = frozenset({"causal", "state"})
    with pytest.raises(NotOffered, match="truncate"):
        start(DraftModel(small))
    short = Table(torch.zeros(64, 64))
    short.max_positions = 8
    with pytest.raises(ValueError, match="8 positions"):
        start(DraftModel(short)).propose(CONTEXTS, [9, 9])


@pytest.mark.parametrize(
    "wrong",
    [
        {"length": 0},
        {"branching": (0,)},
        {"branching": (1, 2, 3), "length": 2},
        {"draws": "best"},
        {"min_confidence": 2.0},
    ],
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DraftModel(**wrong)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_named_draft_computes_in_the_number_format_of_its_target(dtype):
    target = load("tiny", dtype=dtype).model
    session = DraftModel(model="tiny").start(target, generator=torch.Generator(), logits=lambda x, _: x)
    assert session.draft.dtype == target.dtype
    assert session.draft is not target
    again = DraftModel(model="tiny").start(target, generator=torch.Generator(), logits=lambda x, _: x)
    assert again.draft is session.draft
