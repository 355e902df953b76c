"""What the claims about pairs of models share: a large and a small one that read the same stories, and how well their
texts are told."""

from collections.abc import Callable
from functools import cache

import torch

from trivium.architectures.llama import Llama
from trivium.compare.claim import ClaimResult, judge
from trivium.core.nouns import Generation
from trivium.core.progress import Bar
from trivium.core.protocols import Decoder, LanguageModel
from trivium.core.seeds import generator
from trivium.data.batches import Batches
from trivium.data.packing import tokenised
from trivium.data.stories import stories
from trivium.decoding.greedy import Greedy
from trivium.objectives.causal import Causal
from trivium.tokenization.byte import ByteTokenizer
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

SEEDS, TEXTS, BEGIN, NEW, LENGTH = 3, 32, 64, 128, 256
TOKENIZER = ByteTokenizer()


@cache
def pair(seed: int) -> tuple[LanguageModel, LanguageModel, torch.Tensor]:
    """A large and a small model, and the beginnings of stories that neither has read (texts, bytes)."""
    corpus = stories(2000, seed=seed)
    batches = Batches(tokenised(corpus["train"], TOKENIZER), LENGTH, 16, seed)
    models = []
    for width, depth in ((128, 2), (48, 1)):
        model = Llama(width=width, depth=depth, heads=4, context=LENGTH).build(TOKENIZER.vocab_size, seed=seed)
        train(model, Causal(), batches, TrainingSettings(steps=400, learning_rate=3e-3, seed=seed))
        models.append(model.eval())
    asked = [TOKENIZER.encode(text)[:BEGIN] for text in list(corpus["test"])[:TEXTS]]
    return models[0], models[1], torch.tensor(asked)


def surprise(model: LanguageModel, prompt: torch.Tensor, made: Generation) -> float:
    """Nats per byte of what was written, to this model."""
    with torch.no_grad():
        logp = model(torch.cat([prompt, made.ids], 1)).logits[:, prompt.shape[1] - 1 : -1].log_softmax(-1)
    return -float(logp.gather(2, made.ids[..., None]).mean())


def better_than_a_mixture(
    decoder: Callable[[LanguageModel], Decoder], share: Callable[[Generation], float], bar: Bar
) -> ClaimResult:
    """Whether a pair closes more of the gap between its models than the share of the large model's work it takes.

    The gap is in surprise to the large model, between greedy text of the small and of the large one; ``decoder`` is
    made from the small model, and ``share`` is the large model's part of a generation.
    """
    bar.total = SEEDS
    closed, taken, gaps = [], [], []
    for seed in range(SEEDS):
        large, small, prompt = pair(seed)
        words = {"limit": NEW, "generator": generator(seed, "claim")}
        made = decoder(small)(large, prompt, **words)
        worst = surprise(large, prompt, Greedy()(small, prompt, **words))
        best = surprise(large, prompt, Greedy()(large, prompt, **words))
        gaps.append(worst - best)
        closed.append((worst - surprise(large, prompt, made)) / gaps[-1])
        taken.append(share(made))
        bar.advance(note=f"seed {seed}")
    gains = [part - cost for part, cost in zip(closed, taken, strict=True)]
    note = "share of the gap closed minus share of the large model's passes or tokens; 0 is a mixture at random"
    return judge(gains, note=note, closed=closed, taken=taken, gaps=gaps)
