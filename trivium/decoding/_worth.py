"""What a step of a story is worth, as a frozen reference model reads it: by a curve, or by a trained head.

The head sees the mean of the reference's states over the step and how surprised the reference was: mean, largest,
spread, and the mean of each quarter of the step. Its folder holds ``card.json``, which names the reference by a hash of
its weights, and ``value.safetensors``.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, binary_cross_entropy_with_logits, gelu, layer_norm, logsigmoid

from trivium.core.nouns import Loss
from trivium.core.protocols import LanguageModel, State, Tokenizer
from trivium.data.pairs import Pairs
from trivium.data.sentences import sentences
from trivium.decoding._loop import checked_normaliser
from trivium.models.trained import Module, TrainedFolder

QUARTERS, HIDDEN = 4, 64

By = Literal["pairwise", "binary"]


def kappa(surprisal: float, centre: float, spread: float) -> float:
    """The inverted U: 1 at the centre, falling alike to both sides."""
    return math.exp(-((surprisal - centre) ** 2) / (2 * spread**2))


def fitted_to(surprisals: Sequence[float]) -> tuple[float, float]:
    """Centre and spread of the curve: the median of these steps' mean surprisals, and half of what lies between the
    quantiles 0.16 and 0.84, which is one standard deviation where they are normal."""
    if len(surprisals) < 2:
        raise ValueError(f"a curve is fitted to the surprisals of at least 2 steps, got {len(surprisals)}")
    low, middle, high = torch.tensor(surprisals, dtype=torch.float64).quantile(torch.tensor([0.16, 0.5, 0.84]).double())
    if high <= low:
        raise ValueError(f"all {len(surprisals)} steps have one surprisal, {float(middle):.4g}; give different texts")
    return float(middle), float(high - low) / 2


def told(model: LanguageModel, tokenizer: Tokenizer, stories: Iterable[str]) -> list[float]:
    """How surprised the model is by the sentences of stories, per token: a mean for each but the first of a story, as
    far as its positions reach."""
    opening, found = list(getattr(tokenizer, "opening", ())), []
    most = math.inf if model.max_positions is None else model.max_positions
    with torch.inference_mode():
        for number, story in enumerate(stories):
            parts = [ids for ids in map(tokenizer.encode, sentences(story)) if ids]
            ends = [len(opening) + end for end in accumulate(map(len, parts))]
            parts = [part for part, end in zip(parts, ends, strict=True) if end <= most]
            if len(parts) > 1:
                reader = Reader(model, torch.tensor(opening + parts[0], device=model.device), number)
                (said,) = reader.read(reader.after([]), [[*chain(*parts[1:])]]).logprobs
                found += [-float(each.mean()) for each in said.split([len(part) for part in parts[1:]])]
    return found


# --- reading ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A model behind a text: the logits (1, vocab) of what follows, its state, and the text's length."""

    logits: Tensor
    state: State
    length: int


@dataclass(frozen=True)
class Reading:
    """Of several steps behind one place: the log-probabilities of their tokens (n,) each, and the mean state of each
    step (steps, width)."""

    logprobs: list[Tensor]
    pooled: Tensor

    @property
    def features(self) -> Float[Tensor, "steps features"]:
        return torch.stack([features(-logprobs) for logprobs in self.logprobs])


class Reader:
    """One model and one text that all steps of a search stand behind. Counts its passes and positions."""

    def __init__(self, model: LanguageModel, text: Tensor, row: int) -> None:
        self.model, self.row = model, row
        self.passes = self.positions = 0
        self._root = self._go_on(None, text, 0)

    def after(self, path: Sequence[int]) -> Place:
        """Behind the text and these tokens."""
        if not path:
            return self._root
        return self._go_on(self._root.state, torch.tensor(path, device=self.model.device), self._root.length)

    def _go_on(self, state: State | None, tokens: Tensor, length: int) -> Place:
        out = self.step(tokens[None], state)
        assert out.state is not None
        checked_normaliser(out.logits[:, -1], [self.row], [length + len(tokens)])
        return Place(out.logits[:, -1], out.state, length + len(tokens))

    def step(self, ids: Tensor, state: State | None, mask: Tensor | None = None) -> Any:
        """A pass whose last logits and state are wanted."""
        self.passes += 1
        self.positions += ids.numel()
        return self.model(ids, mask=mask, state=state, keep_state=True, logits_to_keep=1)

    def read(self, place: Place, steps: Sequence[Sequence[int]]) -> Reading:
        """All steps side by side, in one pass. Padding stands at the right, where a causal model never looks."""
        longest = max(map(len, steps))
        ids = torch.tensor([[*step, *[0] * (longest - len(step))] for step in steps], device=self.model.device)
        every = torch.zeros(len(steps), dtype=torch.int64)
        self.passes += 1
        self.positions += sum(map(len, steps))
        out = self.model(ids, state=place.state.select(every))
        logits = torch.cat([place.logits[:, None].expand(len(steps), -1, -1), out.logits[:, :-1]], 1)
        logprobs = []
        for at, step in enumerate(steps):
            own = logits[at, : len(step)]
            lengths = [place.length + before for before in range(len(step))]
            normaliser = checked_normaliser(own, [self.row] * len(step), lengths)
            logprobs.append(own.gather(1, ids[at, : len(step), None])[:, 0].to(normaliser.dtype) - normaliser)
        pooled = torch.stack([out.hidden[at, : len(step)].mean(0) for at, step in enumerate(steps)])
        return Reading(logprobs, pooled)


