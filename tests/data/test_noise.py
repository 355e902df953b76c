"""Whatever noise does to the tokens, slots stay with theirs."""

from pathlib import Path

import numpy as np
import pytest

from trivium.core.errors import UnknownName
from trivium.core.seeds import numpy_generator
from trivium.data import noise, slots
from trivium.data.keyboard import BESIDE
from trivium.data.noise import (
    AppendIrrelevant,
    Edit,
    Mixture,
    Paraphrase,
    Simplification,
    Speech,
    Spelling,
    Typos,
    Verbose,
)
from trivium.data.slots import from_bio, marked, to_bio
from trivium.data.spellings import misspelt

SNIPS = Path(__file__).parents[3] / "shared" / "data" / "snips"
OWN = (*slots.made("test"), *slots.made("validation"))
ALL = (Typos, Spelling, Speech, Paraphrase, Simplification, Verbose, AppendIrrelevant)


def draws(*names):
    return numpy_generator(0, *names)


def test_keys():
    assert set(BESIDE["s"]) == set("adwezx")
    assert all(one in BESIDE[other] for one, others in BESIDE.items() for other in others)


def test_an_edit_by_hand():
    one = marked("u", "play [track Blue Lantern] now")
    edit = Edit([("put", "on"), ("Blu", "e"), ("Lantern",), ()], {0: ("um",), 1: ("well",), 4: ("bye",)})
    assert edit.tokens == ("um", "put", "on", "well", "Blu", "e", "Lantern", "bye")
    assert edit.span(1, 3) == (4, 7)
    assert edit.span(0, 1) == (1, 3)
    made = edit(one, "some")
    (slot,) = made.slots
    assert (slot.start, slot.stop, slot.gold_surface, slot.gold_clean) == (4, 7, "Blu e Lantern", "Blue Lantern")
    assert made.applied == ("some",)
    assert Edit([("play",), (), (), ("now",)])(one, "drop").slots == ()
    with pytest.raises(ValueError, match="some puts tokens inside the slot 'Blue Lantern'"):
        Edit([(token,) for token in one.tokens], {2: ("um",)})(one, "some")
    with pytest.raises(ValueError, match="'u' has 4 tokens, the edit 1 pieces"):
        Edit([("play",)])(one, "some")


@pytest.mark.parametrize("kind", ALL)
def test_rate_0_is_the_identity_and_bad_rates_are_refused(kind):
    for one in OWN:
        made = kind(rate=0.0)(one, draws(one.id))
        assert (made.tokens, made.slots) == (one.tokens, one.slots)
    for rate in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="rate is a probability"):
            kind(rate=rate)


@pytest.mark.parametrize("name", noise.NAMES)
@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_labels_stay_with_their_tokens(name, rate):
    make = noise.named(name, rate)
    assert make.name == name
    changed = 0
    for one in OWN:
        made = make(one, draws(name, one.id))
        assert made == make(one, draws(name, one.id))
        assert made.applied == (() if name == "clean" else tuple(name.split("+")))
        assert [" ".join(made.tokens[a:b]) for a, b, _ in made.spans] == [slot.gold_surface for slot in made.slots]
        assert from_bio(made.id, made.tokens, to_bio(made)).spans == made.spans
        before = {slot.number: slot for slot in one.slots}
        for slot in made.slots:
            assert (slot.label, slot.gold_clean) == (before[slot.number].label, before[slot.number].gold_clean)
        if name != "simplification":
            assert len(made.slots) == len(one.slots)
        changed += made.tokens != one.tokens
    assert changed == 0 if name == "clean" else changed > len(OWN) / 3


def test_a_noise_that_names_slots_changes_no_other_word():
    for one in OWN:
        made = Typos(1.0, "slots")(one, draws(one.id))
        inside = {at for slot in one.slots for at in range(slot.start, slot.stop)}
        for at, (was, now) in enumerate(zip(one.tokens, made.tokens, strict=True)):
            assert was == now or at in inside
        rest = Typos(1.0, "rest")(one, draws(one.id))
        assert [slot.gold_surface for slot in rest.slots] == [slot.gold_clean for slot in one.slots]
        assert rest.tokens != one.tokens
    with pytest.raises(ValueError, match="where must be one of all, slots, rest; got 'some'"):
        Typos(where="some")


