import itertools

import numpy as np
import pytest

from trivium.core.seeds import numpy_generator
from trivium.data.automata import Automaton, random_automaton

ALPHABET = "abcdef"


def made(index):
    return random_automaton(numpy_generator(0, index), ALPHABET, (4, 7), (3, 6), (1, 3))


def words(automaton, length):
    """All words of the language up to a length."""
    every = ("".join(word) for size in range(length + 1) for word in itertools.product(ALPHABET, repeat=size))
    return {word for word in every if automaton.follow(word) is not None}


def test_a_word_is_followed_symbol_by_symbol():
    """a leads from 0 to 1, b back again, c from 1 to a state with nothing but d."""
    automaton = Automaton(((("a", 1),), (("b", 0), ("c", 2)), (("d", 1),)))
    assert automaton.follow("") == 0
    assert automaton.follow("acdb") == 0
    assert automaton.follow("acb") is None
    assert automaton.follow("acbd") is None
    assert automaton.follow("b", 1) == 0
    assert automaton.legal(1) == "bc"


def test_states_that_allow_the_same_words_become_one_and_others_are_left_out():
    """2 and 3 allow the same, 4 cannot be reached."""
    automaton = Automaton(((("a", 2), ("b", 3)), (("d", 0),), (("c", 1),), (("c", 1),), (("a", 0),)))
    assert automaton.minimal() == Automaton(((("a", 1), ("b", 1)), (("c", 2),), (("d", 0),)))


def test_a_state_stays_apart_from_one_that_differs_three_steps_on():
    chain = Automaton(((("a", 1),), (("a", 2),), (("a", 3),), (("b", 0),)))
    assert len(chain.minimal()) == 4
    ring = Automaton(((("a", 1),), (("a", 2),), (("a", 3),), (("a", 0),)))
    assert ring.minimal() == Automaton(((("a", 0),),))


@pytest.mark.parametrize("index", range(12))
def test_the_minimal_form_allows_the_same_words_with_no_state_too_many(index):
    automaton = made(index)
    small = automaton.minimal()
    assert words(small, 5) == words(automaton, 5)
    assert small.minimal() == small
    # In the minimal form any two states differ by some word, which is at most as long as there are states.
    for one, other in itertools.combinations(range(len(small)), 2):
        pairs, seen = [(one, other)], {(one, other)}
        differ = False
        for a, b in pairs:
            differ = differ or small.legal(a) != small.legal(b)
            for symbol in set(small.steps[a]) & set(small.steps[b]):
                if (pair := (small.steps[a][symbol], small.steps[b][symbol])) not in seen:
                    seen.add(pair)
                    pairs.append(pair)
        assert differ


@pytest.mark.parametrize("index", range(12))
def test_renumbering_states_changes_nothing_of_the_minimal_form(index):
    automaton = made(index)
    order = [0, *(1 + numpy_generator(1, index).permutation(len(automaton) - 1)).tolist()]
    edges = [automaton.edges[order.index(state)] for state in range(len(automaton))]
    other = Automaton(tuple(tuple((symbol, order[target]) for symbol, target in each) for each in edges))
    assert words(other, 4) == words(automaton, 4)
    assert other.minimal() == automaton.minimal()


def test_what_is_drawn_keeps_to_the_bounds():
    automata = [made(index) for index in range(300)]
    assert {len(automaton) for automaton in automata} == {4, 5, 6, 7}
    assert {len(edges) for automaton in automata for edges in automaton.edges} == {1, 2, 3}
    assert {len({s for edges in a.edges for s, _ in edges}) for a in automata} <= {1, 2, 3, 4, 5, 6}
    for automaton in automata:
        for state, edges in enumerate(automaton.edges):
            symbols, targets = zip(*edges, strict=True)
            assert len(set(symbols)) == len(set(targets)) == len(edges)
            assert state not in targets
            assert list(symbols) == sorted(symbols)


def test_words_are_of_the_language_and_symbols_even():
    automaton = Automaton(((("a", 1), ("b", 1), ("c", 1)), (("d", 0),)))
    word = automaton.word(6000, numpy_generator(0, "word"))
    assert len(word) == 6000
    assert automaton.follow(word) is not None
    counts = np.array([word.count(symbol) for symbol in "abcd"])
    assert counts[3] == 3000
    assert (abs(counts[:3] - 1000) < 5 * 26).all()  # binomial: a standard deviation of 26
