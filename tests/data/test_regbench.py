import itertools

import numpy as np
import pytest

from trivium.data.automata import Automaton
from trivium.data.regbench import (
    LETTERS,
    SEPARATOR,
    RegularLanguages,
    bayes_law,
    legal,
    letter,
    ngram_law,
    true_law,
)

SMALL = RegularLanguages(train=60, held_out=20)
AB = Automaton(((("a", 1),), (("a", 0), ("b", 0))))
"""An a, then a or b, and so on."""
SPLITS = ("train", "validation", "test")


def total(law):
    return law.sum(1).tolist()


def row(**probabilities):
    found = np.zeros(len(LETTERS))
    for symbol, probability in probabilities.items():
        found[letter(symbol)] = probability
    return found


@pytest.mark.parametrize("split", SPLITS)
def test_every_word_is_of_its_documents_language_and_bounds_are_kept(split):
    for index, automaton in enumerate(SMALL.automata[split]):
        words = SMALL.document(split, index).split(SEPARATOR)
        assert 10 <= len(words) <= 19
        assert all(1 <= len(word) <= 49 and automaton.follow(word) is not None for word in words)
        assert 1 <= len(automaton) <= 12
        assert automaton == automaton.minimal()


def test_no_language_occurs_twice_and_held_out_ones_depend_on_nothing_else():
    every = [automaton for split in SPLITS for automaton in SMALL.automata[split]]
    assert len(set(every)) == len(every) == 100
    more = RegularLanguages(train=90, held_out=20)
    assert more.automata["test"] == SMALL.automata["test"]
    assert more.automata["train"][:60] == SMALL.automata["train"]
    assert more.document("test", 3) == SMALL.document("test", 3)
    assert RegularLanguages(train=60, held_out=20, seed=1).automata["test"] != SMALL.automata["test"]


def test_the_corpus_has_one_document_of_each_language():
    corpus = SMALL.corpus()
    assert corpus.name == "regbench-60-0"
    assert {split: len(corpus[split]) for split in SPLITS} == {"train": 60, "validation": 20, "test": 20}
    assert corpus["validation"][4] == SMALL.document("validation", 4)
    assert corpus.sha256 == RegularLanguages(train=60, held_out=20).corpus().sha256
    other = RegularLanguages(train=60, held_out=20, states=(4, 6), letters=(6, 6), words=(10, 10), symbols=(1, 12))
    assert other.corpus().name == "regbench-60-0-states-4-6-letters-6-6-words-10-10-symbols-1-12"
    assert all(text.count(SEPARATOR) == 9 and len(text) <= 129 for text in other.corpus()["train"])
    assert {len({s for s in text if s != SEPARATOR}) for text in other.corpus()["train"]} <= set(range(1, 7))


def test_what_is_legal_starts_anew_after_a_separator():
    allowed = legal("aba|aa", AB)
    assert allowed.sum(1).tolist() == [1, 2, 1, 0, 1, 2]
    assert allowed[1, letter("b")]
    assert not allowed[4, letter("b")]
    with pytest.raises(ValueError, match="does not allow 'b' at place 2 of 'abb'"):
        legal("abb|a", AB)


def test_the_law_of_the_source_is_even_over_what_is_legal():
    law = true_law("ab|aa", AB)
    assert law.tolist() == [row(a=1).tolist(), row(a=0.5, b=0.5).tolist(), row().tolist(), *law[:2].tolist()]


def test_ngrams_back_off_to_shorter_stretches_that_have_been_seen():
    """Before place 5 of "ab|abc": "ab" and "b" have been followed by no letter, nothing at all by a, b, a, b."""
    law = ngram_law("ab|abca", 2)
    uniform = np.full(len(LETTERS), 1 / 18)
    expected = [
        uniform,  # nothing has been seen
        row(a=1),  # a is unknown as a stretch; letters so far: a
        row(),
        row(a=0.5, b=0.5),  # b| and | have been followed by nothing; a, b
        row(b=1),  # |a is unknown, a was followed by b
        row(a=0.5, b=0.5),  # ab and b have been followed by no letter; a, b, a, b
        row(a=0.4, b=0.4, c=0.2),
    ]
    np.testing.assert_allclose(law, expected)
    assert ngram_law("abab", 0)[3].tolist() == pytest.approx(row(a=2 / 3, b=1 / 3).tolist())
    with pytest.raises(ValueError, match="at least 0; got -1"):
        ngram_law("ab", -1)


