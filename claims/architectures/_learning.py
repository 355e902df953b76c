"""What the claims about architectures share: byte-level stories, one way to train, and held-out bits by position."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trivium.core.method import find
from trivium.core.progress import Bar
from trivium.core.seeds import generator
from trivium.data.batches import Batches
from trivium.data.packing import tokenised
from trivium.data.stories import stories
from trivium.models.skeleton import Skeleton
from trivium.tokenization.byte import ByteTokenizer
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

TOKENIZER = ByteTokenizer()


@lru_cache(maxsize=1)
def corpus() -> tuple[list[list[int]], list[list[int]]]:
    """Ids of the documents to train on, and of those held out."""
    made = stories(3000, seed=0)
    return tokenised(made["train"], TOKENIZER), tokenised(made["test"], TOKENIZER)


def trained(
    recipe: Any,
    *,
    seed: int,
    length: int,
    rows: int,
    steps: int,
    rate: float,
    bar: Bar | None = None,
    documents: Sequence[Sequence[int]] | None = None,
    vocab_size: int = TOKENIZER.vocab_size,
) -> Skeleton:
    """A fresh model after so many updates. The seed fixes the data order and what models share of initial weights.
    ``documents`` are ids to train on in place of the stories, of another vocabulary where that is said."""
    model = recipe.build(vocab_size, seed=seed)
    batches = Batches(corpus()[0] if documents is None else documents, length=length, batch_size=rows, seed=seed)
    settings = TrainingSettings(steps=steps, learning_rate=rate, seed=seed)
    train(model, find("objectives", "causal")(), batches, settings)
    if bar is not None:
        bar.advance()
    return model.eval()


def held_out_windows(length: int, windows: int) -> Tensor:
    """(windows, length) ids that begin anywhere within held-out stories, the same ones for every model.

    Stories all begin alike, so a window from the beginning would show the opening formula rather than the use of
    context.
    """
    draw = generator(0, "windows", length)
    long = [document for document in corpus()[1] if len(document) > length]
    rows = []
    for index in range(windows):
        document = long[index % len(long)]
        start = int(torch.randint(1, len(document) - length + 1, (), generator=draw))
        rows.append(document[start : start + length])
    return torch.tensor(rows)


@torch.no_grad()
def held_out_bits(model: Skeleton, length: int, windows: int = 256) -> Tensor:
    """(windows, length - 1): bits of each next byte, over windows of held-out stories."""
    losses = []
    for part in held_out_windows(length, windows).split(32):
        logits = model(part).logits[:, :-1].flatten(0, 1).float()
        losses.append(F.cross_entropy(logits, part[:, 1:].flatten(), reduction="none").view(len(part), -1))
    return torch.cat(losses) / torch.log(torch.tensor(2.0))
