"""Small Hugging Face tokenizers of the families that matter, made on the spot."""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXT = ["the cat sat on the mat", "the dog sat on the log", "naïve café, déjà vu", "x = 12 + 345", "für Elise"] * 4
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def byte_level(**more) -> PreTrainedTokenizerFast:
    """As in GPT-2: BPE over the byte alphabet."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(SPECIALS.values()),
        show_progress=False,
    )
    inner.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, **SPECIALS, **more)


def byte_fallback(*, space_first: bool = False) -> PreTrainedTokenizerFast:
    """As in Gemma (or, with a space before every text, Llama 2): sentencepiece with byte fallback, a <s> first."""
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        "t",
        "h",
        "e",
        "c",
        "a",
        "th",
        "the",
        "▁the",
        "ca",
    ]
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("c", "a")]
    inner = Tokenizer(
        models.BPE(
            vocab={piece: id for id, piece in enumerate(pieces)},
            merges=merges,
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    replace = normalizers.Replace(" ", "▁")
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if space_first else replace
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    inner.add_special_tokens(list(SPECIALS.values()))
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, **SPECIALS)
