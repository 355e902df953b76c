"""Tokenizers trained on texts, their transforms, measures, and their expansion."""

import math

import pytest
import torch

from trivium.core.errors import NotOffered
from trivium.core.seeds import generator
from trivium.data.language_mix import LanguageMix
from trivium.models.likelihood import bits_per_byte
from trivium.tokenization.byte import ByteTokenizer
from trivium.tokenization.expanding import expanded
from trivium.tokenization.files import restore
from trivium.tokenization.measures import frequent_cut_words, gini, measure, parity, spaced, words
from trivium.tokenization.training import TokenizerRecipe
from trivium.tokenization.transforms import ESCAPE, TITLE, UPPER, mark_case, unmark_case

TEXTS = ["The CAT sat on the red mat, 12 + 34 = 46.", "A small bird flew over the GREEN hill near its old home."] * 30
HARD = [
    "The CAT and the Dog",
    "İstanbul ıssız IĞDIR İ ı",
    "Straße STRASSE ẞ ß",
    "ΟΔΥΣΣΕΥΣ Οδυσσεύς ΣΑΣ Σ ς",
    "ǅungla ǆ Ǆ ﬁn",
    f"a {TITLE} b{UPPER}C {ESCAPE}{ESCAPE}{TITLE}X {UPPER}",
    "iPhone McDonald's X1 ABC123def x\u0301Y A\u0308B",
    "हिन्दी में ABC 漢字 😀",
    "",
    " \n\t two  spaces ",
]


@pytest.fixture(scope="module")
def bpe():
    return TokenizerRecipe(vocab_size=340).train(TEXTS)


@pytest.mark.parametrize("text", HARD)
def test_case_comes_back_exactly(text):
    assert unmark_case(mark_case(text)) == text


def test_case_by_hand_and_what_cannot_come_back_is_left():
    assert mark_case("The CAT, a dog") == f"{TITLE}the {UPPER}cat, a dog"
    assert mark_case("İ ẞ iPhone") == "İ ẞ iPhone"  # small and back again they would be others
    assert unmark_case(f"ab {TITLE}") == "ab "  # cut off in the middle


def test_random_text_comes_back():
    draws = generator(0, "text")
    alphabet = f"aAbBİıßẞΣσςǅǆé 1_-{TITLE}{UPPER}{ESCAPE}\u0301"
    for _ in range(500):
        text = "".join(alphabet[int(i)] for i in torch.randint(len(alphabet), (12,), generator=draws))
        assert unmark_case(mark_case(text)) == text


@pytest.mark.parametrize("transform", ["none", "case", "arithmetic", "combined"])
@pytest.mark.parametrize("algorithm", ["bpe", "unigram", "char"])
def test_nothing_is_lost_in_memory_and_on_disk(algorithm, transform, tmp_path):
    if algorithm != "bpe":
        pytest.importorskip("sentencepiece")
    made = TokenizerRecipe(algorithm, 340, transform).train(TEXTS)
    made.save(tmp_path)
    again = restore(tmp_path)
    for text in [*TEXTS[:2], *HARD]:
        if algorithm != "bpe":
            text = text.replace("▁", "")
        ids = made.encode(text)
        assert made.decode(ids) == text
        assert again.encode(text) == ids
        assert again.decode(ids) == text
    assert made.vocab_size <= 340
    assert len({made.bos, made.eos, made.pad}) == 3
    if transform in ("arithmetic", "combined"):
        assert len(made.encode("12345")) == 5
        signs = made.encode("7+8=15")
        assert [made.bytes_of(id) for id in signs] == [b"7", b"+", b"8", b"=", b"1", b"5"]
    if transform in ("case", "combined"):
        small = set(made.encode("zzz cat"))
        assert set(made.encode("zzz CAT")) > small - set(made.encode(" "))


