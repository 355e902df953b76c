"""What the claims about words made of bytes share: a subword vocabulary to compare with, texts with slips, training on
equal operations, and bits per byte of the same stretches for every vocabulary."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from tokenizers import Tokenizer as Inner
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from trivium.core.budget import Budget
from trivium.core.method import find
from trivium.core.protocols import LanguageModel, Tokenizer
from trivium.core.seeds import generator
from trivium.data.batches import Batches
from trivium.data.named import named
from trivium.data.packing import tokenised
from trivium.models.likelihood import bits_per_byte
from trivium.tokenization.byte import ByteTokenizer
from trivium.tokenization.huggingface import HuggingFaceTokenizer
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

BYTES = ByteTokenizer()


@lru_cache(maxsize=2)
def subwords(size: int, corpus: str = "stories") -> HuggingFaceTokenizer:
    """A byte-level BPE vocabulary of so many ids, merged on what is trained on. It opens a text as the bytes do."""
    inner = Inner(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|bos|>", "<|eos|>"],
        show_progress=False,
    )
    inner.train_from_iterator(named(corpus)["train"], trainer)
    made = HuggingFaceTokenizer(
        PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<|bos|>", eos_token="<|eos|>")
    )
    assert made.bos is not None
    made.opening = (made.bos,)
    return made


@lru_cache(maxsize=2)
def _ids(tokenizer: Tokenizer, corpus: str) -> list[list[int]]:
    return tokenised(named(corpus)["train"], tokenizer)


def trained(
    recipe: Any,
    tokenizer: Tokenizer,
    *,
    seed: int,
    length: int,
    rows: int,
    flops: float,
    rate: float,
    corpus: str = "stories",
) -> Any:
    """A fresh model after as many updates as the operations pay for, on rows of ``length`` tokens."""
    model = recipe.build(tokenizer.vocab_size, seed=seed)
    batches = Batches(_ids(tokenizer, corpus), length=length, batch_size=rows, seed=seed)
    settings = TrainingSettings(learning_rate=rate, seed=seed)
    train(model, find("objectives", "causal")(), batches, settings, budget=Budget("flops", flops))
    return model.eval()


def stretches(size: int, count: int, slips: float = 0.0) -> list[str]:
    """Held-out text in pieces of so many bytes, the same for everyone. Of the pairs of neighbouring letters inside a
    word a share of ``slips`` has changed places."""
    draw = generator(0, "slips", size)
    found: list[str] = []
    for document in named("stories")["test"]:
        for start in range(0, len(document) - size, size):
            if len(found) == count:
                return found
            found.append(slipped(document[start : start + size], slips, draw))
    return found


def slipped(text: str, share: float, draw: torch.Generator) -> str:
    """The text with each letter, by this chance, exchanged for the letter after it; none moves twice."""
    letters = list(text)
    chances = torch.rand(len(letters), generator=draw).tolist()
    index = 0
    while index + 1 < len(letters):
        if chances[index] < share and letters[index].isalpha() and letters[index + 1].isalpha():
            letters[index], letters[index + 1] = letters[index + 1], letters[index]
            index += 1
        index += 1
    return "".join(letters)


def bits(model: LanguageModel, tokenizer: Tokenizer, texts: Sequence[str]) -> float:
    """Bits per byte of texts that are read whole."""
    longest = max(len(tokenizer.encode(text)) for text in texts) + len(getattr(tokenizer, "opening", ()))
    return bits_per_byte(model, texts, tokenizer, longest, batch_size=32)
