"""The logits pipeline: from a model's logits to the distribution that tokens are drawn from.

The order is fixed, and is the one that transformers applies: repetition penalty, the frequency and presence penalties
that it lacks, no repeated n-gram, bad words, minimum length, the constraint, temperature, top-k, top-p, min-p, typical,
epsilon, eta. Each cut sees what the earlier ones left, renormalised. Temperature 0 stands for the point mass on the
likeliest token, ties going to the lowest id. Rows are independent, and each has its own history, so that every node of
a draft tree is treated as if its path had been committed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_NEVER = float("-inf")


def keep_top_k(logits: Float[Tensor, "rows vocab"], k: int) -> Bool[Tensor, "rows vocab"]:
    """Marks exactly the k likeliest tokens of each row; among equals the lowest ids."""
    least = logits.topk(k).values[:, -1:]
    above, equal = logits > least, logits == least
    return above | (equal & (equal.cumsum(-1) <= k - above.sum(-1, keepdim=True)))


def keep_top_p(logits: Float[Tensor, "rows vocab"], p: float, head: int = 256) -> Bool[Tensor, "rows vocab"]:
    """Marks the smallest set of likeliest tokens whose probability reaches p; among equals the lowest ids.

    The ``head`` likeliest tokens nearly always reach p, and finding them is far cheaper than sorting a vocabulary;
    where they do not, or where the cut falls among equals at their edge, the rows are sorted in full.
    """
    probs = logits.softmax(-1)
    if p >= 1.0:
        return probs > 0
    if head < probs.shape[-1]:
        top, ids = probs.topk(head)
        reached = top.double().cumsum(-1) - top.double()  # probability before each token
        inside = reached < p
        distinct = bool((top[:, 1:] < top[:, :-1]).masked_fill(~inside[:, :-1], True).all())
        if distinct and not inside[:, -1].any():
            return torch.zeros_like(probs, dtype=torch.bool).scatter(-1, ids, inside)
    return keep_top_p_reference(probs, p)


def keep_top_p_reference(probs: Float[Tensor, "rows vocab"], p: float) -> Bool[Tensor, "rows vocab"]:
    """The same by sorting every row."""
    ordered, ids = probs.sort(dim=-1, descending=True, stable=True)
    inside = ordered.double().cumsum(-1) - ordered.double() < p
    return torch.zeros_like(probs, dtype=torch.bool).scatter(-1, ids, inside)


def keep_min_p(logits: Float[Tensor, "rows vocab"], floor: float) -> Bool[Tensor, "rows vocab"]:
    """Marks the tokens at least ``floor`` times as likely as the likeliest."""
    probs = logits.softmax(-1)
    return probs >= floor * probs.amax(-1, keepdim=True)


def keep_typical(logits: Float[Tensor, "rows vocab"], mass: float) -> Bool[Tensor, "rows vocab"]:
    """Marks the smallest set of tokens of probability ``mass`` whose surprise is nearest to the expected one, the
    entropy; among equals the lowest ids."""
    logp = logits.log_softmax(-1)
    probs = logp.exp()
    if mass >= 1.0:
        return probs > 0
    distance = (probs.xlogy(probs).sum(-1, keepdim=True) - logp).abs()  # |-log p - entropy|
    order = distance.argsort(dim=-1, stable=True)
    ordered = probs.gather(-1, order).double()
    return torch.zeros_like(probs, dtype=torch.bool).scatter(-1, order, ordered.cumsum(-1) - ordered < mass)


def keep_above(
    probs: Float[Tensor, "rows vocab"], least: float | Float[Tensor, "rows 1"]
) -> Bool[Tensor, "rows vocab"]:
    """Marks the tokens of probability at least ``least``, and always the likeliest; among equals the lowest id."""
    best = probs.argmax(-1, keepdim=True)
    return (probs >= least).scatter(-1, best, True)


def keep_epsilon(logits: Float[Tensor, "rows vocab"], epsilon: float) -> Bool[Tensor, "rows vocab"]:
    """Marks the tokens of probability at least ``epsilon``, and the likeliest."""
    return keep_above(logits.softmax(-1), epsilon)


def keep_eta(logits: Float[Tensor, "rows vocab"], epsilon: float) -> Bool[Tensor, "rows vocab"]:
    """Marks the tokens of probability at least ``min(epsilon, sqrt(epsilon) exp(-entropy))``, and the likeliest."""
    probs = logits.softmax(-1)
    entropy = -probs.xlogy(probs).sum(-1, keepdim=True)
    return keep_above(probs, (epsilon**0.5 * (-entropy).exp()).clamp(max=epsilon))


def likeliest(logits: Float[Tensor, "... vocab"]) -> Int[Tensor, "..."]:
    """The likeliest token; among equals the lowest id. On the CPU ``max`` takes a fraction of ``argmax``'s time."""
    return logits.max(-1).indices


