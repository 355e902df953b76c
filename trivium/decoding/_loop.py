"""What every decoder shares: checks before any work, prefill, rows that end one by one, and the plain loop."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core import meter, seeds, streaming
from trivium.core.capabilities import require_offers
from trivium.core.errors import NotFinite, NotOffered
from trivium.core.method import card_of
from trivium.core.nouns import Generation, Stop, Trace
from trivium.core.prompt import positions_of
from trivium.core.protocols import LanguageModel, LMOutput, State
from trivium.decoding._pipeline import Pipeline, draw, likeliest
from trivium.models.planned import NEEDS, pass_masked


@dataclass(frozen=True)
class Prompts:
    """Checked prompts. ``ids`` (batch, time), real tokens to the right; ``mask`` alike, or None where all are real.
    ``visible`` (batch, time, time) bool: who sees whom, where that is not just the past."""

    ids: Tensor
    mask: Tensor | None
    lengths: tuple[int, ...]
    visible: Tensor | None = None

    @property
    def rows(self) -> list[Tensor]:
        """Each prompt without its padding."""
        width = self.ids.shape[1]
        return [row[width - length :] for row, length in zip(self.ids, self.lengths, strict=True)]


def prepare(
    decoder: object,
    model: LanguageModel,
    prompt: Tensor,
    mask: Tensor | None,
    limit: int,
    stop: Stop,
    needs: Sequence[str] = (),
    structured: bool = True,
) -> Prompts:
    """Check everything that can be checked before the model runs, and push padding to the left.

    A mask (batch, 1, time, time) says which tokens see each other, as ``core.prompt.pack`` makes it; padding does not
    see itself. ``structured``: whether this decoder honours that, by passing its prompts through ``prefill``.
    Raises NotOffered for a model that lacks what the decoder's card (or ``needs``) names, ValueError for the rest.
    """
    what = card_of(decoder).name or type(decoder).__name__
    require_offers(what, model, needs or card_of(decoder).needs)
    visible = None
    if mask is not None and mask.ndim == 4:
        visible = _checked_visible(prompt, mask)
        mask = visible.diagonal(dim1=1, dim2=2)
        if torch.equal(visible, (mask[:, :, None] & mask[:, None]).tril()):
            visible = None  # ordinary text
        elif not structured:
            raise NotOffered(f"{what} reads its prompts as plain text and would lose their sets; use another decoder")
        else:
            require_offers(f"{what} with a structured prompt", model, NEEDS)
    if limit < 1:
        raise ValueError(f"limit must be at least 1 new token, got {limit}")
    if prompt.ndim != 2 or prompt.dtype != torch.int64:
        raise ValueError(f"prompt must be (batch, time) of int64, got {tuple(prompt.shape)} of {prompt.dtype}")
    if mask is not None and (mask.shape != prompt.shape or mask.dtype != torch.bool):
        raise ValueError(
            f"mask must be bool of the prompt's shape {tuple(prompt.shape)}, got {tuple(mask.shape)} of {mask.dtype}"
        )
    lengths = [prompt.shape[1]] * len(prompt) if mask is None else mask.sum(1).tolist()
    if not lengths or min(lengths) == 0:
        raise ValueError(
            f"the prompt of row {lengths.index(0) if lengths else 0} is empty; give at least one token, "
            "such as the start token"
        )
    real = prompt if mask is None else prompt[mask]
    low, high = int(real.min()), int(real.max())
    if low < 0 or high >= model.vocab_size:
        bad = low if low < 0 else high
        raise ValueError(
            f"prompt token {bad} is outside the vocabulary of {model.vocab_size} (0 to {model.vocab_size - 1})"
        )
    longest = max(lengths) if visible is None else int(positions_of(visible).max()) + 1
    if model.max_positions is not None and longest + limit > model.max_positions:
        raise ValueError(
            f"a prompt of {longest} tokens and {limit} new ones are more than the {model.max_positions} positions "
            f"of this model; shorten the prompt or lower limit to {max(model.max_positions - longest, 0)}"
        )
    if stop.texts and stop.decode is None:
        raise ValueError("stop.texts needs stop.decode, such as Stop(texts=..., decode=tokenizer.decode)")
    if any(not text for text in stop.texts):
        raise ValueError("a stop text is empty; it would end every row at once")
    beyond = [token for token in stop.tokens if not 0 <= token < model.vocab_size]
    if beyond:
        raise ValueError(f"stop token {beyond[0]} is outside the vocabulary of {model.vocab_size}")
    width = max(lengths)
    if min(lengths) == width and mask is None:
        return Prompts(prompt, None, tuple(lengths))
    ids = prompt.new_zeros(len(prompt), width)
    seen = None if visible is None else visible.new_zeros(len(prompt), width, width)
    for row, length in enumerate(lengths):
        ids[row, width - length :] = prompt[row] if mask is None else prompt[row, mask[row]]
        if seen is not None and visible is not None and mask is not None:
            seen[row, width - length :, width - length :] = visible[row][mask[row]][:, mask[row]]
    if min(lengths) == width:
        return Prompts(ids, None, tuple(lengths), seen)
    columns = torch.arange(width, device=ids.device)
    return Prompts(ids, columns >= width - torch.tensor(lengths, device=ids.device)[:, None], tuple(lengths), seen)


def _checked_visible(prompt: Tensor, mask: Tensor) -> Tensor:
    """(batch, 1, time, time) -> (batch, time, time), causal and with no sight of padding."""
    wanted = (*prompt.shape[:1], 1, *prompt.shape[1:], *prompt.shape[1:])
    if mask.shape != wanted or mask.dtype != torch.bool:
        raise ValueError(f"a 4-D mask must be bool of shape {wanted}, got {tuple(mask.shape)} of {mask.dtype}")
    visible = mask[:, 0]
    if visible.triu(1).any():
        row, column = visible.triu(1).nonzero()[0, :2].tolist()
        raise ValueError(f"the mask lets token {column} of row {row} see a later one; prompts are causal")
    real = visible.diagonal(dim1=1, dim2=2)
    if (visible & ~(real[:, :, None] & real[:, None])).any():
        raise ValueError("the mask has a token that does not see itself, which marks padding, but sees or is seen")
    return visible


SAVED = 32
"""Positions that a pass over the common beginning of the prompts must save to be worth being made."""


def prefill(model: LanguageModel, prompts: Prompts, *, whole: bool = False) -> LMOutput:
    """The prompts are passed: state, and logits and hidden of each row's last token. What all rows begin with, such as
    a system message, is passed once for all of them. ``whole``: logits and hidden of every token, in one pass."""
    if prompts.visible is not None:
        visible, where = prompts.visible[:, None], positions_of(prompts.visible)
        return pass_masked(model, prompts.ids, visible, where, logits_to_keep=0 if whole else 1)
    if whole:
        return model(prompts.ids, mask=prompts.mask, keep_state=True)
    shared = _common_beginning(prompts)
    if shared * (len(prompts.ids) - 1) < SAVED:
        return model(prompts.ids, mask=prompts.mask, keep_state=True, logits_to_keep=1)
    state = model(prompts.rows[0][None, :shared], keep_state=True, logits_to_keep=1).state
    assert state is not None
    rest, mask = prompts.ids[:, shared:], None
    if prompts.mask is not None:  # each row loses its first real tokens, so that padding stays on the left
        width = rest.shape[1]
        mask = torch.arange(width, device=rest.device) >= width + shared - prompts.mask.sum(1, keepdim=True)
    every = torch.zeros(len(rest), dtype=torch.int64)
    return model(rest, mask=mask, state=state.select(every), keep_state=True, logits_to_keep=1)


def _common_beginning(prompts: Prompts) -> int:
    """How many tokens all rows begin with; one token of the shortest is left over, for its logits."""
    most = min(prompts.lengths) - 1
    first = torch.stack([row[:most] for row in prompts.rows])
    return int((first == first[:1]).all(0).cumprod(0).sum())


class Streams:
    """One stream of uniform numbers per row, so that a row's draws do not depend on its neighbours.

    The given generator is advanced by one draw, and only once a number is asked for.
    """

    def __init__(self, generator: torch.Generator, rows: int) -> None:
        self._generator, self._rows = generator, rows
        self._streams: list[torch.Generator] = []

    def __call__(self, row: int) -> float:
        """The row's next number in [0, 1)."""
        if not self._streams:
            device = self._generator.device
            base = int(torch.randint(2**62, (), generator=self._generator, device=device))
            self._streams = [seeds.generator(base, "row", index) for index in range(self._rows)]
        return float(torch.rand((), generator=self._streams[row], dtype=torch.float64))


