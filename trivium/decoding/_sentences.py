"""The loop of sentence-level decoding: a language model that takes one step per sentence, and the parts it needs.

Source
    An, Chen, Sun, Li 2024, "SentenceVAE: Enable Next-sentence Prediction for Large Language Models with Faster Speed,
    Higher Accuracy and Longer Context", arXiv:2408.00655; here as an interface, whatever the parts are made of.
Equation
    e_i = encoder(sentence i, EOS);   o_n = body(e_1 .. e_n), causal;   the text ends where argmax stop(o_n) = 0
    sentence n + 1 = decoder from BOS given o_n, up to EOS;   e_(n+1) = encoder(sentence n + 1, EOS);   and so on
Shapes
    per row a list of sentences of ids -> per row a list of new sentences
Cost
    One pass of the body over the prompts, and one for each sentence but the last; one of the decoder per token.
Caveats
    The authors' code compares the batch size with the length limit, so that a sentence may never end; it calls the body
    without a mask, so that sentences see later ones in training; and its decoder works through all tokens at each step.
    ``tests/decoding/sentence_contract.py`` holds parts to the opposite. A row's body passes are its sentences, and one
    more where the stop head ended it: the step behind the last sentence of a limit would say nothing, and is saved.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trivium.core.protocols import Tokenizer
from trivium.data.sentences import sentences
from trivium.decoding._loop import Streams, checked_normaliser
from trivium.decoding._pipeline import Pipeline, draw

log = logging.getLogger(__name__)


class Memory(Protocol):
    """What a part remembers, as a value: going on from it twice gives the same. ``core.protocols.State`` is one."""

    def select(self, rows: Tensor) -> Self:
        """(n,) int64 -> the memory of these rows."""
        ...


class SentenceEncoder(Protocol):
    """Sentences -> vectors."""

    width: int

    def __call__(
        self, ids: Int[Tensor, "batch time"], mask: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch width"]:
        """``ids`` end with EOS and have no BOS, padded on the right; what padding holds is of no matter. They come on
        the CPU, and the parts take them to where they live."""
        ...


class SentenceBody(Protocol):
    """A causal model over sentence vectors."""

    width: int
    max_sentences: int | None

    def __call__(
        self,
        vectors: Float[Tensor, "batch sentences width"],
        *,
        mask: Bool[Tensor, "batch sentences"] | None = None,
        memory: Memory | None = None,
    ) -> tuple[Float[Tensor, "batch sentences width"], Memory]:
        """Outputs and the memory behind them. Padding stands on the left; positions count real sentences."""
        ...


class SentenceDecoder(Protocol):
    """A vector -> the tokens of a sentence, one after another."""

    width: int
    vocab_size: int
    bos: int
    eos: int

    def __call__(
        self,
        vectors: Float[Tensor, "batch width"],
        ids: Int[Tensor, "batch time"],
        *,
        memory: Memory | None = None,
    ) -> tuple[Float[Tensor, "batch time vocab"], Memory]:
        """Logits of what follows each of ``ids``, which stand behind those in the memory, BOS first of all."""
        ...


class StopHead(Protocol):
    """Outputs of the body -> whether the text ends there."""

    width: int

    def __call__(self, outputs: Float[Tensor, "batch width"]) -> Float[Tensor, "batch 2"]:
        """Scores; class 0 is to stop."""
        ...


@dataclass(frozen=True)
class SentenceModel:
    """Four parts of one width."""

    encoder: SentenceEncoder
    body: SentenceBody
    decoder: SentenceDecoder
    stop: StopHead

    def __post_init__(self) -> None:
        widths = {name: getattr(self, name).width for name in ("encoder", "body", "decoder", "stop")}
        if len(set(widths.values())) > 1:
            said = ", ".join(f"{name} {width}" for name, width in widths.items())
            raise ValueError(f"the parts must share one width, got {said}")


@dataclass(frozen=True)
class Written:
    """What the loop wrote. Per row: the new sentences without their EOS, whether the stop head ended it, and the passes
    of the body that it took part in, that over the prompt included."""

    sentences: list[list[tuple[int, ...]]]
    stopped: list[bool]
    passes: list[int]


def split(text: str, tokenizer: Tokenizer, longest: int = 64) -> list[tuple[int, ...]]:
    """A prompt as sentences of ids, by punctuation; longer ones are cut, with a warning. Raises ValueError for a text
    without a sentence."""
    found: list[tuple[int, ...]] = []
    for part in sentences(text):
        ids = tuple(tokenizer.encode(part))
        if len(ids) > longest:
            log.warning("a sentence of %d tokens is cut into pieces of %d: %r", len(ids), longest, part.strip()[:40])
        found += [ids[at : at + longest] for at in range(0, len(ids), longest)]
    if not found:
        raise ValueError("the prompt holds no sentence; give it some text")
    return found


@torch.inference_mode()
def write(
    model: SentenceModel,
    prompts: Sequence[Sequence[Sequence[int]]],
    *,
    generator: torch.Generator,
    longest: int = 64,
    most: int = 64,
    pipeline: Pipeline = Pipeline(temperature=0),
) -> Written:
    """Go on from prompts, each a list of sentences of ids (see ``split``), until the stop head says so.

    ``longest``: tokens of a sentence, without EOS; ``most``: new sentences of a row. ``pipeline`` shapes the law of a
    token; greedy by default. Rows end one by one, and each has its own random numbers.
    """
    _check(model, prompts, longest, most)
    if not pipeline.untouched:
        raise ValueError(
            "penalties and constraints look at a whole text, which no sentence has; use the other settings"
        )
    streams = Streams(generator, len(prompts))
    written: list[list[tuple[int, ...]]] = [[] for _ in prompts]
    stopped, passes = [False] * len(prompts), [1] * len(prompts)
    vectors = encode(model, [sentence for prompt in prompts for sentence in prompt])
    width = max(map(len, prompts))
    padded, real = vectors.new_zeros(len(prompts), width, model.body.width), torch.zeros(len(prompts), width).bool()
    for row, each in enumerate(vectors.split([len(prompt) for prompt in prompts])):
        padded[row, width - len(each) :], real[row, width - len(each) :] = each, True
    outputs, memory = model.body(padded, mask=None if bool(real.all()) else real.to(padded.device))
    last, rows = outputs[:, -1], list(range(len(prompts)))
    while True:
        going = (model.stop(last).argmax(-1) != 0).tolist()
        for row, goes in zip(rows, going, strict=True):
            stopped[row] = not goes
        if not any(going):
            break
        if not all(going):
            kept = torch.tensor([at for at, goes in enumerate(going) if goes])
            memory, last, rows = memory.select(kept), last[kept.to(last.device)], [rows[at] for at in kept.tolist()]
        new = decode(model, last, longest, pipeline, streams, rows)
        for row, sentence in zip(rows, new, strict=True):
            written[row].append(sentence)
        if len(written[rows[0]]) >= most:
            break
        outputs, memory = model.body(encode(model, new)[:, None], memory=memory)
        last = outputs[:, -1]
        for row in rows:
            passes[row] += 1
    return Written(written, stopped, passes)


def encode(model: SentenceModel, given: Sequence[Sequence[int]]) -> Float[Tensor, "sentences width"]:
    """Vectors of sentences, side by side; each is closed with EOS."""
    closed = [[*sentence, model.decoder.eos] for sentence in given]
    width = max(map(len, closed))
    ids = torch.tensor([sentence + [0] * (width - len(sentence)) for sentence in closed])
    mask = torch.arange(width) < torch.tensor([[len(sentence)] for sentence in closed])
    return model.encoder(ids, mask)


def decode(
    model: SentenceModel,
    vectors: Float[Tensor, "rows width"],
    longest: int,
    pipeline: Pipeline,
    streams: Streams,
    rows: Sequence[int],
) -> list[tuple[int, ...]]:
    """A sentence from each vector, without its EOS. ``rows`` names their streams of random numbers."""
    decoder, made = model.decoder, [[] for _ in rows]
    live = list(range(len(rows)))
    ids, memory = torch.full((len(rows), 1), decoder.bos, device=vectors.device), None
    for at in range(longest):
        logits, memory = decoder(vectors, ids, memory=memory)
        logits = logits[:, -1]
        checked_normaliser(logits, [rows[row] for row in live], [at] * len(live))
        if pipeline.greedy:
            tokens = logits.argmax(-1)
        else:
            points = torch.tensor([streams(rows[row]) for row in live], dtype=torch.float64)
            tokens = draw(pipeline.probabilities(logits), points.to(logits.device))
        goes = (tokens != decoder.eos).tolist()
        for row, token, on in zip(live, tokens.tolist(), goes, strict=True):
            if on:
                made[row].append(token)
        if not any(goes):
            break
        if not all(goes):
            kept = torch.tensor([here for here, on in enumerate(goes) if on])
            there = kept.to(vectors.device)
            memory, vectors, tokens, live = (
                memory.select(kept),
                vectors[there],
                tokens[there],
                [live[at] for at in kept.tolist()],
            )
        ids = tokens[:, None]
    return [tuple(sentence) for sentence in made]


def _check(model: SentenceModel, prompts: Sequence[Sequence[Sequence[int]]], longest: int, most: int) -> None:
    """Everything that can be known before any work."""
    for name, value in (("longest", longest), ("most", most)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not prompts:
        raise ValueError("there is no prompt; give at least one row")
    vocab, limit = model.decoder.vocab_size, model.body.max_sentences
    for row, prompt in enumerate(prompts):
        if not prompt:
            raise ValueError(f"the prompt of row {row} is empty; give it at least one sentence")
        for number, sentence in enumerate(prompt):
            if not sentence:
                raise ValueError(f"sentence {number} of row {row} is empty; leave it out")
            if len(sentence) > longest:
                raise ValueError(
                    f"sentence {number} of row {row} has {len(sentence)} tokens, more than {longest}; make prompts "
                    "with split, which cuts them"
                )
            if min(sentence) < 0 or max(sentence) >= vocab:
                raise ValueError(f"sentence {number} of row {row} has a token outside the vocabulary of {vocab}")
        if limit is not None and len(prompt) + most > limit:
            raise ValueError(
                f"a prompt of {len(prompt)} sentences and {most} new ones are more than the {limit} positions of the "
                "body; shorten the prompt or lower most"
            )
