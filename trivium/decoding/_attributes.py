"""Attributes: properties that a text has or has not once it is complete, and how likely a beginning comes to have one.

What an attribute is told of a text are its new tokens, without the stop token that ends it; a text that the limit cuts
off counts as complete.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor

from trivium.core.nouns import Stop
from trivium.core.protocols import LanguageModel
from trivium.decoding._loop import Prompts

Text = tuple[int, ...]

LARGEST = 100_000
"""Texts that an exact program looks at, at most."""


@dataclass(frozen=True)
class Step:
    """Beginnings and the tokens that may come next: ``rows`` and ``prefixes`` one per beam, ``tokens`` (beams,
    candidates), ``hidden`` (beams, width) behind each prefix, ``room``: how many tokens may follow the candidate."""

    rows: Sequence[int]
    prefixes: Sequence[Text]
    tokens: Tensor
    hidden: Tensor
    room: int


class Judge(ABC):
    """An attribute at work on one batch of prompts."""

    @abstractmethod
    def chances(self, step: Step) -> Tensor:
        """(beams, candidates): how likely a text that goes on with the candidate has the attribute; 0 only where it
        cannot."""

    @abstractmethod
    def holds(self, row: int, text: Text) -> bool | None:
        """Whether a complete text has the attribute; None where only ``chances`` can tell."""


class Attribute(ABC):
    """A property of complete texts that a function decides. Subclass it for one of your own."""

    @abstractmethod
    def holds(self, text: Text) -> bool:
        """Whether a complete text has it."""

    def chances(self, prefix: Text, tokens: Tensor, room: int, ends: bool) -> Tensor:
        """(candidates,) in 0 to 1: of the prefix with each token, neither of which ends it; ``room`` tokens may still
        come, and ``ends`` says whether the text may end before. Where nothing is known, 1."""
        return torch.ones(len(tokens), dtype=torch.float64)

    def impossible(self, limit: int, ends: bool) -> str | None:
        """Why no text of at most ``limit`` tokens can have it; None where one might."""
        return None

    def judge(self, model: LanguageModel, prompts: Prompts, limit: int, stop: Stop) -> Judge:
        """Begin on a batch."""
        return _Deciding(self, bool(stop.tokens or stop.texts))


class _Deciding(Judge):
    def __init__(self, attribute: Attribute, ends: bool) -> None:
        self.attribute, self.ends = attribute, ends

    def chances(self, step: Step) -> Tensor:
        tokens = step.tokens.cpu()
        return torch.stack(
            [
                self.attribute.chances(prefix, own, step.room, self.ends)
                for prefix, own in zip(step.prefixes, tokens, strict=True)
            ]
        )

    def holds(self, row: int, text: Text) -> bool | None:
        return self.attribute.holds(text)


@dataclass(frozen=True)
class Length(Attribute):
    """So many tokens; by default merely not empty."""

    at_least: int = 1
    at_most: int | None = None

    def __post_init__(self) -> None:
        if self.at_least < 0 or (self.at_most is not None and self.at_most < self.at_least):
            raise ValueError(f"a length lies between at_least >= 0 and at_most; got {self.at_least} to {self.at_most}")

    def holds(self, text: Text) -> bool:
        return self.at_least <= len(text) and (self.at_most is None or len(text) <= self.at_most)

    def chances(self, prefix: Text, tokens: Tensor, room: int, ends: bool) -> Tensor:
        """1 where such a length can still come about: what is possible is known exactly, how likely it is is not."""
        longest = len(prefix) + 1 + room
        shortest = len(prefix) + 1 if ends else longest
        possible = longest >= self.at_least and (self.at_most is None or shortest <= self.at_most)
        return torch.full((len(tokens),), float(possible), dtype=torch.float64)

    def impossible(self, limit: int, ends: bool) -> str | None:
        if self.at_least > limit:
            return f"a text of {self.at_least} tokens is asked for and the limit is {limit}; raise the limit"
        if not ends and self.at_most is not None and limit > self.at_most:
            return (
                f"nothing ends a text before the limit of {limit} tokens, and at most {self.at_most} are asked for; "
                "give a stop token, or lower the limit"
            )
        return None


@dataclass(frozen=True)
class NonDegenerate(Attribute):
    """Not empty, and few n-grams that occurred before in the same text."""

    n: int = 4
    share: float = 0.2
    """Of all n-grams of a text, as many may be repeated ones."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n must be at least 1 token, got {self.n}")
        if not 0.0 <= self.share < 1.0:
            raise ValueError(f"share is that of repeated n-grams, at least 0 and below 1; got {self.share}")

    def holds(self, text: Text) -> bool:
        grams = [text[at : at + self.n] for at in range(len(text) - self.n + 1)]
        return bool(text) and len(grams) - len(set(grams)) <= self.share * len(grams)

    def chances(self, prefix: Text, tokens: Tensor, room: int, ends: bool) -> Tensor:
        """0 where too much is repeated already to be made up for within the room; else 1, or less by how much the share
        of the text so far is too high: a guess."""
        grams = [prefix[at : at + self.n] for at in range(len(prefix) - self.n + 1)]
        repeats, count = len(grams) - len(set(grams)), len(prefix) + 2 - self.n
        if count < 1:
            return torch.ones(len(tokens), dtype=torch.float64)
        context = prefix[len(prefix) + 1 - self.n :]
        again = torch.tensor([gram[-1] for gram in set(grams) if gram[:-1] == context], dtype=torch.int64)
        repeated = (repeats + torch.isin(tokens, again)).double()
        guess = (self.share * count / repeated.clamp(min=1e-9)).clamp(max=1.0)
        fits = repeated <= self.share * (count + room)
        return torch.where(repeated <= self.share * count, 1.0, guess.clamp(min=0.05)).where(fits, 0.0)


