"""What is explained, and the explanation: ``Target`` and ``Attribution``, as numbers; ``attribution`` draws them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor

from trivium.core.errors import NotFinite

Objective = Literal["logprob", "logit", "prob", "contrast"]
Scaling = Literal["abs_sum", "max", "softmax"]
Unit = Literal["word", "line"]


@dataclass(frozen=True)
class Target:
    """What an attribution explains: the token after ``ids``, or an answer of several, as a scalar of its distribution.

    Of several tokens each is read with those before it in place (teacher forcing): log-probabilities and logits are
    summed, probabilities multiplied. A contrast is log p(answer) - log p(foil), each in its own place; of one token
    each, that is the difference of their logits.
    """

    token: int | tuple[int, ...]
    """The answer: a token id or several, a list of one being the same as the one."""
    foil: int | tuple[int, ...] | None = None
    objective: Objective = "logprob"

    def __post_init__(self) -> None:
        for name in ("token", "foil"):
            given = getattr(self, name)
            if isinstance(given, (list, tuple)):
                if not given:
                    raise ValueError(f"an answer holds at least one token; {name} is empty")
                plain = [int(token) for token in given]
                object.__setattr__(self, name, plain[0] if len(plain) == 1 else tuple(plain))
        if self.objective not in ("logprob", "logit", "prob", "contrast"):
            raise ValueError(f"objective must be logprob, logit, prob or contrast, got {self.objective!r}")
        if (self.objective == "contrast") != (self.foil is not None):
            raise ValueError("objective 'contrast' and a foil go together: give both or neither")
        if self.foil == self.token:
            raise ValueError(f"the foil must differ from the target, both are {self.token}")

    @property
    def tokens(self) -> tuple[int, ...]:
        """The answer's tokens, one or more."""
        return (self.token,) if isinstance(self.token, int) else self.token

    @property
    def foils(self) -> tuple[int, ...]:
        """The foil's tokens; none where there is no foil."""
        return (self.foil,) if isinstance(self.foil, int) else self.foil or ()

    @property
    def alone(self) -> bool:
        """Whether one distribution decides it: the answer, and the foil if there is one, are single tokens."""
        return len(self.tokens) == 1 and len(self.foils) < 2

    def check(self, vocab: int) -> None:
        """Raise ValueError for a token that a vocabulary of this size lacks."""
        for name, tokens in (("target", self.tokens), ("foil", self.foils)):
            for token in tokens:
                if not 0 <= token < vocab:
                    raise ValueError(f"{name} token {token} is outside the vocabulary of {vocab} (0 to {vocab - 1})")

    def __call__(self, logits: Tensor, foil_logits: Tensor | None = None) -> Tensor:
        """(rows, vocab), or (rows, tokens, vocab) of as many places as the answer has tokens -> (rows,).

        ``foil_logits`` (rows, foil tokens, vocab): where answer and foil are not both ``alone``.
        """
        self.check(logits.shape[-1])
        logits = _wide(logits[:, None] if logits.ndim == 2 else logits)
        if logits.shape[1] != len(self.tokens):
            raise ValueError(f"an answer of {len(self.tokens)} tokens is read in as many places, got {logits.shape[1]}")
        if self.objective == "logit":
            return _picked(logits, self.tokens).sum(-1)
        if self.foils and self.alone:
            return _picked(logits, self.tokens)[:, 0] - _picked(logits, self.foils)[:, 0]
        logp = _picked(logits.log_softmax(-1), self.tokens).sum(-1)
        if self.foils:
            if foil_logits is None or foil_logits.shape[1] != len(self.foils):
                raise ValueError(f"a foil of {len(self.foils)} tokens needs the logits of as many places of its own")
            return logp - _picked(_wide(foil_logits).log_softmax(-1), self.foils).sum(-1)
        return logp if self.objective == "logprob" else logp.exp()


