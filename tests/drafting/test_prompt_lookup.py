"""Prompt lookup: where it copies from, and how much."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.decoding.models import Table
from trivium.decoding.greedy import Greedy
from trivium.decoding.speculative import Speculative
from trivium.drafting.prompt_lookup import PromptLookup


def propose(settings, context, room=100):
    session = settings.start(None, generator=None, logits=None)
    return session.propose([torch.tensor(context)], [room])[0]


def drafted(settings, context, room=100):
    return propose(settings, context, room).tokens[1:].tolist()


FIXED = PromptLookup(length=4, ngram=2)


def test_by_hand():
    assert drafted(FIXED, [1, 2, 3, 4, 5, 6, 9, 1, 2]) == [3, 4, 5, 6]
    assert drafted(FIXED, [1, 2, 3]) == []


def test_the_longest_common_ending_wins_over_the_most_recent_place():
    assert drafted(FIXED, [7, 1, 2, 30, 0, 8, 1, 2, 40, 0, 7, 1, 2])[0] == 30
    assert drafted(FIXED, [5, 1, 2, 30, 6, 1, 2, 40, 7, 1, 2])[0] == 40  # equal endings: the most recent


def test_a_loop_is_continued_beyond_the_end_of_the_text():
    assert drafted(FIXED, [8, 1, 2, 3, 1, 2, 3, 1, 2]) == [3, 1, 2, 3]
    assert drafted(FIXED, [4, 4, 4]) == [4, 4, 4, 4]


def test_matches_shorter_than_the_ngram_do_not_count():
    assert drafted(PromptLookup(ngram=3, trust=99), [1, 2, 9, 8, 1, 2]) == []
    assert drafted(PromptLookup(ngram=1, length=2, trust=99), [1, 2, 9, 8, 2]) == [9, 8]


def test_several_places_make_a_tree():
    tree = propose(PromptLookup(length=2, ngram=1, nodes=9, trust=99), [1, 5, 6, 1, 7, 8, 1])
    assert [tree.tokens[path].tolist() for path in tree.paths()] == [[1, 7, 8], [1, 5, 6]]
    assert tree.draws == "deterministic"


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30), st.integers(2, 12), st.integers(1, 6))
def test_a_tree_holds_the_likeliest_nodes_of_all_copies(context, nodes, length):
    """Against every path of every copy with its chance, one by one."""
    chances = {}
    for end in range(1, len(context)):
        if context[end - 1] != context[-1]:
            continue
        common = 1
        while common < end and context[end - 1 - common] == context[-1 - common]:
            common += 1
        text, chance = list(context), 1.0
        for depth in range(length):
            text.append(text[end + depth])
            chance *= min(0.5 + 0.2 * (common + depth - 1), 0.98)
            path = tuple(text[len(context) :])
            chances[path] = max(chances.get(path, 0.0), chance)
    tree = propose(PromptLookup(length=length, ngram=1, nodes=nodes, trust=99), context, room=length)
    found = [tuple(path) for path in paths_to_nodes(tree)]
    assert len(found) == min(nodes - 1, len(chances))
    if sum(token == context[-1] for token in context) <= 17:  # where more places are known than are copied from
        wanted = sorted(chances.values(), reverse=True)[: nodes - 1]
        assert [chances[path] for path in found] == pytest.approx(wanted)


def paths_to_nodes(tree):
    paths = {0: []}
    for node in range(1, len(tree)):
        paths[node] = [*paths[int(tree.parents[node])], int(tree.tokens[node])]
    return [paths[node] for node in range(1, len(tree))]


def test_a_node_counts_once_by_its_best_copy():
    """9 after a long ending and after a short one; what comes after it in the longer's copy is worth more."""
    context = [1, 2, 9, 4, 7, 2, 9, 5, 7, 2, 8, 1, 2]
    tree = propose(PromptLookup(length=2, ngram=1, nodes=4, trust=99), context)
    assert paths_to_nodes(tree) == [[9], [9, 4], [8]]


def test_a_longer_match_is_trusted_further():
    settings = PromptLookup(length=7, ngram=1, trust=2)
    assert drafted(settings, [1, 9, 8, 7, 6, 5, 4, 3, 2, 1]) == [9, 8]
    assert drafted(settings, [5, 1, 9, 8, 7, 6, 4, 3, 2, 2, 5, 1]) == [9, 8, 7, 6]
    assert drafted(settings, [4, 3, 2, 1, 9, 8, 7, 6, 5, 5, 5, 5, 4, 3, 2, 1]) == [9, 8, 7, 6, 5, 5, 5]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 3), st.integers(1, 6))
def test_against_a_slow_search(context, ngram, length):
    """The longest common ending at all, among equals the latest, then a copy that may feed itself."""
    best, place = 0, None
    for end in range(1, len(context)):
        common = 0
        while common < end and context[end - 1 - common] == context[-1 - common]:
            common += 1
        if common >= max(best, ngram):
            best, place = common, end
    text = list(context)
    if place is not None:
        for step in range(length):
            text.append(text[place + step])
    places = sum(tuple(context[end - ngram : end]) == tuple(context[-ngram:]) for end in range(ngram, len(context)))
    if places <= 32 and best <= 32:
        assert drafted(PromptLookup(length=length, ngram=ngram, trust=99), context) == text[len(context) :]


@given(st.lists(st.integers(0, 3), min_size=3, max_size=30), st.integers(1, 29))
def test_entering_the_text_piece_by_piece_finds_the_same(context, cut):
    cut = min(cut, len(context) - 1)
    session = FIXED.start(None, generator=None, logits=None)
    session.propose([torch.tensor(context[:cut])], [4])
    assert session.propose([torch.tensor(context)], [4])[0].tokens[1:].tolist() == drafted(FIXED, context)


def test_text_that_repeats_is_drafted_nearly_whole():
    """The claim in small: a model that goes round in a circle of six tokens is guessed once the circle was seen."""
    table = torch.full((6, 6), -5.0).scatter(1, torch.tensor([[1], [2], [3], [4], [5], [0]]), 5.0)
    model, prompt = Table(table), torch.tensor([[0, 1, 2, 3, 4, 5, 0, 1]])
    made = Speculative(PromptLookup(length=8))(model, prompt, limit=64, generator=torch.Generator())
    plain = Greedy()(model, prompt, limit=64, generator=torch.Generator())
    assert torch.equal(made.ids, plain.ids)
    assert made.trace.acceptance_rate == 1.0
    assert made.trace.mean_accepted_length > 7


@pytest.mark.parametrize("wrong", [{"length": 0}, {"ngram": 0}, {"nodes": 1}, {"trust": 0}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PromptLookup(**wrong)