@dataclass(frozen=True)
class Predicate(Attribute):
    """A function of one's own, and another for beginnings where one is known."""

    function: Callable[[Text], bool]
    beginning: Callable[[Text], float] = field(default=lambda text: 1.0)
    """The chance of a text that begins like this; must be 0 only where there is none."""

    def holds(self, text: Text) -> bool:
        return bool(self.function(text))

    def chances(self, prefix: Text, tokens: Tensor, room: int, ends: bool) -> Tensor:
        return torch.tensor([self.beginning((*prefix, token)) for token in tokens.tolist()], dtype=torch.float64)


@dataclass(frozen=True)
class Exact(Attribute):
    """The true probabilities under the model itself, by a dynamic program over all texts there are: for toy models."""

    of: Length | NonDegenerate | Attribute = field(default_factory=Length)

    def holds(self, text: Text) -> bool:
        return self.of.holds(text)

    def impossible(self, limit: int, ends: bool) -> str | None:
        return self.of.impossible(limit, ends)

    def judge(self, model: LanguageModel, prompts: Prompts, limit: int, stop: Stop) -> Judge:
        if model.vocab_size**limit > LARGEST:
            raise ValueError(
                f"{model.vocab_size} tokens and a limit of {limit} make more than {LARGEST} texts; an exact program is "
                "for toys, train a classifier for this model"
            )
        return _Program(self.of, model, prompts, limit, stop)


class _Program(Judge):
    """chance(text) = holds(text) where it is complete, else sum over v of p(v | text) chance(text v)."""

    def __init__(self, of: Attribute, model: LanguageModel, prompts: Prompts, limit: int, stop: Stop) -> None:
        self.of = of
        self.tables = [self._table(model, prompt, limit, stop) for prompt in prompts.rows]

    def _table(self, model: LanguageModel, prompt: Tensor, limit: int, stop: Stop) -> dict[Text, float]:
        whole = lambda text: len(text) == limit or text[-1] in stop.tokens  # noqa: E731
        table: dict[Text, float] = {}
        for length in range(limit, 0, -1):
            every = product(range(model.vocab_size), repeat=length)
            texts = [text for text in every if not {*text[:-1]} & {*stop.tokens}]
            open_ones = [text for text in texts if not whole(text)]
            if open_ones:
                ids = torch.cat([prompt.expand(len(open_ones), -1), torch.tensor(open_ones, device=prompt.device)], 1)
                p = model(ids, logits_to_keep=1).logits[:, -1].double().softmax(-1).cpu()
                after = torch.tensor([[table[(*text, v)] for v in range(model.vocab_size)] for text in open_ones])
                table |= dict(zip(open_ones, (p * after.double()).sum(-1).clamp(max=1.0).tolist(), strict=True))
            table |= {text: float(self.of.holds(written(text, stop))) for text in texts if whole(text)}
        return table

    def chances(self, step: Step) -> Tensor:
        found = [
            [self.tables[row].get((*prefix, token), 0.0) for token in own]
            for row, prefix, own in zip(step.rows, step.prefixes, step.tokens.tolist(), strict=True)
        ]
        return torch.tensor(found, dtype=torch.float64)

    def holds(self, row: int, text: Text) -> bool | None:
        return self.of.holds(text)


def written(tokens: Sequence[int], stop: Stop) -> Text:
    """A text without the stop token that ends it."""
    return tuple(tokens[:-1]) if tokens and tokens[-1] in stop.tokens else tuple(tokens)


def checked(chances: Any, shape: tuple[int, ...]) -> Tensor:
    """Raise ValueError where these are no probabilities, one for each candidate."""
    chances = torch.as_tensor(chances, dtype=torch.float64)
    if tuple(chances.shape) != shape:
        raise ValueError(f"the classifier gave {tuple(chances.shape)} values for {shape} candidates")
    wrong = ~((chances >= 0) & (chances <= 1))
    if wrong.any():
        raise ValueError(f"the classifier gave {float(chances[wrong][0])}; a probability lies between 0 and 1")
    return chances
