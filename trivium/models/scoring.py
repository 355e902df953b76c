"""How likely a model finds given continuations of given contexts: the core of multiple choice, perplexity and ranking.

The conventions are those of lm-evaluation-harness, so that its numbers come out: spaces at the end of a context belong
to the continuation; both are cut into tokens together, and what is longer than the context's own tokens is the
continuation; an empty context is the token that texts begin with; what does not fit is cut off on the left.

What the harness reads over and over is read once here. Requests that are alike are one; what requests begin with alike
stands once in a trie, which is one row of a pass; what many contexts begin with, such as examples, is passed once; and
logits are made only where something is predicted. A model that honours no tree has its contexts passed once, and their
continuations from the state behind them. The numbers do not depend on the size of a batch or on the order, but for the
rounding of a kernel.
"""

import logging
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch

from trivium.core.errors import NotFinite, NotOffered
from trivium.core.progress import Bar
from trivium.core.text import size
from trivium.models import answers
from trivium.models._passes import passes
from trivium.models._rows import check_batch
from trivium.models._tries import Ids
from trivium.models.answers import AnswerCache
from trivium.models.system import System

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """How likely is this continuation of this context?"""

    context: str
    continuation: str


@dataclass(frozen=True)
class Scored:
    """Natural log-probabilities of the continuation's tokens, and whether each was the likeliest one.

    Of a server's tokens the ids are not known and are -1; ``likeliest`` is empty where it did not tell.
    ``merged``: the context does not end where a token of the whole ends, so that the continuation begins within one.
    ``altered``: the tokens do not spell the text as it was, since the tokenizer cannot. ``cut``: tokens at the
    context's beginning that the model was not given, for want of room.
    """

    ids: Ids
    logprobs: tuple[float, ...]
    likeliest: tuple[bool, ...]
    merged: bool = False
    altered: bool = False
    cut: int = 0

    @property
    def total(self) -> float:
        return sum(self.logprobs)

    @property
    def greedy(self) -> bool:
        """Whether greedy decoding would have written it. Raises NotOffered where a server did not tell."""
        if len(self.likeliest) != len(self.logprobs):
            raise NotOffered("the server did not tell which tokens are the likeliest; use the log-probabilities alone")
        return all(self.likeliest)


@dataclass(frozen=True)
class Pair:
    """A request in tokens: what the model is given, and what it is to predict. Both hold at least one."""

    context: Ids
    continuation: Ids
    merged: bool = False
    altered: bool = False
    cut: int = 0


@runtime_checkable
class Scoring(Protocol):
    """What scores by itself, such as a server."""

    def scored(
        self, requests: Sequence[Request], *, batch_size: int, cache: AnswerCache | None, bar: Bar | None
    ) -> list[Scored]: ...


_HAPPENED = {
    "cut": "contexts cut on the left to fit",
    "merged": "continuations that begin within a token",
    "altered": "texts that the tokenizer cannot spell",
}


def counts(found: Iterable[Scored]) -> dict[str, int]:
    """What a table of scores must tell beside them: how many there are, and of how many the text was merged, altered or
    cut."""
    found = list(found)
    told = {name: sum(bool(getattr(one, name)) for one in found) for name in ("merged", "altered", "cut")}
    return {"requests": len(found), **told}


def prefix(system: System) -> int:
    """The token that stands for an empty context. Raises ValueError for a tokenizer that has none."""
    token = system.tokenizer.bos if system.tokenizer.bos is not None else system.tokenizer.eos
    if token is None:
        raise ValueError(f"{system.name} has no token that texts begin or end with; give every request a context")
    return token


def encoded(system: System, request: Request) -> Pair:
    """A request as the model sees it. Raises ValueError for an empty continuation, naming it."""
    context, continuation = request.context, request.continuation
    kept = context.rstrip()
    continuation, context = context[len(kept) :] + continuation, kept
    if not continuation:
        raise ValueError(f"a continuation is empty (context ...{request.context[-40:]!r}); leave the request out")
    opening = list(getattr(system.tokenizer, "opening", ()))

    def ids(text: str) -> list[int]:
        found = system.tokenizer.encode(text)
        return found[len(opening) :] if opening and found[: len(opening)] == opening else found

    if not context:
        first = prefix(system)
        found = ids(continuation)
        altered = not spells(system, found, continuation)
        if found[:1] == [first] and len(found) > 1:
            found = found[1:]
        return Pair((first,), tuple(found), altered=altered)
    before, whole = opening + ids(context), opening + ids(context + continuation)
    if len(whole) <= len(before):
        raise ValueError(
            f"the continuation {request.continuation!r} adds no token to its context ...{request.context[-40:]!r}; "
            "join the two differently"
        )
    altered = not spells(system, whole[len(opening) :], context + continuation)
    return Pair(tuple(before), tuple(whole[len(before) :]), whole[: len(before)] != before, altered)