def _wide(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _picked(values: Tensor, tokens: Sequence[int]) -> Tensor:
    """(rows, tokens, vocab) -> (rows, tokens)"""
    return values.gather(-1, torch.tensor(tokens, device=values.device).expand(len(values), -1)[..., None])[..., 0]


@dataclass(frozen=True)
class Axes:
    """Numbers with a name for each axis, such as ("layer", "head", "token")."""

    names: tuple[str, ...]
    values: Tensor

    def __post_init__(self) -> None:
        if len(self.names) != self.values.ndim:
            raise ValueError(f"{self.values.ndim} axes need as many names, got {', '.join(self.names) or 'none'}")


@dataclass(frozen=True)
class Spelling:
    """How an attribution's tokens read. ``text``: what they spell together; ``offsets``: the characters of it that each
    token is of, the same one for the parts of a character, none for a special token. The rest is made to be shown:
    spaces are marks, and a token that is part of a character is its bytes."""

    text: str
    offsets: tuple[tuple[int, int], ...]
    tokens: tuple[str, ...]
    answer: tuple[str, ...] = ()
    foil: tuple[str, ...] = ()


@dataclass(frozen=True)
class Agreement:
    """How alike two attributions are: rank correlation of their scores, and the share of the k best that both name."""

    spearman: float
    overlap: float
    k: int


@dataclass(frozen=True)
class Attribution:
    """A score per input token, or per run of them. ``scores`` (time,), ``ids`` (time,).

    ``facts`` holds what the method reports of itself (value, baseline value, completeness gap, converged), ``arrays``
    what it knows beside the scores: per layer, head or answer token. ``spent``: seconds, and rows of forward and
    backward passes. ``frozen``: positions that were never changed. ``units``: after ``merge``, the positions (start,
    stop) that each score is of.
    """

    scores: Tensor
    ids: Tensor
    target: Target
    method: str = ""
    facts: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Axes] = field(default_factory=dict)
    spent: Mapping[str, float] = field(default_factory=dict)
    frozen: tuple[int, ...] = ()
    seed: int | None = None
    spelling: Spelling | None = None
    units: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.scores.shape != ((len(self.units),) if self.units else self.ids.shape):
            wanted = f"{len(self.units)} units" if self.units else f"{tuple(self.ids.shape)} ids"
            raise ValueError(f"{wanted} need as many scores, got {tuple(self.scores.shape)}")
        if not self.scores.isfinite().all():
            at = (~self.scores.isfinite()).nonzero()[:, 0].tolist()
            raise NotFinite(f"{self.method or 'the method'} gave scores that are not finite at positions {at[:8]}")
        if self.spelling is not None and len(self.spelling.tokens) != len(self.ids):
            raise ValueError(f"{len(self.ids)} ids need as many tokens, got {len(self.spelling.tokens)}")

    @property
    def value(self) -> float | None:
        """The objective: what the explained prediction is worth."""
        return self.facts.get("value")

    @property
    def baseline_value(self) -> float | None:
        """What it is worth at the baseline, of a method that has one."""
        return self.facts.get("baseline_value")

    @property
    def converged(self) -> bool | None:
        """Whether the method reached what it aims at; None where it does not say."""
        return bool(self.facts["converged"]) if "converged" in self.facts else None

    def top(self, k: int) -> list[int]:
        """Places of the k largest scores by magnitude, largest first."""
        return self.scores.abs().topk(min(k, len(self.scores))).indices.tolist()

    def normalize(self, how: Scaling = "abs_sum") -> Self:
        """The same with scores whose magnitudes sum to 1 ("abs_sum") or reach 1 ("max"), or with their softmax, which
        forgets signs. Frozen positions keep 0, and scores that are zero everywhere stay so."""
        return replace(self, scores=scaled(self.scores, how, self._frozen_mask()))

    def merge(self, by: Unit | Sequence[tuple[int, int]] = "word") -> Self:
        """Scores summed over words, lines, or the given spans of characters of the text (start, stop).

        A word is a run of letters and digits, or of punctuation, with the space before it. A token that reaches into
        two words joins them. Tokens outside the spans stay by themselves. Needs the spelling; raises ValueError without
        it, for a merged attribution, and for spans that are empty, overlap or leave the text.
        """
        if self.spelling is None:
            raise ValueError("merging needs to know how the tokens read: use trivium.explain, or Explanation.of")
        if self.units:
            raise ValueError("this attribution is merged already; merge the one that it was made of")
        stops = _stops(self.spelling, by)
        units = tuple(zip([0, *stops[:-1]], stops, strict=True))
        scores = torch.stack([self.scores[start:stop].sum() for start, stop in units])
        return replace(self, scores=scores, units=units)

    def compare(self, other: "Attribution", k: int = 5, *, signed: bool = False) -> Agreement:
        """Spearman's correlation and the overlap of the k best, by magnitude unless ``signed``. Frozen positions are
        left out. Raises ValueError for another prompt, and where one has no ranking, all its scores being equal."""
        if not torch.equal(self.ids.cpu(), other.ids.cpu()) or self.units != other.units:
            raise ValueError("only attributions of the same tokens, merged alike, can be compared; these differ")
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        keep = ~(self._frozen_mask() | other._frozen_mask())
        mine, theirs = (one.scores.detach().double().cpu()[keep] for one in (self, other))
        if not signed:
            mine, theirs = mine.abs(), theirs.abs()
        k = min(k, len(mine))
        shared = len(set(mine.topk(k).indices.tolist()) & set(theirs.topk(k).indices.tolist()))
        return Agreement(_spearman(mine, theirs), shared / k if k else 0.0, k)

    def labels(self) -> list[str]:
        """What each score is of, as it is shown. Raises ValueError without a spelling."""
        if self.spelling is None:
            raise ValueError("how the tokens read is not known: use trivium.explain, or Explanation.of")
        tokens = self.spelling.tokens
        return ["".join(tokens[start:stop]) for start, stop in self.units] if self.units else list(tokens)

    def _frozen_mask(self) -> Tensor:
        """(scores,) bool on the CPU: nothing but frozen positions."""
        places = set(self.frozen)
        units = self.units or [(place, place + 1) for place in range(len(self.ids))]
        return torch.tensor([places.issuperset(range(start, stop)) for start, stop in units])


