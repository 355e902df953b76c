"""The byte tokenizer: 256 bytes and three special tokens. It needs no training and loses nothing."""

import json
from collections.abc import Sequence
from pathlib import Path

from trivium.core import files
from trivium.tokenization._bytes import bytes_of_text, text_of_bytes

SPECIALS = ("<|bos|>", "<|eos|>", "<|pad|>")


class ByteTokenizer:
    """Text to its UTF-8 bytes. Ids 0 to 255 are bytes; 256, 257 and 258 are bos, eos and pad.

    ``decode(encode(text)) == text`` for every Python string, lone surrogates included. The special tokens have no
    spelling in text: ``encode`` never makes one, so a document cannot end itself.
    """

    vocab_size = 259
    bos: int | None = 256
    eos: int | None = 257
    pad: int | None = 258
    opening: tuple[int, ...] = (256,)
    """What a prompt starts with."""

    def encode(self, text: str) -> list[int]:
        return list(bytes_of_text(text))

    def decode(self, ids: Sequence[int]) -> str:
        return text_of_bytes(b"".join(self.bytes_of(id) for id in ids))

    def bytes_of(self, id: int) -> bytes:
        if not 0 <= id < self.vocab_size:
            raise ValueError(
                f"token id {id} is outside the byte vocabulary of {self.vocab_size} (0 to {self.vocab_size - 1})"
            )
        return bytes([id]) if id < 256 else b""

    def save(self, folder: str | Path) -> None:
        """Write the files from which ``transformers.AutoTokenizer`` builds a tokenizer with the same ids."""
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        from trivium.tokenization.huggingface import BYTE_TO_CHAR  # tokenizers' spelling of a byte

        vocab = {BYTE_TO_CHAR[byte]: byte for byte in range(256)}
        inner = Tokenizer(models.BPE(vocab=vocab, merges=[]))
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        inner.decoder = decoders.ByteLevel()
        inner.add_special_tokens(list(SPECIALS))
        config = {
            "tokenizer_class": "TokenizersBackend",
            "trivium": "byte",
            **{f"{role}_token": token for role, token in zip(("bos", "eos", "pad"), SPECIALS, strict=True)},
        }
        files.write(Path(folder) / "tokenizer.json", inner.to_str())
        files.write(Path(folder) / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")