def spells(system: System, ids: Sequence[int], text: str) -> bool:
    """Whether tokens give back the text that they were made of, but for a space that a tokenizer puts before all."""
    said = getattr(system.tokenizer, "spelt", system.tokenizer.decode)(ids)
    return said in (text, f" {text}")


def rolling(system: System, text: str, length: int | None = None, *, overlap: float = 0.0) -> list[Pair]:
    """A text as windows in which every token is predicted once: of ``length`` tokens, at most those that the model
    takes. Without ``overlap`` a full window sees one token before it; else that share of it was predicted before and
    is seen only. The last one sees as many as fill it up."""
    most = system.model.max_positions
    length = most if length is None else length
    if length is None:
        raise ValueError(f"{system.name} takes texts of any length; say how long a window is")
    if length < 1 or (most is not None and length > most):
        raise ValueError(f"a window of {length} tokens does not fit {system.name}, which takes 1 to {most}")
    if not 0.0 <= overlap < 1.0:
        raise ValueError(f"overlap is the share of a window that was read before, 0 to below 1; got {overlap}")
    ids = system.tokenizer.encode(text)
    altered = not spells(system, ids, text)
    new = max(length - int(length * overlap), 1)
    pairs, start = [], 0
    while start < len(ids):
        stop = min(start + (new if start else length), len(ids))
        # Fewer new tokens leave room for more of the old ones.
        context = tuple(ids[max(stop - length - 1, 0) : start]) if start else (prefix(system),)
        pairs.append(Pair(context, tuple(ids[start:stop]), altered=altered))
        start = stop
    return pairs


@dataclass(frozen=True)
class Rolled:
    """The log-probability of each token of a text, and how many words and UTF-8 bytes the text has.

    A word is what stands between white space, with an empty one before a text that begins with it, or behind one that
    ends with it, as the harness counts. ``altered``: the tokens do not spell the text as it was.
    """

    ids: Ids
    logprobs: tuple[float, ...]
    words: int
    bytes: int
    altered: bool = False

    @property
    def total(self) -> float:
        return sum(self.logprobs)


@dataclass(frozen=True)
class Perplexity:
    """Of all texts together: the sum of their log-probabilities over the sum of their words or bytes, never a mean of
    perplexities."""

    total: float
    words: int
    bytes: int

    @staticmethod
    def of(texts: Iterable[Rolled]) -> "Perplexity":
        """Raises ValueError where there is no byte to predict."""
        found = [(one.total, one.words, one.bytes) for one in texts]
        if not sum(size for _, _, size in found):
            raise ValueError("perplexity of no text; give at least one that is not empty")
        return Perplexity(*(sum(column) for column in zip(*found, strict=True)))

    @property
    def word(self) -> float:
        """Infinite where it is no number: text without spaces is one long word."""
        each = -self.total / self.words
        return math.exp(each) if each < 700 else math.inf

    @property
    def byte(self) -> float:
        return math.exp(-self.total / self.bytes)

    @property
    def bits_per_byte(self) -> float:
        return -self.total / (math.log(2) * self.bytes)


def roll(
    system: System | Scoring,
    texts: Sequence[str],
    length: int | None = None,
    *,
    overlap: float = 0.0,
    counted: Sequence[str] | None = None,
    batch_size: int = 16,
    cache: AnswerCache | None = None,
    bar: Bar | None = None,
) -> list[Rolled]:
    """Every token of each text, predicted once in windows as ``rolling`` makes them.

    ``counted``: texts whose words and bytes count instead, where what is read was cleaned before. What scores by itself
    reads each text in one window. Raises ValueError for a length that the model does not take, NotOffered for a length
    where the windows are not made here.
    """
    said = texts if counted is None else counted
    if len(said) != len(texts):
        raise ValueError(f"{len(texts)} texts need as many to count, got {len(said)}")
    if isinstance(system, Scoring):
        if length is not None or overlap:
            raise NotOffered("what scores by itself reads each text in one window; leave length and overlap out")
        filled = [Request("", text) for text in texts if text]
        whole = iter(system.scored(filled, batch_size=batch_size, cache=cache, bar=bar))
        parts = [[next(whole)] if text else [] for text in texts]
    else:
        windows = [rolling(system, text, length, overlap=overlap) for text in texts]
        pairs = [pair for each in windows for pair in each]
        found = iter(score_pairs(system, pairs, batch_size=batch_size, cache=cache, bar=bar))
        parts = [[next(found) for _ in each] for each in windows]
    return [
        Rolled(
            tuple(id for one in part for id in one.ids),
            tuple(logprob for one in part for logprob in one.logprobs),
            len(re.split(r"\s+", text)),
            size(text),
            any(one.altered for one in part),
        )
        for part, text in zip(parts, said, strict=True)
    ]


