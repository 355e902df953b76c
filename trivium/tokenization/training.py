"""Tokenizers trained on texts: BPE over bytes, unigram, single characters, WordPiece, or bytes without training.

BPE and WordPiece are trained by tokenizers, unigram and characters by sentencepiece; all are then plain tokenizers of
transformers, saved as ``tokenizer.json``. What sentencepiece has no token for is spelt in bytes, so that nothing is
lost. WordPiece loses spaces and unknown words by its nature.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from trivium.core.optional import require
from trivium.core.protocols import Tokenizer
from trivium.tokenization._bytes import without_surrogates
from trivium.tokenization.byte import SPECIALS, ByteTokenizer
from trivium.tokenization.huggingface import BYTE_TO_CHAR, HuggingFaceTokenizer
from trivium.tokenization.transforms import ARITHMETIC, CaseTokenizer, Transform, check_transform, mark_case

Algorithm = Literal["bpe", "unigram", "char", "wordpiece", "byte"]


@dataclass(frozen=True)
class TokenizerRecipe:
    """How a tokenizer is made."""

    algorithm: Algorithm = "bpe"
    vocab_size: int = 8000
    """Tokens in all, special ones included; fewer where the texts do not give as many. Bytes have 259."""
    transform: Transform = "none"
    """What is done to the text first; see ``transforms``."""
    min_frequency: int = 2
    """Of a pair that BPE or WordPiece joins."""
    coverage: float = 0.9995
    """Share of the characters of the text that unigram and char have tokens for; the rest is spelt in bytes."""

    def __post_init__(self) -> None:
        if self.algorithm not in get_args(Algorithm):
            raise ValueError(f"algorithm must be one of {', '.join(get_args(Algorithm))}; got {self.algorithm!r}")
        check_transform(self.transform)
        if self.algorithm == "byte" and self.transform != "none":
            raise ValueError("bytes are cut no other way after a transform; use algorithm='bpe' with it")
        if self.min_frequency < 1 or not 0 < self.coverage <= 1:
            raise ValueError(
                "min_frequency must be at least 1 and coverage a share above 0; got "
                f"{self.min_frequency}, {self.coverage}"
            )
        least = {"bpe": 256 + len(SPECIALS), "unigram": 256 + 5, "char": 256 + 5, "wordpiece": 6}.get(self.algorithm, 1)
        if self.vocab_size < least:
            raise ValueError(f"{self.algorithm} needs at least {least} tokens for its alphabet; got {self.vocab_size}")

    def train(self, texts: Iterable[str]) -> Tokenizer:
        """The tokenizer. Raises ValueError where there is no text, MissingExtra without sentencepiece."""
        if self.algorithm == "byte":
            return ByteTokenizer()
        case = self.transform in ("case", "combined")
        given = (without_surrogates(mark_case(text) if case else text) for text in texts if text.strip())
        first = next(given, None)
        if first is None:
            raise ValueError("there is no text to train a tokenizer on")
        made = getattr(self, f"_{self.algorithm}")(_chained(first, given))
        return CaseTokenizer(made) if case else made

    def _before(self, pre_tokenizers: Any, then: Any) -> Any:
        if self.transform not in ("arithmetic", "combined"):
            return then
        from tokenizers import Regex

        return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(ARITHMETIC), "isolated"), then])

    def _bpe(self, texts: Iterator[str]) -> Tokenizer:
        from tokenizers import Tokenizer as Inner
        from tokenizers import decoders, models, pre_tokenizers, trainers

        inner = Inner(models.BPE())
        inner.pre_tokenizer = self._before(pre_tokenizers, pre_tokenizers.ByteLevel(add_prefix_space=False))
        inner.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab_size,
            min_frequency=self.min_frequency,
            special_tokens=list(SPECIALS),
            initial_alphabet=sorted(BYTE_TO_CHAR),
            show_progress=False,
        )
        inner.train_from_iterator(texts, trainer)
        return _wrapped(inner, dict(zip(("bos", "eos", "pad"), SPECIALS, strict=True)))

    def _wordpiece(self, texts: Iterator[str]) -> Tokenizer:
        from tokenizers import Tokenizer as Inner
        from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

        roles = {role: f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")}
        inner = Inner(models.WordPiece(unk_token=roles["unk"]))
        inner.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
        inner.pre_tokenizer = self._before(pre_tokenizers, pre_tokenizers.BertPreTokenizer())
        inner.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(
            vocab_size=self.vocab_size,
            min_frequency=self.min_frequency,
            special_tokens=list(roles.values()),
            show_progress=False,
        )
        inner.train_from_iterator(texts, trainer)
        return _wrapped(inner, roles)

    def _unigram(self, texts: Iterator[str]) -> Tokenizer:
        return self._pieces(texts, "unigram")

    def _char(self, texts: Iterator[str]) -> Tokenizer:
        return self._pieces(texts, "char")

    def _pieces(self, texts: Iterator[str], sort: str) -> Tokenizer:
        sentencepiece = require("sentencepiece", extra="sentencepiece", why="unigram vocabularies are trained with it")
        from tokenizers import Tokenizer as Inner
        from tokenizers import decoders, models, pre_tokenizers

        held = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=(line for text in texts for line in text.splitlines() if line.strip()),
                model_writer=held,
                model_type=sort,
                vocab_size=self.vocab_size,
                hard_vocab_limit=False,
                character_coverage=self.coverage,
                byte_fallback=True,
                normalization_rule_name="identity",
                remove_extra_whitespaces=False,
                add_dummy_prefix=False,
                split_digits=self.transform in ("arithmetic", "combined"),
                max_sentence_length=1 << 20,
                num_threads=1,
                minloglevel=2,
                unk_id=0,
                bos_id=1,
                eos_id=2,
                pad_id=3,
            )
        except RuntimeError as error:
            raise ValueError(f"sentencepiece cannot train on these texts: {str(error).strip()[:200]}") from error
        trained = sentencepiece.SentencePieceProcessor(model_proto=held.getvalue())
        vocab = [(trained.id_to_piece(id), trained.get_score(id)) for id in range(trained.get_piece_size())]
        inner = Inner(models.Unigram(vocab, unk_id=0, byte_fallback=True))
        space = pre_tokenizers.Metaspace(prepend_scheme="never", split=sort == "unigram")
        inner.pre_tokenizer = self._before(pre_tokenizers, space)
        inner.decoder = decoders.Sequence(
            [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="never"), decoders.Fuse()]
        )
        roles = {role: trained.id_to_piece(id) for id, role in enumerate(("unk", "bos", "eos", "pad"))}
        inner.add_special_tokens([roles[role] for role in ("unk", "bos", "eos", "pad")])
        return _wrapped(inner, roles)


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _wrapped(inner: Any, roles: dict[str, str]) -> HuggingFaceTokenizer:
    from transformers import PreTrainedTokenizerFast

    named = {f"{role}_token": token for role, token in roles.items()}
    return HuggingFaceTokenizer(
        PreTrainedTokenizerFast(tokenizer_object=inner, clean_up_tokenization_spaces=False, **named)
    )
