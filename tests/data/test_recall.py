import re
from collections import Counter

import pytest

from trivium.core.errors import UnknownName
from trivium.data.named import named
from trivium.data.recall import KEYS, VALUES, Piece, answers, depth, induction, mqar, needle


def every(corpus):
    return [text for texts in corpus.splits.values() for text in texts]


PAIRS, CUES, HAY = every(mqar(400)), every(induction(400)), every(needle(120))


def test_keys_are_asked_once_each_and_values_are_those_of_the_first_half():
    counts = Counter()
    for text in PAIRS:
        pairs = re.findall("..", text)
        count = len(pairs) // 2
        counts[count] += 1
        known = dict(pairs[:count])
        assert len(known) == count
        assert set(known) <= set(KEYS)
        assert set(known.values()) <= set(VALUES)
        assert dict(pairs[count:]) == known
        assert {pair[0] for pair in pairs[count:]} == set(known)
    assert set(counts) == set(range(4, 17))
    assert any(re.findall("..", text)[: len(text) // 4] != re.findall("..", text)[len(text) // 4 :] for text in PAIRS)
    assert {len(text) for text in every(mqar(50, pairs=(3, 3)))} == {12}


def test_the_cue_has_occurred_once_and_the_answer_is_what_followed():
    places = Counter()
    for text in CUES:
        *hay, cue, answer = text
        assert hay.count(cue) == 1
        assert hay[hay.index(cue) + 1] == answer
        assert answer != cue
        places[round(4 * hay.index(cue) / len(hay))] += 1
    assert set(places) == {0, 1, 2, 3, 4}
    assert {len(text) for text in CUES} == set(range(16, 65))
    assert {len(text) for text in every(induction(40, length=(4, 5)))} == {4, 5}


def test_a_needle_lies_anywhere_among_sentences_without_numbers():
    depths = []
    for text in HAY:
        found = re.findall(r"The number of the (\w+) is (\d{4})\.", text)
        assert len(found) == 2
        assert found[0] == found[1]
        assert len(re.findall(r"\d", text)) == 8
        assert 200 < len(text) <= 256
        assert "\n" not in text
        depths.append(depth(text))
    assert min(depths) == 0
    assert max(depths) > 0.8
    assert {len(text) <= 400 for text in every(needle(20, length=400))} == {True}
    assert max(len(text) for text in every(needle(20, length=400))) > 350


def test_answers_by_hand():
    assert answers("mqar", "aPbBbBaP") == [Piece("aPbBb"), Piece("B", True), Piece("a"), Piece("P", True)]
    assert answers("induction", "xkabka") == [Piece("xkabk"), Piece("a", True)]
    text = "The number of the fox is 4821. He ran. The number of the fox is 4821."
    assert answers("needle", text) == [Piece(text[:-5]), Piece("4821", True), Piece(".")]
    assert depth(text) == 0.0


@pytest.mark.parametrize(("sort", "texts"), [("mqar", PAIRS), ("induction", CUES), ("needle", HAY)])
def test_pieces_join_to_the_text_and_every_answer_stands_in_what_is_before(sort, texts):
    for text in texts:
        pieces = answers(sort, text)
        assert "".join(piece.text for piece in pieces) == text
        done = ""
        for piece in pieces:
            assert not piece.answer or piece.text in done
            done += piece.text
    asked = [sum(piece.answer for piece in answers(sort, text)) for text in texts]
    assert asked == ([len(text) // 4 for text in texts] if sort == "mqar" else [1] * len(texts))


@pytest.mark.parametrize(
    ("sort", "text"),
    [
        ("mqar", "aPbBbBaB"),  # another value than the key's
        ("mqar", "aPbBbB"),
        ("mqar", ""),
        ("mqar", "a story"),
        ("induction", "abcde"),
        ("induction", "abcad"),
        ("needle", "The number of the fox is 4821. He ran."),
    ],
)
def test_other_texts_are_refused(sort, text):
    with pytest.raises(ValueError, match=f"no text of the sort '{sort}'"):
        answers(sort, text)


def test_an_unknown_sort_is_named():
    with pytest.raises(UnknownName, match="did you mean 'needle'"):
        answers("needles", "x")


@pytest.mark.parametrize("make", [mqar, induction, needle])
def test_the_same_seed_makes_the_same_texts_and_another_others(make):
    assert make(60, 3).sha256 == make(60, 3).sha256 != make(60, 4).sha256
    assert make(60, 3).name == f"{make.__name__}-60-3"
    assert len(set(every(make(60, 3)))) == 60


def test_they_are_there_by_name_with_held_out_texts():
    for sort in ("mqar", "induction"):
        corpus = named(sort)
        assert corpus.name.startswith(f"{sort}-")
        assert len(corpus["test"]) > 400
        assert not set(corpus["test"]) & set(corpus["train"])
        assert answers(sort, corpus["test"][0])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: mqar(pairs=(0, 4)), "pairs must be"),
        (lambda: mqar(pairs=(4, 17)), "pairs must be"),
        (lambda: induction(length=(3, 9)), "length must be"),
        (lambda: induction(length=(9, 8)), "length must be"),
        (lambda: needle(length=127), "at least 128"),
        (lambda: mqar(0), "documents must be at least 1"),
    ],
)
def test_misuse(wrong, told):
    with pytest.raises(ValueError, match=told):
        wrong()