def score(
    system: System | Scoring,
    requests: Sequence[Request],
    *,
    batch_size: int = 16,
    cache: AnswerCache | None = None,
    bar: Bar | None = None,
) -> list[Scored]:
    """The score of each request, in their order. What is in the cache is not computed again. A warning says how many
    were cut, begin within a token, or are no texts that the tokenizer can spell."""
    if isinstance(system, Scoring):
        cache = answers.kept(system) if cache is None else cache
        found = system.scored(requests, batch_size=batch_size, cache=cache, bar=bar)
    else:
        pairs = [encoded(system, request) for request in requests]
        found = score_pairs(system, pairs, batch_size=batch_size, cache=cache, bar=bar)
    told = counts(found)
    said = [f"{words} {told[name]}" for name, words in _HAPPENED.items() if told[name]]
    if said:
        log.warning("%s, of %d requests: %s", getattr(system, "name", "the system"), told["requests"], "; ".join(said))
    return found


def score_pairs(
    system: System,
    pairs: Sequence[Pair],
    *,
    batch_size: int = 16,
    cache: AnswerCache | None = None,
    bar: Bar | None = None,
) -> list[Scored]:
    """``score`` of requests that are tokens already.

    Raises ValueError for a continuation longer than the model takes, NotFinite where the model gives NaN or infinity.
    """
    check_batch(system, batch_size)
    cache = answers.kept(system) if cache is None else cache
    most = system.model.max_positions
    cut = [_fitted(pair, most, system.name) for pair in pairs]
    wanted = dict.fromkeys((pair.context, pair.continuation) for pair in cut)
    known: dict[tuple[Ids, Ids], tuple[Sequence[float], Sequence[bool]]] = {}
    if cache is not None:
        kept = {key: found for key in wanted if (found := cache.get("score", *key)) is not None}
        known = {key: (found["logprobs"], found["likeliest"]) for key, found in kept.items()}
    groups: dict[Ids, list[Ids]] = {}
    for context, continuation in wanted:
        if (context, continuation) not in known:
            groups.setdefault(context, []).append(continuation)
    left = sum(map(len, groups.values()))
    was = system.model.training
    system.model.eval()
    try:
        with torch.inference_mode():
            for context, continuation, logprobs, likeliest in passes(system.model, groups, batch_size):
                if not all(value > float("-inf") and value <= 0.0 for value in logprobs):
                    text = system.tokenizer.decode(list(continuation))
                    raise NotFinite(
                        f"{system.name} gives no finite likelihood to {text[:60]!r}; its weights are damaged"
                    )
                known[context, continuation] = logprobs, likeliest
                if cache is not None:
                    answer = {"logprobs": list(logprobs), "likeliest": list(likeliest)}
                    cache.put(answer, "score", context, continuation)
                left -= 1
                answers.tell(f"{system.name}: {left} scores left")
                if bar is not None:
                    bar.advance()
    finally:
        system.model.train(was)
    found = []
    for pair in cut:
        logprobs, likeliest = known[pair.context, pair.continuation]
        found.append(Scored(pair.continuation, tuple(logprobs), tuple(likeliest), pair.merged, pair.altered, pair.cut))
    return found


def _fitted(pair: Pair, most: int | None, name: str) -> Pair:
    """Without what is too long on the left: the last token is predicted and not read."""
    if most is None or len(pair.context) + len(pair.continuation) - 1 <= most:
        return pair
    if len(pair.continuation) > most:
        raise ValueError(f"a continuation of {len(pair.continuation)} tokens is longer than {name} takes, {most}")
    room = most + 1 - len(pair.continuation)
    return replace(pair, context=pair.context[-room:], cut=len(pair.context) - room)