def read_answers(model: LanguageModel, pairs: Pairs) -> Reading:
    """The answers of pairs (rows, in their order) as a reader sees steps behind their contexts."""
    assert pairs.answer is not None
    out = model(pairs.ids, mask=pairs.mask)
    logp = out.logits[:, :-1].to(torch.promote_types(out.logits.dtype, torch.float32)).log_softmax(-1)
    own = logp.gather(2, pairs.ids[:, 1:, None])[..., 0]
    logprobs = [row[said] for row, said in zip(own, pairs.answer[:, 1:], strict=True)]
    pooled = torch.stack([row[said].mean(0) for row, said in zip(out.hidden, pairs.answer, strict=True)])
    return Reading(logprobs, pooled)


def features(surprisals: Float[Tensor, " tokens"]) -> Float[Tensor, " features"]:
    """Mean, largest, spread, and the mean of each quarter."""
    whole = torch.stack([surprisals.mean(), surprisals.max(), surprisals.std(correction=0)])
    return torch.cat([whole, adaptive_avg_pool1d(surprisals[None, None], QUARTERS)[0, 0]])


# --- the head ---------------------------------------------------------------------------------------------------


class ValueHead(Module):
    """States and surprisals of steps -> a score each, whose sigmoid is the value."""

    def __init__(self, width: int, seed: int = 0) -> None:
        super().__init__()
        self.width = width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.inner = nn.Linear(width + 3 + QUARTERS, HIDDEN)
            self.outer = nn.Linear(HIDDEN, 1)

    def forward(self, reading: Reading) -> Float[Tensor, " steps"]:
        pooled = layer_norm(reading.pooled.to(self.dtype), (self.width,))
        seen = torch.cat([pooled, reading.features.to(pooled)], 1)
        return self.outer(gelu(self.inner(seen)))[:, 0]


def head_loss(head: ValueHead, model: LanguageModel, pairs: Pairs, by: By) -> Loss:
    """``pairwise``: winners score higher than their losers; ``binary``: winners are 1 and losers 0."""
    if by not in get_args(By):
        raise ValueError(f"a value model learns by {' or '.join(get_args(By))}, not by {by!r}")
    with torch.no_grad():
        reading = read_answers(model, pairs)
    scores = head(reading)
    winner, loser = scores[0::2], scores[1::2]
    count = torch.tensor(len(winner), device=scores.device)
    if by == "pairwise":
        return Loss(-logsigmoid(winner - loser).sum(), count)
    right = torch.ones_like(winner)
    both = [binary_cross_entropy_with_logits(s, y, reduction="sum") for s, y in ((winner, right), (loser, 0 * right))]
    return Loss((both[0] + both[1]) / 2, count)


def save_head(
    head: ValueHead, folder: str | Path, model: LanguageModel, *, base: str, facts: Mapping[str, Any]
) -> None:
    """Write a head that reads this model."""
    _home(folder).write(head, model, base=base, **facts)


def open_head(folder: str | Path, model: LanguageModel) -> ValueHead:
    """The head in a folder. Raises ValueError where it reads another model than this one, BrokenModel where the folder
    is damaged, and NotFinite for numbers that are none."""
    home = _home(folder)
    home.check(home.card(), model)
    return home.fill(ValueHead(model.width)).to(model.device).eval()


def _home(folder: str | Path) -> TrainedFolder:
    return TrainedFolder(
        Path(folder),
        method="decoding/cosmos",
        what="value model",
        command="trivium stories value",
        weights="value.safetensors",
    )