def test_the_same_texts_give_the_same_tokenizer(bpe):
    again = TokenizerRecipe(vocab_size=340).train(TEXTS)
    assert again.vocab_size == bpe.vocab_size > 300
    assert all(again.bytes_of(id) == bpe.bytes_of(id) for id in range(bpe.vocab_size))


def test_characters_are_characters():
    pytest.importorskip("sentencepiece")
    made = TokenizerRecipe("char", 340).train(TEXTS)
    assert len(made.encode("the cat")) == 7


def test_wordpiece_reads_as_words_and_bytes_need_no_training():
    made = TokenizerRecipe("wordpiece", 200).train(TEXTS)
    assert made.decode(made.encode("the small bird")) == " the small bird"
    assert isinstance(TokenizerRecipe("byte").train([]), ByteTokenizer)


def test_bad_recipes():
    for settings, said in (
        ({"algorithm": "word"}, "algorithm"),
        ({"transform": "lower"}, "transform"),
        ({"vocab_size": 100}, "at least 259"),
        ({"algorithm": "byte", "transform": "case"}, "bytes"),
        ({"coverage": 0.0}, "coverage"),
    ):
        with pytest.raises(ValueError, match=said):
            TokenizerRecipe(**settings)
    with pytest.raises(ValueError, match="no text"):
        TokenizerRecipe(vocab_size=300).train(["", "  "])


# measures -----------------------------------------------------------------------------------------------------------


def test_words_are_unicodes():
    assert words("Don't stop: 3.5 हिन्दी में, ok?") == ["Don't", "stop", "3.5", "हिन्दी", "में", "ok"]
    assert spaced("hello world")
    assert not spaced("これは日本語です")
    assert not spaced("ภาษาไทย")


def test_measures_by_hand():
    got = measure(ByteTokenizer(), ["ab é c", "x"])
    assert (got.tokens, got.characters, got.bytes, got.words, got.cut) == (8, 7, 8, 4, 2)
    assert (got.fertility, got.continued, got.bytes_per_token) == (2.0, 0.5, 1.0)
    assert got.fallback == 2  # the two bytes of é
    assert got.fallback_share == 0.25
    japanese = measure(ByteTokenizer(), ["日本"])
    assert (japanese.fertility, japanese.continued, japanese.tokens_per_character) == (None, None, 3.0)
    with pytest.raises(ValueError, match="no token"):
        measure(ByteTokenizer(), [""])


def test_unknown_tokens_are_counted():
    made = TokenizerRecipe("wordpiece", 200).train(TEXTS)
    got = measure(made, ["the 漢 red"])
    assert got.unknown == 1
    assert got.unknown_rate == 1 / got.tokens


def test_parity_and_gini_by_hand():
    assert parity(ByteTokenizer(), ["abcd", "ef"], ["ab", "e"]) == 2.0
    with pytest.raises(ValueError, match="parallel"):
        parity(ByteTokenizer(), ["a"], [])
    assert gini([2.0, 2.0, 2.0]) == 0.0
    assert gini([0.0, 0.0, 1.0]) == pytest.approx(2 / 3)
    values = [1.0, 2.0, 5.0]
    loop = sum(abs(a - b) for a in values for b in values) / (2 * 9 * sum(values) / 3)
    assert gini(values) == pytest.approx(loop)
    with pytest.raises(ValueError, match="Gini"):
        gini([])


def test_a_uniform_model_over_bytes_has_8_bits():
    class Uniform:
        max_positions, device, training = None, torch.device("cpu"), False

        def __call__(self, ids, mask=None):
            logits = torch.full((*ids.shape, 259), -math.inf)
            logits[..., :256] = 0
            return type("Out", (), {"logits": logits})

        def train(self, mode=True):
            return self

        eval = train

    assert bits_per_byte(Uniform(), ["hello é"], ByteTokenizer(), 16) == pytest.approx(8.0)  # type: ignore[arg-type]


# expansion ----------------------------------------------------------------------------------------------------------


