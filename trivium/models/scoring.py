"""How likely a model finds given continuations of given contexts: the core of multiple choice, perplexity and ranking.

The conventions are those of lm-evaluation-harness, so that its numbers come out: spaces at the end of a context belong
to the continuation; both are cut into tokens together, and what is longer than the context's own tokens is the
continuation; an empty context is the token that texts begin with; what does not fit is cut off on the left.

What the harness reads over and over is read once here. Requests that are alike are one; of a context with several
continuations there is one pass, from whose state they go on together; and logits are made only where something is
predicted. The numbers do not depend on the size of a batch or on the order, but for the rounding of a kernel.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.core.errors import NotFinite
from trivium.core.progress import Bar
from trivium.core.protocols import LanguageModel
from trivium.models.system import System

log = logging.getLogger(__name__)

Ids = tuple[int, ...]
LOGITS = 1 << 27
"""Numbers that the logits of one pass hold at most: half a gigabyte in float32."""


@dataclass(frozen=True)
class Request:
    """How likely is this continuation of this context?"""

    context: str
    continuation: str


@dataclass(frozen=True)
class Scored:
    """Natural log-probabilities of the continuation's tokens, and whether each was the likeliest one.

    ``merged``: the context does not end where a token of the whole ends, so that the continuation begins within one.
    """

    ids: Ids
    logprobs: tuple[float, ...]
    likeliest: tuple[bool, ...]
    merged: bool = False

    @property
    def total(self) -> float:
        return sum(self.logprobs)

    @property
    def greedy(self) -> bool:
        """Whether greedy decoding would have written it."""
        return all(self.likeliest)


@dataclass(frozen=True)
class Pair:
    """A request in tokens: what the model is given, and what it is to predict. Both hold at least one."""

    context: Ids
    continuation: Ids
    merged: bool = False


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
        if found[:1] == [first] and len(found) > 1:
            found = found[1:]
        return Pair((first,), tuple(found))
    before, whole = opening + ids(context), opening + ids(context + continuation)
    if len(whole) <= len(before):
        raise ValueError(
            f"the continuation {request.continuation!r} adds no token to its context ...{request.context[-40:]!r}; "
            "join the two differently"
        )
    return Pair(tuple(before), tuple(whole[len(before) :]), whole[: len(before)] != before)


def rolling(system: System, text: str, length: int | None = None) -> list[Pair]:
    """A text as windows in which every token is predicted once: of ``length`` tokens, at most those that the model
    takes. A full window sees one token before it, the last one as many as fill it up."""
    most = system.model.max_positions
    length = most if length is None else length
    if length is None:
        raise ValueError(f"{system.name} takes texts of any length; say how long a window is")
    if length < 1 or (most is not None and length > most):
        raise ValueError(f"a window of {length} tokens does not fit {system.name}, which takes 1 to {most}")
    ids = system.tokenizer.encode(text)
    pairs = []
    for start in range(0, len(ids), length):
        stop = min(start + length, len(ids))
        if start == 0:
            pairs.append(Pair((prefix(system),), tuple(ids[:stop])))
        else:  # fewer new tokens leave room for more of the old ones
            pairs.append(Pair(tuple(ids[max(stop - length - 1, 0) : start]), tuple(ids[start:stop])))
    return pairs


def score(
    system: System,
    requests: Sequence[Request],
    *,
    batch_size: int = 16,
    cache: "ScoreCache | None" = None,
    bar: Bar | None = None,
) -> list[Scored]:
    """The score of each request, in their order. What is in the cache is not computed again."""
    return score_pairs(
        system, [encoded(system, request) for request in requests], batch_size=batch_size, cache=cache, bar=bar
    )


def score_pairs(
    system: System,
    pairs: Sequence[Pair],
    *,
    batch_size: int = 16,
    cache: "ScoreCache | None" = None,
    bar: Bar | None = None,
) -> list[Scored]:
    """``score`` of requests that are tokens already.

    Raises ValueError for a continuation longer than the model takes, NotFinite where the model gives NaN or infinity.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    most = system.model.max_positions
    cut = [_fitted(pair, most, system.name) for pair in pairs]
    wanted = dict.fromkeys((pair.context, pair.continuation) for pair in cut)
    known: dict[tuple[Ids, Ids], tuple[Sequence[float], Sequence[bool]]] = {}
    if cache is not None:
        known = {key: found for key in wanted if (found := cache.get(*key)) is not None}
    groups: dict[Ids, list[Ids]] = {}
    for context, continuation in wanted:
        if (context, continuation) not in known:
            groups.setdefault(context, []).append(continuation)
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
                    cache.put(context, continuation, logprobs, likeliest)
                if bar is not None:
                    bar.advance()
    finally:
        system.model.train(was)
    found = []
    for pair, whole in zip(cut, pairs, strict=True):
        logprobs, likeliest = known[pair.context, pair.continuation]
        found.append(Scored(pair.continuation, tuple(logprobs), tuple(likeliest), whole.merged))
    return found


def _fitted(pair: Pair, most: int | None, name: str) -> Pair:
    """Without what is too long on the left: the last token is predicted and not read."""
    if most is None or len(pair.context) + len(pair.continuation) - 1 <= most:
        return pair
    if len(pair.continuation) > most:
        raise ValueError(f"a continuation of {len(pair.continuation)} tokens is longer than {name} takes, {most}")
    room = most + 1 - len(pair.continuation)
    return Pair(pair.context[-room:], pair.continuation, pair.merged)


Result = tuple[Ids, Ids, Sequence[float], Sequence[bool]]