def top_ids(scores: Float[Tensor, "rows vocab"], k: int) -> Int[Tensor, "rows k"]:
    """The k largest of each row, largest first; among equals the lowest ids first."""
    ids = keep_top_k(scores, k).nonzero()[:, 1].view(-1, k)
    order = scores.gather(1, ids).sort(dim=-1, descending=True, stable=True).indices
    return ids.gather(1, order)


def draw(probs: Float[Tensor, "rows vocab"], points: Float[Tensor, " rows"]) -> Int[Tensor, " rows"]:
    """Per row the token at a point of [0, 1) of its cumulative distribution; never one of probability 0."""
    heights = probs.double().cumsum(-1)
    tokens = torch.searchsorted(heights, points[:, None] * heights[:, -1:], right=True)[:, 0]
    if (tokens == probs.shape[-1]).any():  # a point that rounding moved onto the very top
        last = probs.shape[-1] - 1 - (probs > 0).flip(-1).int().argmax(-1)
        tokens = torch.minimum(tokens, last)
    return tokens


class Constraint(Protocol):
    """Which tokens may follow a text, by a rule on its new tokens alone."""

    def check(self, vocab_size: int) -> None:
        """Raise ValueError where the rule does not fit the vocabulary."""
        ...

    def allowed(self, text: Sequence[int], vocab_size: int) -> Tensor:
        """(vocab,) bool on the CPU: what may follow these new tokens."""
        ...


