"""Mirostat: a cut that follows feedback, so that the text is as surprising as was asked for.

Source
    Basu, Ramachandran, Keskar, Varshney 2021, "Mirostat: A Neural Text Decoding Algorithm that Directly Controls
    Perplexity", arXiv:2007.14966; version 2 after the authors' later code (the paper's version 1 first estimates the
    exponent of a Zipf law to choose a k; version 2 cuts at the surprise itself).
Equation
    keep v  iff  -log2 p(v) <= mu  or  v = argmax p;   x ~ p', p restricted to the kept tokens, renormalised
    mu <- mu - rate (-log2 p'(x) - surprise);   mu_0 = 2 surprise
Shapes
    logits (rows, vocab), mu (rows,) -> log p' (rows, vocab)
Cost
    One model call per new token, as for plain sampling; O(vocab) on top.
Caveats
    The law of a token depends on how surprising the earlier ones were, not on the text alone: mu is a memory that each
    row of a batch has for itself. A draft tree knows texts only, so speculative decoding refuses this decoder. The
    error uses the renormalised p', as llama.cpp does; version 1 of the authors' code uses p. Surprise is in bits. Where
    the model is surer than was asked for, mu grows without bound and the cut is off until the text surprises again.
    Paper and llama.cpp default to other targets (3 and 5 bits).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.nouns import Generation, Stop
from trivium.core.protocols import LanguageModel
from trivium.decoding._loop import step_by_step
from trivium.decoding._pipeline import Pipeline, keep_above
from trivium.decoding._sampler import check_temperature


@method(title="Mirostat", source="arXiv:2007.14966", year=2021, needs=["causal", "state"])
@dataclass(frozen=True)
class Mirostat:
    """Sampling whose cut is steered so that the mean surprise of the drawn tokens meets a target."""

    surprise: float = 3.0
    """Target in bits per token (tau); 2 to its power is the perplexity aimed at."""
    rate: float = 0.1
    """How fast the cut follows the error (eta); 0 cuts at twice the target throughout."""
    temperature: float = 1.0
    """Divides the logits before the cut."""

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if not 0 < self.surprise < float("inf"):
            raise ValueError(f"surprise is a number of bits per token, positive and finite; got {self.surprise}")
        if not 0 <= self.rate < float("inf"):
            raise ValueError(f"rate must be at least 0 and finite, got {self.rate}; 0 leaves the cut where it is")

    def __call__(
        self,
        model: LanguageModel,
        prompt: Tensor,
        *,
        limit: int,
        generator: torch.Generator,
        mask: Tensor | None = None,
        stop: Stop = Stop(),
    ) -> Generation:
        feedback = Feedback(self, len(prompt))
        return step_by_step(
            self,
            model,
            prompt,
            Pipeline(),
            limit=limit,
            generator=generator,
            mask=mask,
            stop=stop,
            read=feedback.cut,
            drawn=feedback.learn,
        )


class Feedback:
    """``mu`` (rows,) of every row, and the distribution that its next token is drawn from."""

    def __init__(self, recipe: Mirostat, rows: int) -> None:
        self.recipe = recipe
        self.mu = torch.full((rows,), 2 * recipe.surprise, dtype=torch.float64)
        self.logp = torch.empty(0)

    def cut(self, logits: Tensor, rows: Sequence[int]) -> Tensor:
        """(rows, vocab) logits -> (rows, vocab) log-probabilities after the cut."""
        wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        p = (wide / self.recipe.temperature).softmax(-1)
        least = (-self.mu[list(rows)] * math.log(2)).exp().to(p)[:, None]
        self.logp = p.log().masked_fill(~keep_above(p, least), -torch.inf).log_softmax(-1)
        return self.logp

    def learn(self, rows: Sequence[int], tokens: Tensor) -> None:
        """Move each row's cut by how far its token (rows,) missed the target."""
        bits = -self.logp.gather(1, tokens[:, None])[:, 0].double().cpu() / math.log(2)
        self.mu[list(rows)] -= self.recipe.rate * (bits - self.recipe.surprise)