def _passes(system: System, groups: dict[Ids, list[Ids]], batch_size: int) -> Iterator[Result]:
    """The results of all groups, batch by batch, the longest first so that memory runs out at once or not at all."""
    model = system.model
    share = "state" in model.offers
    alone = [(c, k[0]) for c, k in groups.items() if len(k) == 1]
    several = [(c, k) for c, k in groups.items() if len(k) > 1]
    if not share:
        alone += [(context, one) for context, found in several for one in found]
        several = []
    alone.sort(key=lambda pair: -len(pair[0]) - len(pair[1]))
    widest = max((len(continuation) for _, continuation in alone), default=1)
    rows = max(1, min(batch_size, LOGITS // (widest * model.vocab_size)))
    for start in range(0, len(alone), rows):
        yield from _whole(model, alone[start : start + rows])
    several.sort(key=lambda group: -len(group[0]))
    for start in range(0, len(several), batch_size):
        yield from _shared(model, several[start : start + batch_size], batch_size)


def _padded(rows: Sequence[Sequence[int]], device: torch.device, *, left: bool) -> tuple[Tensor, Tensor | None]:
    """Ids, and which are real where any are not."""
    width = max(map(len, rows))
    fill = [([0] * (width - len(row)) + list(row)) if left else (list(row) + [0] * (width - len(row))) for row in rows]
    ids = torch.tensor(fill, device=device)
    if all(len(row) == width for row in rows):
        return ids, None
    lengths = torch.tensor([len(row) for row in rows], device=device)[:, None]
    place = torch.arange(width, device=device)
    return ids, place >= width - lengths if left else place < lengths


def _read(logits: Tensor, targets: Sequence[int]) -> tuple[list[float], list[bool]]:
    """(tokens, vocab) -> what each target costs, and whether it is the likeliest; in float32 at least."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    index = torch.tensor(targets, device=logits.device)
    best = wide.argmax(-1) == index
    picked = wide.gather(1, index[:, None])[:, 0] - wide.logsumexp(-1)
    return picked.clamp(max=0.0).tolist(), best.tolist()


def _whole(model: LanguageModel, pairs: Sequence[tuple[Ids, Ids]]) -> Iterator[Result]:
    """Context and continuation in one pass, with logits for the continuations alone."""
    ids, mask = _padded([(*context, *continuation[:-1]) for context, continuation in pairs], model.device, left=True)
    keep = max(len(continuation) for _, continuation in pairs)
    logits = model(ids, mask=mask, logits_to_keep=keep).logits
    for row, (context, continuation) in enumerate(pairs):
        yield (context, continuation, *_read(logits[row, -len(continuation) :], continuation))


def _shared(model: LanguageModel, groups: Sequence[tuple[Ids, list[Ids]]], batch_size: int) -> Iterator[Result]:
    """Each context once; then all its continuations from its state, without their last tokens, which none follows."""
    ids, mask = _padded([context for context, _ in groups], model.device, left=True)
    longer = [(row, one) for row, (_, found) in enumerate(groups) for one in found if len(one) > 1]
    out = model(ids, mask=mask, keep_state=bool(longer), logits_to_keep=1)
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
        more, real = _padded([one[:-1] for _, one in part], model.device, left=False)
        assert out.state is not None
        state = out.state.select(torch.tensor([row for row, _ in part]))
        logits = model(more, mask=real, state=state).logits
        for place, (row, one) in enumerate(part):
            rests[row, one] = _read(logits[place, : len(one) - 1], one[1:])
    for row, (context, found) in enumerate(groups):
        for one in found:
            (logprob, best), rest = firsts[row, one], rests.get((row, one), ([], []))
            yield context, one, logprob + rest[0], best + rest[1]


class ScoreCache:
    """Scores on disk, one line each, appended as they are made: a killed run goes on where it was.

    The file belongs to one model in one number format; a last line that was cut off is left out.
    """

    def __init__(self, folder: str | Path, system: System) -> None:
        dtype = str(system.model.dtype).removeprefix("torch.")
        if not system.fingerprint:
            raise ValueError(
                f"{system.name} was made in memory, so nothing tells its scores from another's; save it first"
            )
        self.path = Path(folder) / f"scores-{system.fingerprint[:16]}-{dtype}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, tuple[list[float], list[bool]]] = {}
        whole = 0
        if self.path.exists():
            for line in self.path.read_bytes().splitlines(keepends=True):
                entry = _entry(line)
                if entry is None:
                    break
                self._known[entry["key"]] = entry["logprobs"], entry["likeliest"]
                whole += len(line)
            if whole < self.path.stat().st_size:
                log.warning("%s ends in a line that is not whole; it is cut off", self.path)
                with self.path.open("r+b") as file:
                    file.truncate(whole)
        self._file = self.path.open("a", encoding="utf-8")

    def __len__(self) -> int:
        return len(self._known)

    def get(self, context: Ids, continuation: Ids) -> tuple[list[float], list[bool]] | None:
        """What is known of this request, if anything."""
        return self._known.get(_key(context, continuation))

    def put(self, context: Ids, continuation: Ids, logprobs: Sequence[float], likeliest: Sequence[bool]) -> None:
        """Write a score down."""
        key = _key(context, continuation)
        self._known[key] = list(logprobs), list(likeliest)
        line = json.dumps({"key": key, "logprobs": list(logprobs), "likeliest": [bool(one) for one in likeliest]})
        self._file.write(line + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _key(context: Iterable[int], continuation: Iterable[int]) -> str:
    return hashlib.sha256(json.dumps([list(context), list(continuation)]).encode()).hexdigest()[:32]


def _entry(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
        return entry if {"key", "logprobs", "likeliest"} <= entry.keys() else None
    except ValueError:
        return None
