"""What neighbours say of tokens beside a model, and what it comes to."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from trivium.models.datastore import Entries
from trivium.nn.nearest import interpolate, oracle, vote


@dataclass(frozen=True)
class Figures:
    """What one setting came to on the test tokens. Losses in nats over all of them; ``share`` is lambda. ``by_text``:
    losses of the model and of the mixture in nats per token, for each document. ``tau`` divides the distances,
    ``temperature`` is tau over their mean. ``recall``: the share of the exact neighbours that the search finds, over
    512 tokens; ``unanswered``: tokens for which it finds none at all; ``entries``: that were searched."""

    lm: float
    mixed: float
    best: float
    helped: float
    share: float
    temperature: float
    tokens: int
    words: int
    by_text: tuple[tuple[float, float], ...] = ()
    tau: float = math.nan
    recall: float = 1.0
    unanswered: int = 0
    entries: int = 0

    def perplexity(self, of: Literal["lm", "mixed", "best"] = "mixed", *, per_word: bool = False) -> float:
        """Of the model alone, of the mixture, or of the oracle."""
        return math.exp(getattr(self, of) / (self.words if per_word else self.tokens))

    def gain_over(self, other: "Figures") -> float:
        """Nats per token by which this mixture is better. Raises ValueError where the tokens are not the same ones."""
        if (self.tokens, self.words) != (other.tokens, other.words):
            raise ValueError(
                f"{self.tokens} tokens of {self.words} words and {other.tokens} of {other.words} are not the same text "
                "in the same tokens; compare perplexities per word"
            )
        return (other.mixed - self.mixed) / self.tokens


@dataclass(frozen=True, eq=False)
class Asked:
    """Neighbours of some tokens: scores, values, and what they and the model say of the right token."""

    scores: Tensor
    values: Tensor
    read: Entries

    def says(self, tau: float) -> Tensor:
        return vote(self.scores, self.values, self.read.values, tau).double()

    @property
    def own(self) -> Tensor:
        assert self.read.logp is not None
        return self.read.logp

    @property
    def answered(self) -> Tensor:
        return (self.scores > float("-inf")).any(1)


@dataclass(frozen=True, eq=False)
class Tuned:
    """What was found on the tuning tokens, and the neighbours of the test tokens."""

    share: float
    tau: float
    scale: float
    asked: Asked
    recall: float
    entries: int

    @property
    def temperature(self) -> float:
        """Tau over the scale, without the last digits, which the division may change."""
        return round(self.tau / self.scale, 12)

    @cached_property
    def neighbours(self) -> Tensor:
        return self.asked.says(self.tau)

    @cached_property
    def mixed(self) -> Tensor:
        return interpolate(self.asked.own, self.neighbours, self.share, self.asked.answered)

    @cached_property
    def best(self) -> Tensor:
        return oracle(self.asked.own, self.neighbours)


def figures(
    read: Entries, said: Tensor, share: float, words: int, answered: Tensor | None = None, **more: Any
) -> Figures:
    """Of tokens as the model read them, and what others say of them; ``more``: further fields by name."""
    assert read.logp is not None
    own = read.logp
    mixed = interpolate(own, said, share, answered)
    more = {"temperature": math.nan, **more}
    texts = (read.text == number for number in read.text.unique().tolist())
    return Figures(
        lm=-float(own.sum()),
        mixed=-float(mixed.sum()),
        best=-float(oracle(own, said).sum()),
        helped=float((said > own).double().mean()),
        share=share,
        tokens=len(own),
        words=words,
        by_text=tuple((-float(own[mine].mean()), -float(mixed[mine].mean())) for mine in texts),
        unanswered=0 if answered is None else int((~answered).sum()),
        **more,
    )
