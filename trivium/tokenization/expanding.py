"""A tokenizer with more words, that cuts every text without them as it did before.

    BPE behind a cut into words   a piece for the word with its space; a cut that is such a piece is one token, and no
                                  merge is added, so that no other word can be joined otherwise
    WordPiece                     an added token that is found as a whole word only

A vocabulary that chooses among all segmentations of a text (unigram), or joins across spaces, cannot promise this.
"""

import json
from collections.abc import Sequence
from typing import Any

from trivium.core.errors import NotOffered
from trivium.tokenization.huggingface import BYTE_TO_CHAR, HuggingFaceTokenizer

CHECKED = 8
"""Ids that an error names."""


def expanded(tokenizer: HuggingFaceTokenizer, words: Sequence[str]) -> HuggingFaceTokenizer:
    """A tokenizer of its own with an id for each word, from the first free one on.

    Raises ValueError for words that hold a space, stand twice, or are tokens already, and where an old token would now
    be read otherwise; NotOffered for vocabularies that words cannot be added to in this way.
    """
    if not words:
        raise ValueError("there is no word to add")
    for word in words:
        if not word or word.split() != [word]:
            raise ValueError(f"words are added, and {word!r} is none: it is empty or holds a space")
    if len(set(words)) < len(words):
        twice = next(word for at, word in enumerate(words) if word in words[:at])
        raise ValueError(f"the word {twice!r} stands twice")
    inner: Any = tokenizer.inner
    said = json.loads(inner.backend_tokenizer.to_str())
    sort, before = said["model"]["type"], json.dumps(said["pre_tokenizer"])
    if sort == "WordPiece":
        made = _whole_words(inner, words)
    elif sort == "BPE" and '"ByteLevel"' in before and said["normalizer"] is None:
        made = _pieces(inner, said, words)
    else:
        raise NotOffered(
            f"a {sort} vocabulary with this pre-tokenizer weighs whole texts, so that a new word changes others; "
            "byte-level BPE and WordPiece can be expanded"
        )
    _check(tokenizer, made, words)
    return made


def _pieces(inner: Any, said: dict[str, Any], words: Sequence[str]) -> HuggingFaceTokenizer:
    from tokenizers import Tokenizer as Inner

    vocab, start = said["model"]["vocab"], len(inner)
    if max(inner.get_vocab().values()) != start - 1:
        raise NotOffered("the ids of this vocabulary have holes, so that no new one follows the last")
    for at, word in enumerate(words):
        piece = "".join(BYTE_TO_CHAR[byte] for byte in (" " + word).encode())
        if piece in vocab:
            raise ValueError(f"{word!r} is a token already")
        if len(inner.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a " + word + " a")) != 3:
            raise ValueError(f"{word!r} is more than one word to this tokenizer's own cut into words; leave it out")
        vocab[piece] = start + at
    said["model"]["ignore_merges"] = True
    return _like(inner, Inner.from_str(json.dumps(said)))


def _whole_words(inner: Any, words: Sequence[str]) -> HuggingFaceTokenizer:
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Inner

    made = Inner.from_str(inner.backend_tokenizer.to_str())
    for word in words:
        if made.token_to_id(word) is not None:
            raise ValueError(f"{word!r} is a token already")
    made.add_tokens([AddedToken(word, single_word=True, normalized=False) for word in words])
    return _like(inner, made)


def _like(inner: Any, made: Any) -> HuggingFaceTokenizer:
    from transformers import PreTrainedTokenizerFast

    roles = {name: str(token) for name, token in inner.special_tokens_map.items() if isinstance(token, str)}
    new: Any = PreTrainedTokenizerFast(tokenizer_object=made, clean_up_tokenization_spaces=False, **roles)
    new.chat_template = inner.chat_template
    return HuggingFaceTokenizer(new)


def _check(old: HuggingFaceTokenizer, new: HuggingFaceTokenizer, words: Sequence[str]) -> None:
    """Each old token, as text, is cut as before, and each new word is one token behind a space."""
    texts = [old.bytes_of(id).decode("utf-8", errors="ignore") for id in range(old.vocab_size)]
    ours, theirs = (one.inner.backend_tokenizer.encode_batch(texts, add_special_tokens=False) for one in (old, new))
    wrong = [
        text
        for text, a, b in zip(texts, ours, theirs, strict=True)
        if a.ids != b.ids and text.removeprefix(" ") not in words
    ]
    if wrong:
        raise ValueError(
            f"with whole words looked up first, {len(wrong)} old tokens that merges never make would appear, such as "
            f"{wrong[:CHECKED]}; this vocabulary cannot be expanded without changing other text"
        )
    for at, word in enumerate(words):
        if old.vocab_size + at not in new.encode("a " + word):
            raise ValueError(f"{word!r} is not one token even after it was added; leave it out")
