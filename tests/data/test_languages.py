"""Profiles by hand-worked answers; the English one against SQuAD's rule written out."""

import re
import string
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trivium.core.errors import UnknownName
from trivium.data.languages import OWN, PROFILES, Profile, distinct, exact, made, profile, token_f1, treebank, utf8

UD = Path(__file__).parents[3] / "shared" / "data" / "ud"
ENGLISH, FRENCH, ARABIC, LENIENT = (profile(name) for name in ("english", "french", "arabic", "arabic_lenient"))
SIGNS = (
    "aAblLxX éÉñøœß'’.,-_!?$¿؟;·1\n«»İıΣςσὁἡИи\u0301\u0300\u0345\u037e\u0640\u064b\u0654ياأإآٱىةكلمت中ﬁ😀\u00ad\u200d"
)
LETTERS = st.text(st.sampled_from(SIGNS), max_size=20)


@pytest.mark.parametrize("name", PROFILES)
@settings(max_examples=60, deadline=None)
@given(text=LETTERS)
def test_what_is_normalised_twice_is_as_if_once(name, text):
    one = profile(name)
    for rule in (one.normal, one.answer, replace(one, prefix="ال").answer):
        assert rule(rule(text)) == rule(text)
    assert exact(one, text, [text]) == token_f1(one, text, [text]) == 1.0
    assert "".join(one.sentences(text)) == (text if text.strip() else "")


@settings(max_examples=60, deadline=None)
@given(first=LETTERS, second=LETTERS)
def test_f1_is_symmetric(first, second):
    for one in (ENGLISH, FRENCH, LENIENT):
        assert token_f1(one, first, [second]) == pytest.approx(token_f1(one, second, [first]))


ENGLISH_WORDS = [
    "The",
    "the",
    "a",
    "An",
    "and",
    "U.S.",
    "café",
    "l'eau",
    "(x)",
    "--",
    "$5",
    "«no»",
    "a-b",
    "it's",
    "_",
    "\t",
]


def squad(text):
    text = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(ENGLISH_WORDS), max_size=8))
def test_english_is_the_rule_of_squad(words):
    text = " ".join(words)
    assert ENGLISH.answer(text) == squad(text)


def test_answers_by_hand():
    assert FRENCH.answer("L’eau de la Seine, il a vu des ponts.") == "eau seine il a vu ponts"
    assert ENGLISH.answer("il a vu") == "il vu"  # the trap: "a" is a verb in French
    assert profile("spanish").answer("¡Los niños y la casa!") == "niños y casa"
    assert profile("norwegian").answer("Et hus, en bil og ei bok") == "hus bil og bok"
    assert profile("ancient_greek").answer("Τὸν ἄνθρωπον, ὁ κύων·") == "ἄνθρωπον κύων"
    assert exact(ENGLISH, "the Cat!", ["dog", "cat"]) == 1.0
    assert exact(FRENCH, "The cat", ["cat"]) == 0.0
    assert exact(FRENCH, "CAFE\u0301", ["café"]) == 1.0


def test_arabic_by_hand():
    assert ARABIC.normal("كِتَـــابٌ") == "كتاب"
    assert ARABIC.normal("أإآٱا") == "ااااا"
    assert ARABIC.normal("مدرسة على") == "مدرسة على"
    assert LENIENT.normal("مدرسة على") == "مدرسه علي"
    assert exact(ARABIC, "مدرسة", ["مدرسه"]) == 0.0
    assert exact(LENIENT, "مدرسة", ["مدرسه"]) == 1.0
    assert ARABIC.answer("البيت") == "البيت"
    assert replace(ARABIC, prefix="ال").answer("البيت، بيت") == "بيت بيت"
    assert replace(ARABIC, prefix="ال").answer("ال الم") == "ال الم"  # nothing would be left
    assert ARABIC.normal("ABC") == "ABC"
    with pytest.raises(ValueError, match="english has arabic=False"):
        replace(ENGLISH, lenient=True)


def test_f1_by_hand():
    assert token_f1(ENGLISH, "the old old cat", ["old cat sat"]) == pytest.approx(2 * 2 / (3 + 3))
    assert token_f1(ENGLISH, "a dog", ["cat", "big dog"]) == pytest.approx(2 / 3)
    assert token_f1(ENGLISH, "the", ["cat"]) == 0.0
    assert token_f1(ENGLISH, "the", ["a"]) == 1.0  # both are empty


def test_words_by_hand():
    assert FRENCH.words("L'eau n’est pas là-bas, aujourd'hui.") == [
        "l'", "eau", "n’", "est", "pas", "là", "bas", "aujourd'", "hui",
    ]  # fmt: skip
    assert ENGLISH.words("Don't snake_case 'quoted' rock'n'roll") == ["don't", "snake", "case", "quoted", "rock'n'roll"]
    decomposed = unicodedata.normalize("NFD", "ἄνθρωπος ᾄδει")
    assert profile("ancient_greek").words(decomposed) == ["ἄνθρωπος", "ᾄδει"]
    assert ARABIC.words("كِتَابٌ، بَيت") == ["كتاب", "بيت"]
    assert Profile("plain").words("q\u0323\u0307q x\u0323") == ["q\u0323\u0307q", "x\u0323"]  # signs that no letter has


