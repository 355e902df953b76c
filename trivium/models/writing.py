"""What a model writes behind given texts: greedily or at a temperature, until a stop string, a limit or its own end.

The conventions are those of lm-evaluation-harness: a context that leaves no room for what is to be written is cut on
the left; the text ends before the first stop string, wherever the borders of tokens lie; the model's own end tokens
end it too and do not show.

Prompts that are alike are written once, and what many of them begin with is passed once. A text depends on neither
batch nor order, but for the rounding of a kernel where two tokens are equally likely; what is drawn at a temperature
comes from a generator of the prompt's own.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from trivium.core import meter, seeds
from trivium.core.capabilities import require_offers
from trivium.core.errors import NotFinite
from trivium.core.progress import Bar
from trivium.models import answers
from trivium.models._rows import Beginning, beginnings, check_batch
from trivium.models.answers import AnswerCache
from trivium.models.scoring import prefix
from trivium.models.system import System

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Prompt:
    """A text to go on from, and when to end."""

    context: str
    until: tuple[str, ...] = ("\n\n",)
    """Strings before the first of which the text ends."""
    limit: int = 256
    """New tokens at most."""
    temperature: float = 0.0
    """0 takes the likeliest token; else they are drawn, after the logits were divided by it."""
    seed: int = 0
    """Of what is drawn. The same prompt with another seed is another sample."""

    def __post_init__(self) -> None:
        if isinstance(self.until, str):
            raise TypeError(f"until is a tuple of strings, not {self.until!r}; write ({self.until!r},)")
        if not all(self.until):
            raise ValueError("a stop string is empty; it would end every text at once. Leave it out")
        if self.limit < 1:
            raise ValueError(f"limit must be at least 1 new token, got {self.limit}")
        if not 0.0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be 0 (greedy) or positive, got {self.temperature}")


@dataclass(frozen=True)
class Written:
    """What was written, and the model's own log-probabilities of it.

    ``text`` ends before the first stop string; ``ids`` and ``logprobs`` are all tokens, those that completed the stop
    string or ended the text among them. ``finished``: it ended by itself and not at the limit. ``cut``: tokens at the
    context's beginning that the model was not given, for want of room.
    """

    text: str
    ids: Ids
    logprobs: tuple[float, ...]
    finished: bool
    cut: int = 0


@runtime_checkable
class Writing(Protocol):
    """What writes by itself, such as a server."""

    def written(
        self, prompts: Sequence[Prompt], *, batch_size: int, cache: AnswerCache | None, bar: Bar | None
    ) -> list[Written]: ...


def write(
    system: System | Writing,
    prompts: Sequence[Prompt],
    *,
    batch_size: int = 16,
    cache: AnswerCache | None = None,
    bar: Bar | None = None,
) -> list[Written]:
    """What the model writes after each prompt, in their order. What is in the cache is not written again.

    Raises NotOffered for a model that cannot go on from a state, ValueError for a limit that leaves no room for any
    context, NotFinite where the model gives NaN.
    """
    if isinstance(system, Writing):
        cache = answers.kept(system) if cache is None else cache
        return system.written(prompts, batch_size=batch_size, cache=cache, bar=bar)
    check_batch(system, batch_size)
    require_offers("writing", system.model, ("causal", "state"))
    cache = answers.kept(system) if cache is None else cache
    rows = {prompt: _row(system, prompt) for prompt in dict.fromkeys(prompts)}
    known: dict[Prompt, Written] = {}
    if cache is not None:
        for prompt, row in rows.items():
            if (found := cache.get(*_asked(row))) is not None:
                ids, logprobs = tuple(found["ids"]), tuple(found["logprobs"])
                known[prompt] = Written(found["text"], ids, logprobs, found["finished"], row.cut)
    left = [row for prompt, row in rows.items() if prompt not in known]
    for number, row in enumerate(_rows(system, left, batch_size), 1):
        made = Written(row.text, tuple(row.ids), tuple(row.logprobs), row.finished, row.cut)
        known[row.prompt] = made
        if cache is not None:
            answer = {"text": made.text, "ids": row.ids, "logprobs": row.logprobs, "finished": made.finished}
            cache.put(answer, *_asked(row))
        answers.tell(f"{system.name}: {len(left) - number} texts left")
        if bar is not None:
            bar.advance()
    return [known[prompt] for prompt in prompts]


@dataclass
class _Row:
    """A prompt in tokens, and what was written after it so far."""

    prompt: Prompt
    context: Ids
    cut: int
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: str = ""
    finished: bool = False
    generator: torch.Generator | None = None

    @property
    def done(self) -> bool:
        return self.finished or len(self.ids) >= self.prompt.limit

    def take(self, system: System, token: int, logprob: float) -> None:
        self.ids.append(token)
        self.logprobs.append(logprob)
        ends = system.stop.tokens
        self.text = system.tokenizer.decode([id for id in self.ids if id not in ends])
        stops = [at for text in self.prompt.until if (at := self.text.find(text)) >= 0]
        if stops:
            self.text = self.text[: min(stops)]
        self.finished = bool(stops) or token in ends


def _row(system: System, prompt: Prompt) -> _Row:
    ids = system.prompt(prompt.context)[0].tolist() if prompt.context else [prefix(system)]
    most = system.model.max_positions
    room = len(ids) if most is None else most - prompt.limit
    if room < 1:
        raise ValueError(
            f"{prompt.limit} new tokens leave no room for a context among the {most} positions of {system.name}; "
            "lower limit"
        )
    generator = seeds.generator(prompt.seed, "write", prompt.context) if prompt.temperature else None
    return _Row(prompt, tuple(ids[-room:]), max(len(ids) - room, 0), generator=generator)


def _asked(row: _Row) -> tuple[Any, ...]:
    """All that decides what is written."""
    prompt = row.prompt
    drawn = (prompt.temperature, prompt.seed, prompt.context) if prompt.temperature else ()
    return "write", row.context, prompt.until, prompt.limit, drawn


def _rows(system: System, rows: Sequence[_Row], batch_size: int) -> Iterator[_Row]:
    """The rows once they are done, batch by batch; those that are long together, the longest first."""
    model = system.model
    was = model.training
    model.eval()
    try:
        with torch.no_grad():
            for shared, places in beginnings([row.context for row in rows]):
                group = sorted((rows[place] for place in places), key=lambda row: -len(row.context) - row.prompt.limit)
                beginning = Beginning.of(model, group[0].context, shared)
                for start in range(0, len(group), batch_size):
                    batch = group[start : start + batch_size]
                    _write(system, batch, beginning)
                    yield from batch
    finally:
        model.train(was)


def _write(system: System, rows: Sequence[_Row], beginning: Beginning) -> None:
    """One pass over the contexts, then one for each further token of the rows that still go on."""
    model, live = system.model, list(rows)
    out = beginning.follow(model, [row.context for row in rows], keep_state=True, logits_to_keep=1)
    while True:
        tokens, logprobs = _choose(system, out.logits[:, -1], live)
        for row, token, logprob in zip(live, tokens.tolist(), logprobs.tolist(), strict=True):
            row.take(system, token, logprob)
        meter.spend(new_tokens=len(live))
        left = [at for at, row in enumerate(live) if not row.done]
        if not left:
            return
        state = out.state
        assert state is not None
        if len(left) < len(live):  # at once: a row beyond its limit might have no position left
            state, tokens, live = state.select(torch.tensor(left)), tokens[left], [live[at] for at in left]
        out = model(tokens[:, None], state=state, keep_state=True)


def _choose(system: System, logits: Tensor, rows: Sequence[_Row]) -> tuple[Tensor, Tensor]:
    """(rows, vocab) -> the next token of each row (rows,), and its log-probability (rows,), in float32 at least.

    Where the model has more ids than the tokenizer, those that stand for nothing are not written.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    normaliser = wide.logsumexp(-1)
    if not normaliser.isfinite().all():
        bad = rows[int((~normaliser.isfinite()).nonzero()[0, 0])]
        raise NotFinite(
            f"{system.name} gives logits that are not finite {len(bad.ids)} tokens behind "
            f"...{bad.prompt.context[-40:]!r}; its weights are damaged, or need a wider dtype"
        )
    spelt = wide[:, : system.tokenizer.vocab_size]
    tokens = spelt.argmax(-1)
    for at, row in enumerate(rows):
        if row.generator is not None:
            point = torch.rand((), generator=row.generator, dtype=torch.float64)
            mass = (spelt[at].double() / row.prompt.temperature).softmax(-1).cumsum(-1).cpu()
            tokens[at] = torch.searchsorted(mass, point * mass[-1], right=True).clamp(max=len(mass) - 1)
    return tokens, wide.gather(1, tokens[:, None])[:, 0] - normaliser