def test_added_words_are_one_token_and_other_text_is_cut_as_before(bpe):
    texts = ["The kucing sat near the kucingku and kucing-kucing.", "a harimau, Harimau harimaus xharimau"]
    made = expanded(bpe, ["kucing", "harimau"])
    assert made.vocab_size == bpe.vocab_size + 2
    assert made.encode("a kucing b") == [*bpe.encode("a"), bpe.vocab_size, *bpe.encode(" b")]
    for text in [*TEXTS, *HARD, "The kucingku sat", "harimaus xharimau Harimau akucing", "kucing at the start"]:
        assert made.encode(text) == bpe.encode(text), text
    for text in texts:
        assert made.decode(made.encode(text)) == text
        assert len(made.encode(text)) < len(bpe.encode(text))


def test_wordpiece_takes_whole_words_only():
    old = TokenizerRecipe("wordpiece", 200).train(TEXTS)
    made = expanded(old, ["smal", "hil"])
    assert old.vocab_size in made.encode("a smal bird")
    for text in ("the small hill", "smalls xhil"):
        assert made.encode(text) == old.encode(text)


def test_the_expansion_is_saved(bpe, tmp_path):
    made = expanded(bpe, ["kucing"])
    made.save(tmp_path)
    assert restore(tmp_path).encode("the kucing sat") == made.encode("the kucing sat")


def test_what_cannot_be_added(bpe):
    for given, said in (
        ([], "no word"),
        (["two words"], "holds a space"),
        (["kucing", "kucing"], "twice"),
        (["the"], "token already"),
        (["don't!x"], "more than one word"),
    ):
        with pytest.raises(ValueError, match=said):
            expanded(bpe, given)
    pytest.importorskip("sentencepiece")
    with pytest.raises(NotOffered, match="whole texts"):
        expanded(TokenizerRecipe("unigram", 340).train(TEXTS), ["kucing"])


def test_frequent_cut_words(bpe):
    texts = ["zebra zebra zebra quokka quokka the the the the lynx"]
    assert frequent_cut_words(bpe, texts, 5) == ["zebra", "quokka"]
    assert frequent_cut_words(bpe, texts, 1) == ["zebra"]


# the mix of languages -----------------------------------------------------------------------------------------------


def test_shares_by_hand():
    sizes = {"en": 900.0, "oc": 100.0}
    assert LanguageMix().shares(sizes) == pytest.approx({"en": 0.9, "oc": 0.1})
    assert LanguageMix(temperature=2).shares(sizes) == pytest.approx({"en": 0.75, "oc": 0.25})
    assert LanguageMix(temperature=math.inf).shares(sizes) == pytest.approx({"en": 0.5, "oc": 0.5})
    assert LanguageMix(factors={"en": 0.5, "oc": 2}).shares(sizes) == pytest.approx({"en": 450 / 650, "oc": 200 / 650})
    capped = LanguageMix(temperature=math.inf, epochs=1).shares({"a": 10, "b": 100, "c": 1000}, 300)
    assert capped == pytest.approx({"a": 10 / 300, "b": 100 / 300, "c": 190 / 300})


def test_the_mix_refuses():
    with pytest.raises(ValueError, match="do not make"):
        LanguageMix(epochs=1).shares({"a": 10.0}, 20)
    with pytest.raises(ValueError, match="no text"):
        LanguageMix(factors={"b": 2.0}).shares({"a": 10.0})
    with pytest.raises(ValueError, match="temperature"):
        LanguageMix(temperature=0.5)


def test_a_sample_keeps_to_the_shares():
    texts = {"a": ["x" * 10] * 50, "b": ["y" * 10] * 5}
    got = LanguageMix(temperature=math.inf).sample(texts, 400, generator=generator(0, "s"))
    assert (len(got["a"]), len(got["b"])) == (20, 20)  # b is gone through four times
    again = LanguageMix(temperature=math.inf).sample(texts, 400, generator=generator(0, "s"))
    assert got == again
