"""How many bits a model needs for texts: the measure that compares models of any vocabulary.

    bits = - sum over predicted tokens of log2 p(token | the tokens before it, at most length - 1 of them)

A text longer than ``length`` tokens is read in windows that overlap by half: every token is predicted once, and after
the first window from at least half of ``length`` tokens. Where the tokenizer opens a text with a token of its own
(bos), the first token of the text is predicted too; elsewhere neither its bits nor its bytes count. An end token is
not predicted, since not every tokenizer has one.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trivium.core.errors import NotFinite
from trivium.core.protocols import LanguageModel, Tokenizer
from trivium.core.text import size


@dataclass(frozen=True)
class Likelihood:
    """Bits spent on a text, over its UTF-8 bytes and the tokens predicted. Sums add up."""

    bits: float = 0.0
    bytes: int = 0
    tokens: int = 0

    def __add__(self, other: "Likelihood") -> "Likelihood":
        return Likelihood(self.bits + other.bits, self.bytes + other.bytes, self.tokens + other.tokens)

    @property
    def bits_per_byte(self) -> float:
        """Raises ValueError where there was nothing to predict."""
        if not self.bytes:
            raise ValueError("bits per byte of no bytes: every document is empty, or one token without a bos")
        return self.bits / self.bytes


@dataclass(frozen=True)
class _Window:
    """Tokens of one document, of which those from ``first`` on are predicted."""

    document: int
    ids: list[int]
    first: int


def bits_per_byte(
    model: LanguageModel, documents: Iterable[str], tokenizer: Tokenizer, length: int, *, batch_size: int = 8
) -> float:
    """Total bits over total bytes."""
    return sum(likelihoods(model, documents, tokenizer, length, batch_size=batch_size), Likelihood()).bits_per_byte


def likelihoods(
    model: LanguageModel, documents: Iterable[str], tokenizer: Tokenizer, length: int, *, batch_size: int = 8
) -> list[Likelihood]:
    """The likelihood of each document by itself.

    Raises ValueError for a length the model cannot take, NotFinite where the model gives NaN.
    """
    most = model.max_positions
    if length < 2 or (most is not None and length > most):
        limit = "" if most is None else f", and at most the {most} positions of this model"
        raise ValueError(f"length must be at least 2 tokens{limit}; got {length}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    opening = _opening(tokenizer)
    windows: list[_Window] = []
    sizes: list[int] = []
    for number, document in enumerate(documents):
        ids = tokenizer.encode(document)
        unseen = len(tokenizer.bytes_of(ids[0])) if ids and not opening else 0
        sizes.append(size(document) - unseen)
        windows += _windows(number, [*opening, *ids], max(len(opening), 1), length)

    bits, counts = [0.0] * len(sizes), [0] * len(sizes)
    windows.sort(key=lambda window: -len(window.ids))  # alike lengths together; the largest batch comes first
    training = model.training
    model.eval()
    try:
        for start in range(0, len(windows), batch_size):
            rows = windows[start : start + batch_size]
            for window, nats in zip(rows, _nats(model, rows), strict=True):
                bits[window.document] += nats / math.log(2)
                counts[window.document] += len(window.ids) - window.first
    finally:
        model.train(training)
    return [Likelihood(*each) for each in zip(bits, sizes, counts, strict=True)]


def _opening(tokenizer: Tokenizer) -> list[int]:
    """The tokens before a text: what the tokenizer says it opens with, else bos where there is one."""
    declared = getattr(tokenizer, "opening", None)
    if declared is not None:
        return list(declared)
    return [] if tokenizer.bos is None else [tokenizer.bos]


def _windows(document: int, ids: list[int], first: int, length: int) -> Iterable[_Window]:
    """Cut so that each token from ``first`` on is predicted in exactly one window."""
    end = min(length, len(ids))
    if end > first:
        yield _Window(document, ids[:end], first)
    done = max(end, first)
    while done < len(ids):
        end = min(done + max(length // 2, 1), len(ids))
        yield _Window(document, ids[max(end - length, 0) : end], done - max(end - length, 0))
        done = end


@torch.no_grad()
def _nats(model: LanguageModel, rows: Sequence[_Window]) -> list[float]:
    """What each window costs; padding goes to the right, where nothing sees it."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [0] * (longest - len(row.ids)) for row in rows], device=model.device)
    lengths = torch.tensor([len(row.ids) for row in rows], device=model.device)
    mask = None
    if any(len(row.ids) < longest for row in rows):
        mask = torch.arange(longest, device=model.device) < lengths[:, None]
    logits = model(ids, mask=mask).logits
    costs: list[Tensor] = []
    for row, (given, predicted) in enumerate(zip(ids, logits, strict=True)):
        stop = len(rows[row].ids)
        wide = predicted[rows[row].first - 1 : stop - 1].to(torch.promote_types(logits.dtype, torch.float32))
        each = F.cross_entropy(wide, given[rows[row].first : stop], reduction="none")
        costs.append(each.double().sum())
    nats = torch.stack(costs)
    if not nats.isfinite().all():
        raise NotFinite(f"the model gives likelihoods that are not finite (document {rows[0].document} or near it)")
    return nats.tolist()