def one_slip(word, typed):
    swapped = {word[:n] + word[n + 1] + word[n] + word[n + 2 :] for n in range(len(word) - 1)}
    lost = {word[:n] + word[n + 1 :] for n in range(len(word))}
    near = [(n, key) for n, letter in enumerate(word) for key in BESIDE.get(letter, "")]
    more = {word[:n] + key + word[n:] for n, key in near}
    other = {word[:n] + key + word[n + 1 :] for n, key in near}
    return [typed in ways for ways in (swapped, lost, more, other)]


def test_typos_are_of_four_sorts():
    generator, seen = np.random.default_rng(0), np.zeros(4)
    for _ in range(400):
        typed = noise.mistyped("lantern", generator)
        assert typed != "lantern"
        ways = one_slip("lantern", typed)
        assert any(ways)
        seen += ways
    assert (seen > 60).all()
    assert noise.mistyped("a", generator) == "a"
    assert noise.mistyped("1964", generator) == "1964"
    assert all(noise.mistyped("ÉÉ", generator) == "É" for _ in range(5))  # no key known, no neighbours to swap


def test_the_rate_is_that_of_words():
    one = marked("u", " ".join(["lantern"] * 4000))
    changed = sum(a != b for a, b in zip(one.tokens, Typos(0.3)(one, draws()).tokens, strict=True))
    assert abs(changed / 4000 - 0.3) < 0.03  # four standard errors


def test_words_by_hand():
    assert [misspelt(word) for word in ("Restaurant", "friend", "jelly", "cat", "7")] == [
        "Restaraunt", "freind", "jely", "cat", "7",
    ]  # fmt: skip
    one = marked("u", "Tonight for [people four]")
    made = Speech(1.0)(one, draws())
    assert made.tokens == ("To", "night", "four", "for")
    assert (made.slots[0].gold_surface, made.slots[0].gold_clean, made.slots[0].start) == ("for", "four", 3)


def test_sentences_by_hand():
    one = marked("u", "could you find [place Casa Lupa] because [person Ada] waits")
    short = Simplification()(one, draws())
    assert short.text == "find Casa Lupa"
    assert [slot.number for slot in short.slots] == [0]
    assert Simplification()(marked("u", "please"), draws()).text == "please"
    other = Paraphrase()(marked("u", "play [track find me] now"), draws())
    assert other.text in ("put on find me now", "start playing find me now")
    long = Verbose()(one, draws())
    assert " ".join(long.tokens).startswith(noise.OPENINGS)
    assert long.text.endswith(noise.ENDINGS)
    aside = AppendIrrelevant()(one, draws())
    assert aside.tokens[: len(one.tokens)] == one.tokens
    assert " ".join(aside.tokens[len(one.tokens) :]) in noise.ASIDES


def test_mixtures_keep_their_order():
    one = OWN[0]
    both = Mixture((Spelling(1.0), Speech(1.0)))
    assert both(one, draws()).applied == ("spelling", "speech")
    assert both.name == "spelling+speech"
    assert Mixture().name == "clean"
    assert Mixture()(one, draws()) == one
    turned = Mixture((Speech(1.0), Spelling(1.0)))
    assert both(one, draws()).tokens != turned(marked("u", "weekend forecast"), draws()).tokens
    with pytest.raises(UnknownName, match="no noise is called 'typo'; did you mean 'typos'"):
        noise.named("spelling+typo")


def test_snips_under_every_noise():
    if not SNIPS.exists():
        pytest.skip(f"{SNIPS} is not here")
    for one in slots.read(SNIPS, "test")[:150]:
        for name in noise.NAMES:
            made = noise.named(name, 1.0)(one, draws(name, one.id))
            assert from_bio(one.id, made.tokens, to_bio(made)).spans == made.spans