def test_longer_stretches_are_believed_first():
    law = ngram_law("acbdabdcbd|c", 3)
    assert law[9, letter("d")] == 1  # cb was followed by d before
    law = ngram_law("abcabdab", 1)
    assert law[5].tolist() == row(c=1).tolist()


def test_bayes_rule_by_hand():
    """Either b or c comes between a and a. At first both are as likely; one look decides. Even odds shift by 1 to 2
    where one of two languages would have allowed more."""
    b, c = (Automaton(((("a", 1),), ((symbol, 0),))) for symbol in "bc")
    law = bayes_law("ab|ab", [b, c])
    expected = [row(a=1), row(b=0.5, c=0.5), row(), row(a=1), row(b=1)]
    np.testing.assert_allclose(law, expected)
    wide = Automaton(((("a", 1),), (("b", 0), ("c", 0))))
    law = bayes_law("abab", [b, wide])
    np.testing.assert_allclose(law[1], row(b=0.75, c=0.25))
    np.testing.assert_allclose(law[3], row(b=2 / 3 + 1 / 6, c=1 / 6))
    with pytest.raises(ValueError, match="none of the 2 candidates writes 'ad'"):
        bayes_law("ad", [b, wide])


def test_bayes_law_is_the_ratio_of_the_probabilities_of_whole_texts():
    candidates = SMALL.automata["test"][:6]

    def probability(text, automaton):
        shares = true_law(text, automaton)
        return np.prod([shares[at, letter(symbol)] for at, symbol in enumerate(text) if symbol != SEPARATOR])

    def fits(text, automaton):
        return all(automaton.follow(word) is not None for word in text.split(SEPARATOR))

    texts = (SMALL.document("test", index) for index in range(6))
    text = next(text for text in texts if SEPARATOR not in text[:6])[:6]
    law = bayes_law(text, candidates)
    before = [a for a in candidates if fits(text[:4], a)]
    for symbol in LETTERS:
        longer = text[:4] + symbol
        whole = sum(probability(longer, a) for a in before if fits(longer, a))
        assert law[4, letter(symbol)] == pytest.approx(whole / sum(probability(text[:4], a) for a in before))


def test_every_law_sums_to_one_at_letters_and_to_nothing_at_separators():
    text, automaton = SMALL.document("test", 0), SMALL.automata["test"][0]
    expected = [0.0 if symbol == SEPARATOR else 1.0 for symbol in text]
    for law in (true_law(text, automaton), ngram_law(text), bayes_law(text, SMALL.automata["test"])):
        assert total(law) == pytest.approx(expected)


def test_the_more_a_law_knows_the_fewer_bits_it_needs():
    bits = {"source": 0.0, "bayes": 0.0, "trigrams": 0.0, "unigrams": 0.0}
    for index, automaton in enumerate(SMALL.automata["test"]):
        text = SMALL.document("test", index)
        known = bayes_law(text, SMALL.automata["test"])
        laws = (true_law(text, automaton), known, ngram_law(text, 2), ngram_law(text, 0))
        for name, law in zip(bits, laws, strict=True):
            at = [(place, letter(symbol)) for place, symbol in enumerate(text) if symbol != SEPARATOR]
            bits[name] -= sum(np.log2(max(law[place, column], 1e-3)) for place, column in at)
    assert all(a < b for a, b in itertools.pairwise(bits.values()))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"states": (3, 5)}, "states must be two rising bounds of at least 4"),
        ({"letters": (6, 5)}, "letters must be two rising bounds"),
        ({"letters": (4, 19)}, "up to the 18 there are"),
        ({"words": (0, 4)}, "words must be"),
        ({"symbols": (0, 4)}, "symbols must be"),
        ({"train": 0}, "train must be at least 1"),
        ({"held_out": 0}, "held_out must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        RegularLanguages(**wrong)


def test_more_languages_than_there_are_is_an_error(monkeypatch):
    monkeypatch.setattr("trivium.data.regbench.LETTERS", "abc")
    monkeypatch.setattr("trivium.data.regbench.EDGES", (1, 1))
    monkeypatch.setattr("trivium.data.regbench.TRIES", 50)
    with pytest.raises(ValueError, match="the last 50 automata drawn were all known"):
        assert not RegularLanguages(states=(2, 2), letters=(1, 1), train=100, held_out=1).automata
