"""Many texts at once give the ids that each gives alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.tokenization.made import SPECIALS, TEXT, byte_fallback, byte_level
from trivium.tokenization import batched
from trivium.tokenization.batched import SPLITS, encoder
from trivium.tokenization.byte import ByteTokenizer
from trivium.tokenization.huggingface import HuggingFaceTokenizer
from trivium.tokenization.transforms import ARITHMETIC, CaseTokenizer

EXTRA = ["the Cat's 12 mice", "3.14 is\n\n  not\t 22 / 7 !!", "don't DON'T we'll", "if x:\n    return 'x y'\n"] * 4


def bpe(*before, words=False, normalizer=None):
    """A byte-level BPE that splits texts by these steps, and by the pattern of GPT-2 where ``words``."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [*before, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words)]
    )
    inner.decoder = decoders.ByteLevel()
    if normalizer is not None:
        inner.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=alphabet, special_tokens=list(SPECIALS.values()), show_progress=False
    )
    inner.train_from_iterator([*TEXT, *EXTRA], trainer)
    inner.add_tokens([AddedToken("é le", normalized=True), AddedToken("t sat", lstrip=True, normalized=False)])
    return HuggingFaceTokenizer(PreTrainedTokenizerFast(tokenizer_object=inner, **SPECIALS))


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


WORDS = {
    "gpt2": HuggingFaceTokenizer(byte_level()),
    "smollm": bpe(pre_tokenizers.Digits(individual_digits=True), words=True),
    "arithmetic": bpe(split(ARITHMETIC), words=True),
    **{name: bpe(split(pattern)) for name, pattern in SPLITS.items() if name != "qwen2"},
    "qwen2": bpe(split(SPLITS["qwen2"]), normalizer=normalizers.NFC()),
}
"""Those whose words are remembered."""
OTHERS = {
    "no words": bpe(),
    "arithmetic alone": bpe(split(ARITHMETIC)),
    "words of one's own": bpe(split(r"\w+ ?|\W+")),
    "removed": bpe(pre_tokenizers.Split(Regex(SPLITS["gpt2"]), "merged_with_next")),
    "lower": bpe(words=True, normalizer=normalizers.Lowercase()),
    "gemma": HuggingFaceTokenizer(byte_fallback()),
    "llama2": HuggingFaceTokenizer(byte_fallback(space_first=True)),
    "byte": ByteTokenizer(),
    "case": CaseTokenizer(WORDS["gpt2"]),
}
PIECES = [
    "the",
    "cat",
    "'s",
    "12",
    "3",
    "café",
    "cafe\u0301 le",
    " ",
    "  ",
    "\n",
    "\t",
    "\r",
    "\u180e",
    "\x1c",
    "\u2028",
]
PIECES += ["\xa0", "</s>", "t sat", "x=", "-", "\u0301", "日本", "\ud800", "\U0001f600", "DON'T", "."]  # fmt: skip


@pytest.mark.parametrize("name", [*WORDS, *OTHERS])
@given(texts=st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), max_size=4))
def test_the_same_ids_as_one_by_one(name, texts):
    tokenizer = (WORDS | OTHERS)[name]
    found = ENCODERS[name](texts)
    assert [ids.tolist() for ids in found] == [tokenizer.encode(text) for text in texts]
    assert all(ids.dtype == np.uint32 for ids in found)


ENCODERS = {name: encoder(tokenizer) for name, tokenizer in (WORDS | OTHERS).items()}
"""One for all texts, so that what is remembered of one is used for another."""


def test_words_are_remembered_where_they_are_known_to_be_words():
    assert all(isinstance(ENCODERS[name], batched._Words) for name in WORDS)
    assert not any(isinstance(ENCODERS[name], batched._Words) for name in OTHERS)


def test_long_words_are_not_kept_and_many_are_forgotten(monkeypatch):
    encode = encoder(WORDS["gpt2"])
    assert isinstance(encode, batched._Words)
    encode(["the cat " + "x" * 500])
    assert set(encode.first) | set(encode.spaced) == {"the", "cat"}
    monkeypatch.setattr(batched, "REMEMBERED", 1)
    assert encode(["a log"])[0].tolist() == WORDS["gpt2"].encode("a log")
    assert set(encode.first) | set(encode.spaced) == {"a", "log"}
