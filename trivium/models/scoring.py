"""How likely a model finds given continuations of given contexts: the core of multiple choice, perplexity and ranking.

The conventions are those of lm-evaluation-harness, so that its numbers come out: spaces at the end of a context belong
to the continuation; both are cut into tokens together, and what is longer than the context's own tokens is the
continuation; an empty context is the token that texts begin with; what does not fit is cut off on the left.

What the harness reads over and over is read once here. Requests that are alike are one; of a context with several
continuations there is one pass, from whose state they go on together; what many contexts begin with, such as examples,
is passed once; and logits are made only where something is predicted. The numbers do not depend on the size of a batch
or on the order, but for the rounding of a kernel.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from trivium.core.errors import NotFinite, NotOffered
from trivium.core.progress import Bar
from trivium.core.protocols import LanguageModel
from trivium.models import answers
from trivium.models._rows import LOGITS, Beginning, beginnings, check_batch, padded
from trivium.models.answers import AnswerCache
from trivium.models.system import System

Ids = tuple[int, ...]


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
            len(text.encode("utf-8", errors="surrogatepass")),
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
    """The score of each request, in their order. What is in the cache is not computed again."""
    if isinstance(system, Scoring):
        cache = answers.kept(system) if cache is None else cache
        return system.scored(requests, batch_size=batch_size, cache=cache, bar=bar)
    return score_pairs(
        system, [encoded(system, request) for request in requests], batch_size=batch_size, cache=cache, bar=bar
    )


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
        with torch.no_grad():
            for context, continuation, logprobs, likeliest in _passes(system, groups, batch_size):
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


Result = tuple[Ids, Ids, Sequence[float], Sequence[bool]]


def _passes(system: System, groups: dict[Ids, list[Ids]], batch_size: int) -> Iterator[Result]:
    """The results of all groups, batch by batch, the longest first so that memory runs out at once or not at all."""
    model = system.model
    share = "state" in model.offers
    together = lambda context, found: share and len(found) > 1 and len(context) > 1  # noqa: E731
    several = [(context, found) for context, found in groups.items() if together(context, found)]
    # one token of context is not worth a pass of its own, whose kernel rounds otherwise too
    alone = [(context, one) for context, found in groups.items() if not together(context, found) for one in found]
    widest = max((len(continuation) for _, continuation in alone), default=1)
    rows = max(1, min(batch_size, LOGITS // (widest * model.vocab_size)))
    for beginning, part in _begun(model, [context for context, _ in alone], share):
        group = sorted((alone[place] for place in part), key=lambda pair: -len(pair[0]) - len(pair[1]))
        for start in range(0, len(group), rows):
            yield from _whole(model, beginning, group[start : start + rows])
    for beginning, part in _begun(model, [context for context, _ in several], share):
        found = sorted((several[place] for place in part), key=lambda pair: -len(pair[0]))
        for start in range(0, len(found), batch_size):
            yield from _shared(model, beginning, found[start : start + batch_size], batch_size)


def _begun(model: LanguageModel, contexts: Sequence[Ids], share: bool) -> Iterator[tuple[Beginning, list[int]]]:
    """The places of contexts that begin alike, with what they share; all of them where nothing can be shared."""
    for length, places in beginnings(contexts) if share else [(0, list(range(len(contexts))))]:
        if places:
            yield Beginning.of(model, contexts[places[0]], length), places


def _read(logits: Tensor, targets: Sequence[int]) -> tuple[list[float], list[bool]]:
    """(tokens, vocab) -> what each target costs, and whether it is the likeliest; in float32 at least."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    index = torch.tensor(targets, device=logits.device)
    best = wide.argmax(-1) == index
    picked = wide.gather(1, index[:, None])[:, 0] - wide.logsumexp(-1)
    return picked.clamp(max=0.0).tolist(), best.tolist()


def _whole(model: LanguageModel, beginning: Beginning, pairs: Sequence[tuple[Ids, Ids]]) -> Iterator[Result]:
    """Context and continuation in one pass, with logits for the continuations alone."""
    rows = [(*context, *continuation[:-1]) for context, continuation in pairs]
    keep = max(len(continuation) for _, continuation in pairs)
    logits = beginning.follow(model, rows, keep_state=False, logits_to_keep=keep).logits
    for row, (context, continuation) in enumerate(pairs):
        yield (context, continuation, *_read(logits[row, -len(continuation) :], continuation))


def _shared(
    model: LanguageModel, beginning: Beginning, groups: Sequence[tuple[Ids, list[Ids]]], batch_size: int
) -> Iterator[Result]:
    """Each context once; then all its continuations from its state, without their last tokens, which none follows."""
    longer = [(row, one) for row, (_, found) in enumerate(groups) for one in found if len(one) > 1]
    contexts = [context for context, _ in groups]
    out = beginning.follow(model, contexts, keep_state=bool(longer), logits_to_keep=1)
    first = [_read(out.logits[row, -1:], [one[0]]) for row, (_, found) in enumerate(groups) for one in found]
    begun = iter(first)
    firsts = {(row, one): next(begun) for row, (_, found) in enumerate(groups) for one in found}
    rests: dict[tuple[int, Ids], tuple[list[float], list[bool]]] = {}
    longer.sort(key=lambda entry: -len(entry[1]))
    start = 0
    while start < len(longer):
        width = len(longer[start][1]) - 1
        rows = max(1, min(4 * batch_size, LOGITS // (width * model.vocab_size)))
        part = longer[start : start + rows]
        start += rows
        more, real = padded([one[:-1] for _, one in part], model.device, left=False)
        assert out.state is not None
        state = out.state.select(torch.tensor([row for row, _ in part]))
        logits = model(more, mask=real, state=state).logits
        for place, (row, one) in enumerate(part):
            rests[row, one] = _read(logits[place, : len(one) - 1], one[1:])
    for row, (context, found) in enumerate(groups):
        for one in found:
            (logprob, best), rest = firsts[row, one], rests.get((row, one), ([], []))
            yield context, one, logprob + rest[0], best + rest[1]
