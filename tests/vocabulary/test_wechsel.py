"""WECHSEL: a rotated copy of the old language is found again, and the means are those of the equation."""

from dataclasses import replace

import pytest
import torch

from tests.vocabulary.systems import Plain, small
from trivium.core.languages import Languages, WordVectors
from trivium.core.seeds import generator
from trivium.models.vocabulary import rows_of
from trivium.vocabulary.wechsel import Wechsel

OLD, NEW = ("aa", "bb", "cc", "dd"), ("vv", "ww", "xx", "yy")


def turned(width=3, pairs=4):
    draws = generator(3, "words")
    old = torch.randn(4, width, generator=draws, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(width, width, generator=draws, dtype=torch.float64)).Q
    words = Languages((), (), WordVectors(NEW, old @ turn), WordVectors(OLD, old), tuple(zip(OLD, NEW, strict=True)))
    return replace(words, dictionary=words.dictionary[:pairs])


def test_the_nearest_subword_is_the_translation():
    system = small([*OLD, "."])
    got = Wechsel(k=1).transplant(system, Plain([".", *reversed(NEW)]), turned(), generator=generator(0, "x"))
    old, new = rows_of(system.model).embedding, rows_of(got.system.model).embedding
    torch.testing.assert_close(new[1:], old[:4].flip(0))
    assert got.report.uncovered == ()
    apart = Wechsel(k=1)(system, Plain([".", *reversed(NEW)]), turned(pairs=0), generator=generator(0, "x"))
    assert not torch.allclose(rows_of(apart.model).embedding[1:], old[:4].flip(0))  # without the rotation it is lost


def test_weights_are_a_softmax_of_cosines():
    old = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    new = WordVectors(("vv",), torch.tensor([[0.6, 0.8]]))
    system = small(["aa", "bb", "."])
    words = Languages((), (), new, WordVectors(("aa", "bb"), old))
    made = Wechsel(k=5, temperature=0.1)(system, Plain([".", "vv"]), words, generator=generator(0, "x"))
    weights = torch.tensor([6.0, 8.0]).softmax(0)
    torch.testing.assert_close(rows_of(made.model).embedding[1], weights @ rows_of(system.model).embedding[:2])


def test_subwords_are_means_of_their_words_by_counts():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    new = WordVectors(("vw", "vx"), vectors, (3, 1))
    words = Languages((), (), new, WordVectors(("aa", "bb"), vectors))
    system = small(["aa", "bb", "."])
    got = Wechsel(k=2, temperature=1.0).transplant(
        system, Plain([".", "v", "w", "x", "q"]), words, generator=generator(0, "x")
    )
    direction = torch.tensor([0.75, 0.25], dtype=torch.float64)
    weights = (direction / direction.norm()).softmax(0).float()
    torch.testing.assert_close(rows_of(got.system.model).embedding[1], weights @ rows_of(system.model).embedding[:2])
    assert got.report.uncovered == (4,)


def test_bad_input():
    system, tokenizer = small([*OLD, "."]), Plain([".", *NEW])
    wide = replace(turned(), new_words=WordVectors(NEW, torch.ones(4, 5)))
    with pytest.raises(ValueError, match="5; train them alike"):
        Wechsel()(system, tokenizer, wide, generator=generator(0, "x"))
    with pytest.raises(ValueError, match="none has vectors"):
        Wechsel()(system, tokenizer, replace(turned(), dictionary=(("vv", "aa"),)), generator=generator(0, "x"))
    with pytest.raises(ValueError, match="two vectors"):
        WordVectors(("a", "a"), torch.ones(2, 2))
    for settings in ({"k": 0}, {"temperature": 0.0}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            Wechsel(**settings)