def scaled(scores: Tensor, how: Scaling, frozen: Tensor) -> Tensor:
    """Scores (time,) brought to a scale, see ``Attribution.normalize``; zero where ``frozen`` (time,) bool."""
    frozen = frozen.to(scores.device)
    if how == "softmax":
        if frozen.all():
            return torch.zeros_like(scores)
        return scores.masked_fill(frozen, float("-inf")).softmax(0)
    if how not in ("abs_sum", "max"):
        raise ValueError(f"scores are normalised by 'abs_sum', 'max' or 'softmax', not by {how!r}")
    kept = scores.masked_fill(frozen, 0.0)
    most = kept.abs().sum() if how == "abs_sum" else kept.abs().max()
    return kept / most if most > 0 else kept


_WORD = re.compile(r"[^\S\n]*(?:\w+(?:['’-]\w+)*|[^\w\s]+)|\s")


def _stops(spelling: Spelling, by: Unit | Sequence[tuple[int, int]]) -> list[int]:
    """Where units of tokens end, the last at the end."""
    text, offsets = spelling.text, spelling.offsets
    if by == "line":
        unit = [text.count("\n", 0, at) for at in range(len(text))]
    elif by == "word":
        unit = [0] * len(text)
        for number, found in enumerate(_WORD.finditer(text)):
            unit[found.start() : found.end()] = [number] * (found.end() - found.start())
    elif isinstance(by, str):
        raise ValueError(f"scores are merged by 'word', 'line' or spans (start, stop) of the text, not by {by!r}")
    else:
        unit = _spanned(text, by)
    stops = []
    for place in range(1, len(offsets)):
        (begin, end), (start, stop) = offsets[place - 1], offsets[place]
        if begin == end or start == stop or unit[start] < 0 or unit[start] != unit[end - 1]:
            stops.append(place)
    return [*stops, len(offsets)]


def _spanned(text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
    """The number of the span that each character is in, -1 outside."""
    unit = [-1] * len(text)
    for number, (start, stop) in enumerate(spans):
        if not 0 <= start < stop <= len(text):
            raise ValueError(f"the span {start} to {stop} is empty or leaves the text of {len(text)} characters")
        if any(other >= 0 for other in unit[start:stop]):
            raise ValueError(f"the span {start} to {stop} overlaps another one")
        unit[start:stop] = [number] * (stop - start)
    return unit


def _spearman(a: Tensor, b: Tensor) -> float:
    """Rank correlation, equal scores sharing their mean rank."""
    ranks = torch.stack([(x[:, None] > x).sum(1) + (x[:, None] == x).sum(1) / 2 for x in (a, b)]).double()
    if len(a) < 2 or (ranks == ranks[:, :1]).all(1).any():
        raise ValueError(f"{len(a)} scores that are all equal have no ranking, so no correlation")
    return torch.corrcoef(ranks)[0, 1].item()
