"""Hugging Face tokenizers under trivium's protocol, with the exact bytes of every token."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from trivium.tokenization._bytes import text_of_bytes, without_surrogates


def _byte_alphabet() -> tuple[str, ...]:
    """The printable character by which byte-level vocabularies spell each byte.

    Printable Latin-1 characters stand for themselves, and the other 68 bytes, in order, for U+0100 onwards.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in printable else next(spare)) for byte in range(256))


BYTE_TO_CHAR = _byte_alphabet()
CHAR_TO_BYTE = {char: bytes([byte]) for byte, char in enumerate(BYTE_TO_CHAR)}


class HuggingFaceTokenizer:
    """A tokenizer of the transformers library.

    ``encode`` adds no special tokens but reads those that are spelt in the text, as chat templates need. ``decode``
    joins the bytes of the tokens, special ones left out, so that decoding in pieces equals decoding at once; halves of
    a character show as U+FFFD. Text comes back as it was, but for what the tokenizer itself changes: sentencepiece
    spells the space as U+2581, so that this character turns into a space, and Llama 2 puts a space before every text.
    WordPiece keeps no spaces at all: it reads as words and punctuation with a space before each.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.vocab_size: int = len(inner)
        self.bos: int | None = inner.bos_token_id
        self.eos: int | None = inner.eos_token_id
        self.pad: int | None = inner.pad_token_id

    def encode(self, text: str) -> list[int]:
        return list(self.inner.encode(without_surrogates(text), add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        return text_of_bytes(b"".join(self.bytes_of(int(id)) for id in ids))

    def spelt(self, ids: Sequence[int]) -> str:
        """``decode``, with special tokens spelt out."""
        return text_of_bytes(b"".join(self._special.get(int(id)) or self.bytes_of(int(id)) for id in ids))

    def bytes_of(self, id: int) -> bytes:
        if not 0 <= id < self.vocab_size:
            raise ValueError(
                f"token id {id} is outside the vocabulary of {self.vocab_size} (0 to {self.vocab_size - 1})"
            )
        return self._bytes[id]

    @cached_property
    def opening(self) -> tuple[int, ...]:
        """The ids that this tokenizer wants before every text, such as Gemma's <bos>; often none."""
        plain = self.inner.encode("a", add_special_tokens=False)
        whole = list(self.inner.encode("a", add_special_tokens=True))
        for start in range(len(whole) - len(plain) + 1):
            if whole[start : start + len(plain)] == list(plain):
                return tuple(whole[:start])
        return ()

    def chat(self, text: str) -> str:
        """The text as a user's message, up to where the answer begins; unchanged where there is no chat template."""
        if not self.inner.chat_template:
            return text
        message = [{"role": "user", "content": without_surrogates(text)}]
        return self.inner.apply_chat_template(message, tokenize=False, add_generation_prompt=True)

    def save(self, folder: str | Path) -> None:
        self.inner.save_pretrained(folder)

    @cached_property
    def _special(self) -> dict[int, bytes]:
        return {id: token.content.encode() for id, token in self.inner.added_tokens_decoder.items() if token.special}

    @cached_property
    def _bytes(self) -> list[bytes]:
        """The bytes of every id, from the vocabulary and the way the tokenizer's own decoder reads it."""
        added = self.inner.added_tokens_decoder
        spell = _speller(self.inner)
        table = []
        for id, token in enumerate(self.inner.convert_ids_to_tokens(list(range(self.vocab_size)))):
            if id in added:
                table.append(b"" if added[id].special else added[id].content.encode())
            else:
                table.append(b"" if token is None else spell(token))
        return table


def _speller(inner: Any) -> Any:
    """How a vocabulary entry reads as bytes: str -> bytes."""
    backend = getattr(inner, "backend_tokenizer", None)
    if backend is None:
        raise TypeError(
            f"{type(inner).__name__} has no tokenizers backend, so the bytes of its tokens are unknown; "
            "save it as tokenizer.json with transformers and load that"
        )
    decoder = json.dumps(json.loads(backend.to_str())["decoder"], ensure_ascii=False)
    if '"ByteLevel"' in decoder:
        return lambda token: b"".join(CHAR_TO_BYTE.get(char) or char.encode() for char in token)
    if '"ByteFallback"' in decoder or '"Metaspace"' in decoder:
        return _sentencepiece
    if '"type": "WordPiece"' in decoder:
        prefix = json.loads(backend.to_str())["decoder"]["prefix"]
        return lambda token: (token.removeprefix(prefix) if token.startswith(prefix) else " " + token).encode()
    raise TypeError(
        f"{type(inner).__name__} decodes with {decoder}, from which the bytes of a token cannot be told; "
        "byte-level, sentencepiece and WordPiece vocabularies are supported"
    )


def _sentencepiece(token: str) -> bytes:
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return bytes([int(token[3:5], 16)])
    return token.replace("▁", " ").encode()
