"""Joined drafters: one tree of two, each told what it wants to know, and the very text of plain decoding."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.decoding.models import noisy, tiny
from tests.drafting.trained import PROMPT, made_random, run
from trivium.core.tree import TokenTree
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.drafting.aded import Aded
from trivium.drafting.chimera import Chimera
from trivium.drafting.draft_model import DraftModel
from trivium.drafting.hidden_transfer import HiddenTransfer
from trivium.drafting.joined import Joined, joined
from trivium.drafting.m2r2 import M2R2
from trivium.drafting.medusa import Medusa
from trivium.drafting.prompt_lookup import PromptLookup


def texts(tree):
    """The paths from the root to every node, as tokens."""
    return [tuple(tree.tokens[tree.path(node)].tolist()) for node in range(len(tree))]


PATHS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), max_size=6)


@given(PATHS, PATHS, st.integers(2, 20))
def test_the_tree_holds_the_first_and_then_the_second_up_to_the_size(one, other, nodes):
    trees = [TokenTree.from_paths(9, one), TokenTree.from_paths(9, other)]
    made = texts(joined(trees, nodes))
    wanted = list(dict.fromkeys([*texts(trees[0]), *texts(trees[1])]))
    assert made == wanted[:nodes] or (len(made) == nodes and set(made) <= set(wanted))
    assert made[: min(len(trees[0]), nodes)] == texts(trees[0])[:nodes]
    assert len(made) == min(nodes, len(wanted))
    assert len(set(made)) == len(made)


def test_by_hand():
    tree = joined([TokenTree.chain(5, (6, 7)), TokenTree.from_paths(5, [(6, 8, 1), (6, 7, 2), (4,)])], 6)
    assert texts(tree) == [(5,), (5, 6), (5, 6, 7), (5, 6, 8), (5, 6, 8, 1), (5, 6, 7, 2)]
    assert tree.draws == "deterministic"


@pytest.mark.parametrize("plain", [Greedy(), Sampling(0.8, repetition_penalty=1.2)], ids=["greedy", "sampling"])
@pytest.mark.parametrize("then", [Medusa(heads=3), Chimera(steps=3)], ids=str)
def test_heads_see_the_states_and_the_text_stays(tmp_path, then, plain):
    """Alone with a drafter that finds nothing, heads draft what they draft alone."""
    model = tiny()
    heads = made_random(replace(then, nodes=12), model, tmp_path)
    nothing = PromptLookup(ngram=30)
    alone = run(Speculative(heads, of=plain), model)
    made = run(Speculative(Joined(nothing, heads, nodes=12), of=plain), model)
    assert torch.equal(made.ids, run(plain, model).ids)
    assert made.trace.iterations == alone.trace.iterations
    both = run(Speculative(Joined(PromptLookup(length=4, ngram=1), heads, nodes=12), of=plain), model)
    assert torch.equal(both.ids, made.ids)
    assert both.trace.iterations != made.trace.iterations
    assert all(entry["drafted"] <= 11 * entry["rows"] for entry in both.trace.iterations)


def test_what_the_target_says_and_the_passes_of_both_are_told():
    model = tiny()
    aded = Aded(update="distribution", paths=4)
    alone = run(Speculative(aded), model)
    made = run(Speculative(Joined(PromptLookup(ngram=30), aded, nodes=64)), model)
    assert made.trace.iterations == alone.trace.iterations
    small = DraftModel(noisy(), length=2, draws="deterministic")
    alone, made = run(Speculative(small), model), run(Speculative(Joined(small, PromptLookup(ngram=30))), model)
    assert made.trace.total("draft_passes") == alone.trace.total("draft_passes") > 0
    assert made.trace.total("draft_positions") == alone.trace.total("draft_positions")


def test_a_text_that_one_of_them_knows_is_accepted_as_far():
    """A prompt that repeats itself: the lookup finds it, whatever the other one says."""
    prompt = torch.tensor([[1, 5, 6, 7, 8, 9] * 4])
    words = {"prompt": prompt, "mask": None, "limit": 24}
    alone = run(Speculative(PromptLookup(length=8)), tiny(), **words)
    made = run(Speculative(Joined(PromptLookup(length=8), Aded(paths=4))), tiny(), **words)
    assert torch.equal(made.ids, alone.ids)
    assert made.trace.mean_accepted_length >= alone.trace.mean_accepted_length


def test_what_cannot_be_joined_says_why():
    with pytest.raises(ValueError, match="got 1"):
        Joined(nodes=1)
    with pytest.raises(ValueError, match="draft_model has independent drafts"):
        Joined(then=DraftModel(noisy(), draws="independent"))
    for drafter in (HiddenTransfer(), M2R2()):
        with pytest.raises(ValueError, match="cannot be joined"):
            Speculative(Joined(then=drafter))(tiny(), PROMPT[:1], limit=4, generator=torch.Generator())
