"""AriEL: every sentence has a box in the unit cube, as large as it is likely, and every point decodes to a sentence.

Source
    Celotti, Brodeur, Rouat 2020, "AriEL: volume coding for sentence generation", arXiv:2003.13600.
Equation
    at token j on axis i = (j - 1) mod d,  with C(v) = sum_{u < v} p(u | s_<j):
    lo_i <- lo_i + w_i C(s_j),   w_i <- w_i p(s_j)          box volume = p(s_1 .. s_n)
    decoding takes the v with  C(v) <= (z_i - lo_i) / w_i < C(v) + p(v);   z uniform gives s ~ p
Shapes
    point: d coordinates in [0, 1);   counts (batch, vocab) of int64, which sum to 2^32
Cost
    One model call per token either way; O(vocab) on top, and integers that grow by 32 bits per token on an axis.
Caveats
    Intervals are exact: probabilities become counts of 2^-32, at least one for every token, and borders are integers of
    any length, where the paper's floats hold about 52 bits per axis and lose longer sentences. A token's border on its
    axis is a multiple of 2^-32m after m tokens there, so each token needs one 32-bit digit of its coordinate, and a
    random point may be drawn digit by digit while it is decoded. Encoder and decoder must see the same logits to the
    last bit: both go token by token, one sentence at a time. Without a stop token a sentence ends at the limit only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.nouns import Generation, Stop, Trace
from trivium.core.protocols import LanguageModel
from trivium.decoding._loop import Prompts, Streams, Writer, checked_normaliser, prefill, prepare

BITS = 32
"""Of a count; a probability is at least 2^-32."""
FLOAT_SIDE = Fraction(1, 2**50)
"""Shorter sides of a box hold no float64 that is surely inside."""

Point = tuple[Fraction, ...]


@dataclass(frozen=True)
class Box:
    """The points that decode to one sentence: per axis the lower end and the side, exact."""

    low: Point
    side: Point

    @property
    def centre(self) -> Point:
        return tuple(low + side / 2 for low, side in zip(self.low, self.side, strict=True))

    @property
    def volume(self) -> Fraction:
        """The probability of the sentence."""
        product = Fraction(1)
        for side in self.side:
            product *= side
        return product

    def floats(self) -> tuple[float, ...]:
        """The centre in float64. Raises ValueError where a side is too short for that; the exact one still serves."""
        short = [axis for axis, side in enumerate(self.side) if side < FLOAT_SIDE]
        if short:
            raise ValueError(
                f"precision exhausted: on axis {short[0]} the box is shorter than 2^-50; use its exact centre, "
                "or more dimensions"
            )
        return tuple(float(value) for value in self.centre)

    def __contains__(self, point: Sequence[Fraction | float]) -> bool:
        return all(low <= z < low + side for low, side, z in zip(self.low, self.side, point, strict=True))


@method(title="AriEL", source="arXiv:2003.13600", year=2020, needs=["causal", "state"])
@dataclass(frozen=True)
class Ariel:
    """Called as a decoder it decodes a random point, which draws from the model; ``encode`` and ``decode`` go from
    sentences to boxes and from points to sentences."""

    dimensions: int = 16
    """Axes of the cube; tokens take them in turns."""

    def __post_init__(self) -> None:
        if self.dimensions < 1:
            raise ValueError(f"dimensions must be at least 1 axis, got {self.dimensions}")

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
        prompts = prepare(self, model, prompt, mask, limit, stop)
        streams = Streams(generator, len(prompt))
        return self._decode(model, prompts, lambda row, axis, level: int(streams(row) * 2**BITS), limit, stop)

    def decode(
        self,
        model: LanguageModel,
        prompt: Tensor,
        point: Sequence[Fraction | float],
        *,
        limit: int,
        stop: Stop = Stop(),
    ) -> Generation:
        """The sentence after ``prompt`` (1, time) in whose box the point lies.

        Raises ValueError for a point of another dimension, or outside [0, 1).
        """
        if len(point) != self.dimensions:
            raise ValueError(f"the point has {len(point)} coordinates, the code {self.dimensions} dimensions")
        outside = [z for z in point if not 0 <= z < 1]
        if outside:
            raise ValueError(f"coordinate {float(outside[0])} lies outside [0, 1); clip it if that is what you mean")
        exact = [Fraction(z) for z in point]
        prompts = prepare(self, model, _one_row(prompt), None, limit, stop)

        def digit(row: int, axis: int, level: int) -> int:
            return int(exact[axis] * 2 ** (BITS * level)) % 2**BITS

        return self._decode(model, prompts, digit, limit, stop)

    def encode(
        self, model: LanguageModel, prompt: Tensor, sentence: Sequence[int] | Tensor, *, stop: Stop = Stop()
    ) -> Box:
        """The box of a sentence after ``prompt`` (1, time). The sentence ends with a stop token, where there are any.

        Raises ValueError for an empty sentence, one that does not end or goes on after its end, and unknown tokens.
        """
        tokens = [int(token) for token in sentence]
        prompts = prepare(self, model, _one_row(prompt), None, max(len(tokens), 1), stop)
        _check_sentence(tokens, stop, model.vocab_size)
        code = _Code(self.dimensions)
        with torch.inference_mode():
            out = prefill(model, prompts)
            for place, token in enumerate(tokens):
                checked_normaliser(out.logits[:, -1], [0], [prompts.lengths[0] + place])
                held = counts(out.logits[:, -1])[0]
                code.shrink(place % self.dimensions, int(held[:token].sum()), int(held[token]))
                if place + 1 < len(tokens):
                    fed = torch.tensor([[token]], device=model.device)
                    out = model(fed, state=out.state, keep_state=True)
        return code.box()

    def _decode(
        self, model: LanguageModel, prompts: Prompts, digit: Callable[[int, int, int], int], limit: int, stop: Stop
    ) -> Generation:
        """``digit(row, axis, level)``: the level-th 32 bits of a coordinate, asked for once and in order."""
        writer, trace = Writer(len(prompts.ids), limit, stop), Trace()
        codes = [_Code(self.dimensions) for _ in writer.live]
        with torch.inference_mode():
            out, rows = prefill(model, prompts), list(writer.live)
            while True:
                logits = out.logits[:, -1]
                written = [len(writer.ids[row]) for row in rows]
                normaliser = checked_normaliser(
                    logits, rows, [prompts.lengths[row] + n for row, n in zip(rows, written, strict=True)]
                )
                held = counts(logits)
                ends = held.cumsum(1)
                where = []
                for row, n in zip(rows, written, strict=True):
                    level, axis = divmod(n, self.dimensions)
                    where.append([codes[row].where(axis, digit(row, axis, level + 1))])
                tokens = torch.searchsorted(ends, torch.tensor(where, device=ends.device), right=True)  # (rows, 1)
                widths, tops = held.gather(1, tokens)[:, 0].tolist(), ends.gather(1, tokens)[:, 0].tolist()
                logprobs = (logits.gather(1, tokens)[:, 0].to(normaliser.dtype) - normaliser).tolist()
                for at, row in enumerate(rows):
                    codes[row].shrink(written[at] % self.dimensions, tops[at] - widths[at], widths[at])
                    writer.commit(row, (int(tokens[at]),), (logprobs[at],))
                trace.note(rows=len(rows), committed=len(rows), target_positions=len(rows))
                if not writer.live:
                    return writer.generation(model, trace)
                state = out.state
                assert state is not None
                left = [at for at, row in enumerate(rows) if row in writer.live]
                if len(left) < len(rows):
                    index = torch.tensor(left)
                    rows, tokens, state = [rows[at] for at in left], tokens[index], state.select(index)
                out = model(tokens, state=state, keep_state=True)


def counts(logits: Tensor) -> Tensor:
    """(batch, vocab) -> int64 counts of 2^-32 that sum to 2^32, at least one each; what is left over goes to the
    likeliest token."""
    whole, vocab = 2**BITS, logits.shape[1]
    made = (logits.double().softmax(-1) * (whole - vocab)).long() + 1
    left = whole - made.sum(-1, keepdim=True)
    return made.scatter_add(1, logits.argmax(-1, keepdim=True), left)


def _one_row(prompt: Tensor) -> Tensor:
    if prompt.ndim != 2 or len(prompt) != 1:
        raise ValueError(f"a sentence is coded alone: the prompt must be (1, time), got {tuple(prompt.shape)}")
    return prompt


def _check_sentence(tokens: Sequence[int], stop: Stop, vocab: int) -> None:
    if not tokens:
        raise ValueError("the sentence is empty; it holds at least its last token")
    unknown = [token for token in tokens if not 0 <= token < vocab]
    if unknown:
        raise ValueError(f"token {unknown[0]} of the sentence is outside the vocabulary of {vocab}")
    early = [place for place, token in enumerate(tokens[:-1]) if token in stop.tokens]
    if early:
        raise ValueError(f"the sentence goes on after its stop token at place {early[0]}; nothing decodes to it")
    if stop.tokens and tokens[-1] not in stop.tokens:
        raise ValueError(f"the sentence must end with a stop token ({', '.join(map(str, stop.tokens))})")


class _Code:
    """The interval of each axis, as integers over 2^(32 m) after m tokens on it, and the digits read of a point."""

    def __init__(self, dimensions: int) -> None:
        self.low, self.side, self.level = [0] * dimensions, [1] * dimensions, [0] * dimensions
        self.point = [0] * dimensions

    def where(self, axis: int, digit: int) -> int:
        """How far into the interval the point lies once its next digit is known, in 0 .. 2^32 - 1."""
        self.point[axis] = (self.point[axis] << BITS) + digit
        return (self.point[axis] - (self.low[axis] << BITS)) // self.side[axis]

    def shrink(self, axis: int, below: int, count: int) -> None:
        """Take the part of the axis from ``below`` on that is ``count`` wide, both of 2^32."""
        self.low[axis] = (self.low[axis] << BITS) + self.side[axis] * below
        self.side[axis] *= count
        self.level[axis] += 1

    def box(self) -> Box:
        over = [1 << (BITS * level) for level in self.level]
        return Box(
            tuple(Fraction(low, whole) for low, whole in zip(self.low, over, strict=True)),
            tuple(Fraction(side, whole) for side, whole in zip(self.side, over, strict=True)),
        )
