"""A small model that was taught the harmless policy of ``data.policy``: what claims about surrogates look into."""

from functools import lru_cache

from tokenizers import Tokenizer as Inner
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from trivium.architectures.llama import Llama
from trivium.core.method import find
from trivium.data.batches import Batches
from trivium.data.packing import tokenised
from trivium.data.policy import dialogue, policy
from trivium.models.system import System
from trivium.tokenization.huggingface import HuggingFaceTokenizer
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

DEPTH, STEPS, DIALOGUES, VOCAB = 6, 300, 4000, 640


@lru_cache(maxsize=1)
def tokenizer() -> HuggingFaceTokenizer:
    """A byte-level BPE vocabulary in which nearly every word of the policy is one token."""
    inner = Inner(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|bos|>", "<|eos|>"],
        show_progress=False,
    )
    inner.train_from_iterator([dialogue(one) for one in policy(2000, 99)], trainer)
    made = HuggingFaceTokenizer(
        PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<|bos|>", eos_token="<|eos|>")
    )
    assert made.bos is not None
    made.opening = (made.bos,)
    return made


def desk(seed: int, *, steps: int = STEPS) -> System:
    """Six layers, 0.4 million parameters, taught by dialogues of all forms."""
    words = tokenizer()
    model = Llama(width=64, depth=DEPTH, heads=4, context=128, tied=False).build(words.vocab_size, seed=seed)
    documents = tokenised([dialogue(one) for one in policy(DIALOGUES, 1000 + seed)], words)
    batches = Batches(documents, length=128, batch_size=12, seed=seed)
    train(model, find("objectives", "causal")(), batches, TrainingSettings(steps=steps, learning_rate=3e-3, seed=seed))
    return System(model.eval(), words, f"desk {seed}")
