"""Decoders of two layers of attention alone, trained on random tokens that repeat, and which of their heads that takes.

A row is some random tokens, eight to twenty, said over and over. What comes next can be known from the second time on,
and from nothing but what came behind the same token before: how long ago that was differs from row to row.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trivium.architectures.llama import Llama
from trivium.core import seeds
from trivium.core.progress import Bar
from trivium.models.skeleton import Block, Nothing, Skeleton
from trivium.models.slots import Attention, Head, RMSNorm, RotaryPosition, TokenEmbedding

VOCAB, LENGTH = 64, 40
PERIODS = (8, 20)
WIDTH, HEADS, DEPTH = 64, 4, 2
STEPS, ROWS, RATE = 2500, 32, 3e-3
WANTED = 0.3
"""Nats of loss from the second time on below which a model has learnt it."""


def decoder(seed: int) -> Skeleton:
    """Blocks without feed-forwards."""
    return Skeleton(
        Llama(width=WIDTH, depth=DEPTH, heads=HEADS),
        vocab_size=VOCAB,
        embedding=TokenEmbedding(VOCAB, WIDTH),
        position=RotaryPosition(WIDTH // HEADS, 10_000.0),
        blocks=[Block(RMSNorm(WIDTH), Attention(WIDTH, HEADS, HEADS), RMSNorm(WIDTH), Nothing()) for _ in range(DEPTH)],
        norm=RMSNorm(WIDTH),
        head=Head(WIDTH, VOCAB),
        seed=seed,
    )


def repeated(rows: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """ids (rows, LENGTH), and after how many tokens each row begins again (rows,)."""
    ids = torch.randint(VOCAB, (rows, LENGTH), generator=draws)
    periods = torch.randint(PERIODS[0], PERIODS[1] + 1, (rows,), generator=draws)
    return ids.gather(1, torch.arange(LENGTH) % periods[:, None]), periods


def unrepeated(rows: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """The same, but nothing is said twice unless by chance."""
    ids = torch.randint(VOCAB, (rows, LENGTH), generator=draws)
    return ids, torch.randint(PERIODS[0], PERIODS[1] + 1, (rows,), generator=draws)


def loss_on_repeats(model: Skeleton, drawn: tuple[Tensor, Tensor]) -> Tensor:
    """Nats per token, from the second token on that is said again."""
    ids, periods = drawn
    logits = model(ids[:, :-1]).logits
    known = torch.arange(1, LENGTH) > periods[:, None]  # the first one that comes again cannot be told
    return cross_entropy(logits[known], ids[:, 1:][known])


def trained(seed: int, bar: Bar) -> tuple[Skeleton, float]:
    """A model that was trained until it has learnt it or the steps are over, and its loss on fresh repeats."""
    model, draws = decoder(seed), seeds.generator(seed, "induction")
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    model.train()
    left = STEPS
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / 100)
        loss = loss_on_repeats(model, repeated(ROWS, draws))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        bar.advance()
        left -= 1
        if float(loss.detach()) < WANTED / 2:
            break
    bar.advance(left)
    model.eval()
    with torch.no_grad():
        return model, float(loss_on_repeats(model, repeated(200, seeds.generator(seed, "fresh"))))