class Writer:
    """The new tokens of each row. Ends a row at its limit, at a stop token (kept), or at the first token that completes
    a stop text (kept), whether tokens come one by one or in blocks."""

    def __init__(self, rows: int, limit: int, stop: Stop) -> None:
        self.limit, self.stop = limit, stop
        self.ids: list[list[int]] = [[] for _ in range(rows)]
        self.logprobs: list[list[float]] = [[] for _ in range(rows)]
        self.accepted: list[list[bool]] = [[] for _ in range(rows)]
        self.live = list(range(rows))
        self._stops = frozenset(stop.tokens)

    def room(self, row: int) -> int:
        """Tokens that the row may still take."""
        return self.limit - len(self.ids[row])

    def commit(self, row: int, tokens: Sequence[int], logprobs: Sequence[float], drafted: int = 0) -> int:
        """Append a block, of which the first ``drafted`` came from a drafter; returns how many tokens were taken."""
        ids = self.ids[row]
        taken, ended = 0, False
        for token in tokens:
            ids.append(token)
            taken += 1
            ended = len(ids) >= self.limit or token in self._stops or self._complete(ids)
            if ended:
                self.live.remove(row)
                break
        self.logprobs[row].extend(logprobs[:taken])
        self.accepted[row].extend(index < drafted for index in range(taken))
        meter.spend(new_tokens=taken)
        streaming.tell(row, tokens[:taken])
        return taken

    def _complete(self, ids: list[int]) -> bool:
        if not self.stop.texts or self.stop.decode is None:
            return False
        text = self.stop.decode(ids)
        return any(ending in text for ending in self.stop.texts)

    def generation(self, like: LanguageModel, trace: Trace, *, drafts: bool = False) -> Generation:
        """Everything written so far as tensors, short rows filled with 0."""
        lengths = [len(row) for row in self.ids]
        longest = max(lengths)
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        full = lambda rows: [row + [0] * (longest - len(row)) for row in rows]  # noqa: E731
        return Generation(
            torch.tensor(full(self.ids), dtype=torch.int64, device=like.device),
            torch.tensor(full(self.logprobs), dtype=dtype, device=like.device),
            torch.tensor(lengths),
            trace,
            torch.tensor(full(self.accepted), dtype=torch.bool, device=like.device) if drafts else None,
        )