@dataclass(frozen=True)
class Pipeline:
    """What is done to the logits before a token is drawn."""

    temperature: float = 1.0
    """Divides the logits; 0 is greedy."""
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    """Logits of tokens already seen, the prompt included, are divided by it where positive and multiplied where not."""
    bad_words: tuple[tuple[int, ...], ...] = ()
    """Token sequences that never appear."""
    min_length: int = 0
    """New tokens before a stop token may appear."""
    typical_p: float | None = None
    epsilon: float | None = None
    eta: float | None = None
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit once for each time it was generated; 0 is off."""
    presence_penalty: float = 0.0
    """Subtracted once from the logit of every token that was generated; 0 is off."""
    no_repeat_ngram: int = 0
    """No sequence of so many tokens comes twice, the prompt included; 0 is off."""
    constraint: Constraint | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature must be at least 0 and finite, got {self.temperature}; 0 is greedy")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must keep at least 1 token, got {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is a probability above 0 and at most 1, got {self.top_p}")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p is a fraction of the top probability, so 0 to 1; got {self.min_p}")
        if self.typical_p is not None and not 0 < self.typical_p <= 1:
            raise ValueError(f"typical_p is a probability above 0 and at most 1, got {self.typical_p}")
        if self.epsilon is not None and not 0 <= self.epsilon < 1:
            raise ValueError(f"epsilon is the least probability kept, so at least 0 and below 1; got {self.epsilon}")
        if self.eta is not None and not 0 <= self.eta < 1:
            raise ValueError(f"eta is the least probability kept, so at least 0 and below 1; got {self.eta}")
        if not 0 < self.repetition_penalty < float("inf"):
            raise ValueError(f"repetition_penalty must be positive and finite, got {self.repetition_penalty}; 1 is off")
        for name in ("frequency_penalty", "presence_penalty"):
            if not abs(getattr(self, name)) < float("inf"):
                raise ValueError(f"{name} must be finite, got {getattr(self, name)}; 0 is off")
        if self.no_repeat_ngram < 0:
            raise ValueError(f"no_repeat_ngram counts tokens, so at least 0; got {self.no_repeat_ngram}, 0 is off")
        if self.min_length < 0:
            raise ValueError(f"min_length must be at least 0, got {self.min_length}")
        for word in self.bad_words:
            if len(word) == 0 or min(word) < 0:
                raise ValueError(f"a bad word is a sequence of at least one token id, got {tuple(word)}")

    @property
    def greedy(self) -> bool:
        """Whether the distribution is a point mass."""
        return self.temperature == 0 or self.top_k == 1

    @property
    def untouched(self) -> bool:
        """Whether the likeliest token is the model's own whatever came before."""
        usual = self.repetition_penalty == 1 and self.constraint is None and not self._counted
        return usual and not self.no_repeat_ngram and not self.bad_words and not self.min_length

    @property
    def _counted(self) -> bool:
        return self.frequency_penalty != 0 or self.presence_penalty != 0

    def check(self, vocab_size: int) -> None:
        """Raise ValueError where a setting does not fit the vocabulary."""
        if self.top_k is not None and self.top_k > vocab_size:
            raise ValueError(f"top_k is {self.top_k}, but the vocabulary has only {vocab_size} tokens")
        beyond = [token for word in self.bad_words for token in word if token >= vocab_size]
        if beyond:
            raise ValueError(f"bad word token {beyond[0]} is outside the vocabulary of {vocab_size}")
        if self.constraint is not None:
            self.constraint.check(vocab_size)

    def penalised(
        self,
        logits: Float[Tensor, "rows vocab"],
        histories: Sequence[Tensor] = (),
        generated: Sequence[int] = (),
        stops: Sequence[int] = (),
    ) -> Float[Tensor, "rows vocab"]:
        """The steps that depend on what came before. ``histories``: per row all tokens so far, the prompt included;
        ``generated``: how many of them are new; ``stops``: the tokens that end a row. Empty where no step needs them.
        """
        logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        if self.untouched:
            return logits
        logits = logits.clone()
        for row, history in enumerate(histories):
            if self.repetition_penalty != 1:
                seen = history.unique().to(logits.device)
                old = logits[row, seen]
                factor = self.repetition_penalty
                logits[row, seen] = torch.where(old > 0, old / factor, old * factor)
            if self._counted and generated[row]:
                tokens, times = history[len(history) - generated[row] :].to(logits.device).unique(return_counts=True)
                logits[row, tokens] -= self.frequency_penalty * times + self.presence_penalty
            if 0 < self.no_repeat_ngram <= len(history):
                grams = history.unfold(0, self.no_repeat_ngram, 1)  # (places, n)
                ending = history[len(history) - self.no_repeat_ngram + 1 :]
                logits[row, grams[(grams[:, :-1] == ending).all(1), -1].to(logits.device)] = _NEVER
            for word in self.bad_words:
                before = len(word) - 1
                if len(history) >= before and history[len(history) - before :].tolist() == list(word[:-1]):
                    logits[row, word[-1]] = _NEVER
            if stops and generated[row] < self.min_length:
                logits[row, list(stops)] = _NEVER
            if self.constraint is not None:
                text = history[len(history) - generated[row] :].tolist()
                logits[row].masked_fill_(~self.constraint.allowed(text, logits.shape[-1]).to(logits.device), _NEVER)
        if (logits.amax(-1) == _NEVER).any():
            raise ValueError(
                "no_repeat_ngram, bad_words, min_length and the constraint leave no token that may follow; allow one"
            )
        return logits

    def shaped(self, logits: Float[Tensor, "rows vocab"]) -> Float[Tensor, "rows vocab"]:
        """Temperature and the cuts, on penalised logits; tokens that are cut get minus infinity."""
        if self.greedy:
            best = logits.argmax(-1, keepdim=True)
            return torch.full_like(logits, _NEVER).scatter(-1, best, 0.0)
        if self.temperature != 1:
            logits = logits / self.temperature
        if self.top_k is not None:
            logits = logits.masked_fill(~keep_top_k(logits, self.top_k), _NEVER)
        if self.top_p is not None:
            logits = logits.masked_fill(~keep_top_p(logits, self.top_p), _NEVER)
        if self.min_p is not None:
            logits = logits.masked_fill(~keep_min_p(logits, self.min_p), _NEVER)
        if self.typical_p is not None:
            logits = logits.masked_fill(~keep_typical(logits, self.typical_p), _NEVER)
        if self.epsilon is not None:
            logits = logits.masked_fill(~keep_epsilon(logits, self.epsilon), _NEVER)
        if self.eta is not None:
            logits = logits.masked_fill(~keep_eta(logits, self.eta), _NEVER)
        return logits

    def logits(
        self, logits: Tensor, histories: Sequence[Tensor] = (), generated: Sequence[int] = (), stops: Sequence[int] = ()
    ) -> Tensor:
        """(rows, vocab) raw -> (rows, vocab) processed, in float32 at least."""
        return self.shaped(self.penalised(logits, histories, generated, stops))

    def probabilities(
        self, logits: Tensor, histories: Sequence[Tensor] = (), generated: Sequence[int] = (), stops: Sequence[int] = ()
    ) -> Tensor:
        """(rows, vocab) raw -> (rows, vocab) probabilities."""
        return self.logits(logits, histories, generated, stops).softmax(-1)