def test_sentences_by_hand():
    text = "Mr. Fox met J. Doe. He left! (Really?) Yes… at 5.30 p.m. it rained."
    assert ENGLISH.sentences(text) == [
        "Mr. Fox met J. Doe.", " He left!", " (Really?)", " Yes…", " at 5.30 p.m.", " it rained.",
    ]  # fmt: skip
    assert profile("ancient_greek").sentences("τίς εἶ; ἐγώ· σὺ δέ.") == ["τίς εἶ;", " ἐγώ·", " σὺ δέ."]
    assert ENGLISH.sentences("one; two. ") == ["one; two. "]
    assert ARABIC.sentences("من هذا؟ هو أخي.") == ["من هذا؟", " هو أخي."]
    assert FRENCH.sentences("M. Durand dort. Il rêve.") == ["M. Durand dort.", " Il rêve."]
    assert profile("norwegian").sentences("Frukt, f.eks. epler. Ja.") == ["Frukt, f.eks. epler.", " Ja."]


def test_distinct_by_hand_and_against_a_slow_mean():
    texts = ["a b a b c", "a b"]
    assert distinct(FRENCH, texts, 1) == 3 / 7
    assert distinct(FRENCH, texts, 2) == 3 / 5  # ab ba ab bc | ab
    assert distinct(FRENCH, texts, 2, window=5) == 3 / 5
    grams = ["ab", "ba", "ab", "bc", "ab"]
    slow = [len({*grams[at : at + 3]}) / 3 for at in range(3)]
    assert distinct(FRENCH, texts, 2, window=3) == pytest.approx(sum(slow) / 3)
    again = [f"word{n}" for n in range(10)] * 20
    short, long = " ".join(again[:40]), " ".join(again)
    assert distinct(ENGLISH, [long], 1) < distinct(ENGLISH, [short], 1)
    assert distinct(ENGLISH, [long], 1, window=20) == distinct(ENGLISH, [short], 1, window=20) == 0.5
    with pytest.raises(ValueError, match="2 texts have 5 2-grams, so no run of 6"):
        distinct(FRENCH, texts, 2, window=6)
    with pytest.raises(ValueError, match="n-grams are of at least 1 word, got 0"):
        distinct(FRENCH, texts, 0)


def test_what_is_not_known_or_not_readable():
    with pytest.raises(
        UnknownName, match=r"no language is called 'frensh'; did you mean 'french'\?; there are english, "
    ):
        profile("frensh")
    with pytest.raises(ValueError, match=r"some.txt is not UTF-8: byte 0xe9 at offset 3"):
        utf8("café".encode("latin-1"), "some.txt")


def conllu(*sentences):
    return "\n\n".join(
        "\n".join([*head, *("\t".join([str(n), word, *"______!_"[:8]]) for n, word in enumerate(text.split(), 1))])
        for head, text in sentences
    )


def test_treebanks(tmp_path):
    path = tmp_path / "some.conllu"
    path.write_text(
        conllu(
            (["# newdoc id = d1", "# sent_id = s1", "# text = Un = deux"], "Un = deux"),
            (["# sent_id = s2", "# text = Trois"], "Trois"),
            (["# source = d2", "# text = Quatre"], "Quatre"),
        ),
        "utf-8",
    )
    assert [(one.id, one.text, one.document) for one in treebank(path)] == [
        ("s1", "Un = deux", "d1"), ("s2", "Trois", "d1"), ("00003", "Quatre", "d2"),
    ]  # fmt: skip
    path.write_text(conllu((["# sent_id = s1"], "Un")))
    with pytest.raises(ValueError, match="line 3: the sentence before has no '# text ='"):
        treebank(path)
    path.write_text("# text = Un\n1\tUn\n")
    with pytest.raises(ValueError, match="line 2 has 2 columns; CoNLL-U has ten"):
        treebank(path)
    path.write_bytes(b"# text = caf\xe9\n")
    with pytest.raises(ValueError, match="byte 0xe9 at offset 12"):
        treebank(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match="holds no sentence"):
        treebank(path)


def test_our_own_sentences():
    assert set(OWN) | {"arabic_lenient"} == set(PROFILES)
    for name in PROFILES:
        assert len({one.text for one in made(name)}) == 12
        for one in made(name):
            assert profile(name).sentences(one.text) == [one.text]


@pytest.mark.parametrize(
    ("file", "least"),
    [("en_ewt", 2000), ("fr_gsd", 1400), ("es_gsd", 1400), ("no_bokmaal", 2400), ("grc_proiel", 1000)],
)
def test_ud_as_it_lies(file, least):
    path = UD / f"{file}-ud-dev.conllu"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    found = treebank(path)
    assert len({one.id for one in found}) == len(found) >= least