class Clock:
    """Sums the seconds of each phase into a trace."""

    def __init__(self, trace: Trace) -> None:
        self.seconds, self.last = trace.seconds, time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self.last
        self.last = now


def checked_normaliser(logits: Tensor, rows: Sequence[int], lengths: Sequence[int]) -> Tensor:
    """(rows, vocab) -> (rows,) logsumexp in float32 at least. One number per row is all that a log-probability needs,
    and it is not finite where any logit is NaN or plus infinity. Raises NotFinite, naming row and position."""
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    normaliser = wide.logsumexp(-1)
    if not normaliser.isfinite().all():
        bad = int((~normaliser.isfinite()).nonzero()[0, 0])
        raise NotFinite(
            f"the model's logits after {lengths[bad]} tokens of row {rows[bad]} are not finite; "
            "check its weights, or use a wider dtype"
        )
    return normaliser


def step_by_step(
    decoder: object,
    model: LanguageModel,
    prompt: Tensor,
    pipeline: Pipeline,
    *,
    limit: int,
    generator: torch.Generator,
    mask: Tensor | None = None,
    stop: Stop = Stop(),
    read: Callable[[Tensor, Sequence[int]], Tensor] | None = None,
    drawn: Callable[[Sequence[int], Tensor], None] | None = None,
    within: Callable[[int], AbstractContextManager[None]] | None = None,
    begin: Callable[[Prompts], LMOutput] | None = None,
    step: Callable[[Tensor, State], LMOutput] | None = None,
) -> Generation:
    """One token per pass and row, drawn from the pipeline's distribution by one uniform number each.

    ``read``: what the pipeline gets in place of the model's logits (rows, vocab) of these rows. ``drawn``: told which
    tokens (rows,) were drawn in them. Both are for decoders whose law is no function of the logits and the text alone.
    ``within``: a context for the pass that takes in new token number so many, counted from 0. ``begin``: passes the
    prompts in place of ``prefill``, as plain text. ``step``: what is run in place of a plain pass over the last tokens
    (rows, 1).
    """
    prompts = prepare(decoder, model, prompt, mask, limit, stop, structured=begin is None)
    pipeline.check(model.vocab_size)
    writer, streams, trace = Writer(len(prompt), limit, stop), Streams(generator, len(prompt)), Trace()
    started = time.perf_counter()
    with torch.inference_mode():
        out = prefill(model, prompts) if begin is None else begin(prompts)
        trace.seconds["prefill"] = time.perf_counter() - started
        fed = list(writer.live)  # the rows of the state; finished ones stay until dropping them is worth the copy
        while True:
            tokens, logprobs = _choose(pipeline, out.logits[:, -1], fed, writer, prompts, streams, read)
            if drawn is not None:
                drawn(fed, tokens)
            live = set(writer.live)
            for row, token, logprob in zip(fed, tokens.tolist(), logprobs.tolist(), strict=True):
                if row in live:
                    writer.commit(row, (token,), (logprob,))
            trace.note(rows=len(live), committed=len(live), target_positions=len(fed))
            if not writer.live:
                break
            state = out.state
            assert state is not None
            if len(writer.live) <= 0.75 * len(fed):
                still = set(writer.live)
                left = torch.tensor([at for at, row in enumerate(fed) if row in still])
                state, tokens, fed = state.select(left), tokens[left], list(writer.live)
            with nullcontext() if within is None else within(len(trace.iterations) - 1):
                if step is None:
                    out = model(tokens[:, None], state=state, keep_state=True)
                else:
                    out = step(tokens[:, None], state)
    trace.seconds["choose"] = time.perf_counter() - started - trace.seconds["prefill"]
    return writer.generation(model, trace)


def _choose(
    pipeline: Pipeline,
    logits: Tensor,
    fed: Sequence[int],
    writer: Writer,
    prompts: Prompts,
    streams: Streams,
    read: Callable[[Tensor, Sequence[int]], Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """(rows, vocab) -> tokens (rows,) and the model's own log-probabilities of them (rows,)."""
    lengths = [prompts.lengths[row] + len(writer.ids[row]) for row in fed]
    normaliser = checked_normaliser(logits, fed, lengths)
    scores = logits if read is None else read(logits, fed)
    given: tuple = ()
    if not pipeline.untouched:
        rows = prompts.rows
        histories = [torch.cat([rows[row].cpu(), torch.tensor(writer.ids[row], dtype=torch.int64)]) for row in fed]
        given = (histories, [len(writer.ids[row]) for row in fed], writer.stop.tokens)
    if pipeline.greedy:
        tokens = likeliest(pipeline.penalised(scores, *given))
    else:
        points = torch.tensor([streams(row) if writer.room(row) else 0.0 for row in fed], dtype=torch.float64)
        tokens = draw(pipeline.probabilities(scores, *given), points.to(logits.device))
    return tokens, logits.gather(1, tokens[:, None])[:, 0].to(normaliser.dtype) - normaliser
