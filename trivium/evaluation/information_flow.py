"""Information flow: in which layers do some positions learn from some others what the answer needs?

Source
    Zhang, Yadav, Han and Shutova 2025, "Cross-modal Information Flow in Multimodal Large Language Models",
    arXiv:2411.18620; the window as in the authors' code; attention knockout after Geva et al. 2023, "Dissecting Recall
    of Factual Associations in Auto-Regressive Language Models", arXiv:2304.14767. The prompts' task is that of Wang et
    al. 2022, arXiv:2211.00593.
Equation
    around every layer l, in layers  l - floor(w / 2) .. l + ceil(w / 2) - 1  that there are:
    score(q, s) = -inf  for targets q and sources s;   change_l = 100 (p_l(answer) - p(answer)) / p(answer)
    averaged over prompts that are answered right with nothing cut
Shapes
    prompt ids (time,) or embeddings (time, width), spans (time,) bool -> p (prompts, windows) for each flow
Cost
    A row of a forward pass per prompt, flow and window, and one per prompt; rows of different windows share a pass.
Caveats
    A relative change has no upper bound where p was small, so the difference of log-probabilities stands beside it.
    Windows at the ends hold fewer layers and are marked as clipped. Where sources are cut, the softmax gives others
    their share; ``renormalize=False`` leaves it out instead (the paper does the former). What goes round by a third
    position is not cut: no effect does not mean no flow. The paper's flows are between an image, a question and the
    last position; here are prompts of text, and ``sweep`` takes any positions, those of an image too. Prompts are drawn
    without asking a tokenizer; of a name of several tokens the first one is the answer and all are the span.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from trivium.core import seeds
from trivium.core.capabilities import require_offers
from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.progress import Bar
from trivium.core.protocols import LanguageModel
from trivium.data import circuits
from trivium.evaluation._flow import Asked, Flow, NotAnswered, Sweep, Window, ask, pairs_of, sliding
from trivium.evaluation._together import absent
from trivium.models.knockout import knockout
from trivium.models.system import System
from trivium.nn.finite import check_finite
from trivium.nn.modes import evaluating

Heads = Sequence[int] | Mapping[int, Sequence[int]]


def sweep(
    model: LanguageModel,
    asked: Sequence[Asked],
    flows: Sequence[str | tuple[str, str]],
    *,
    window: int | Sequence[Window] = 9,
    heads: Heads | None = None,
    renormalize: bool = True,
    answered: bool = True,
    least: float = 0.0,
    batch_size: int = 32,
    bar: Bar | None = None,
) -> Sweep:
    """Cut each flow, such as ("image", "last") or "image->last", in every window and see what the answers are worth.

    window: how many layers one holds, or the windows themselves. heads: those that are cut, by layer where they differ
    (layers that are not named are then left alone). answered: count only prompts whose answer is the likeliest token;
    least: and has this probability. batch_size: rows per pass.

    Raises ValueError, before any pass, for no prompts, spans that overlap, a target left with nothing to attend to and
    an answer outside the vocabulary; UnknownName for a span that a prompt lacks; NotAnswered where no prompt counts.
    """
    require_offers("information flow", model, ["causal", "attention"])
    pairs = pairs_of(flows)
    windows = tuple(sliding(model.depth, window) if isinstance(window, int) else window)
    _check(model, asked, pairs, windows, least, batch_size)
    rows = _Rows(model, asked, heads, renormalize, batch_size, bar)
    plain, likeliest = rows.run([(at, None, None) for at in range(len(asked))])
    right = torch.tensor([one.answer for one in asked]) == likeliest
    kept = (right if answered else torch.ones_like(right)) & (plain.exp() >= least)
    if not kept.any():
        raise NotAnswered(
            f"of {len(asked)} prompts {int(right.sum())} are answered right, and none with a probability of "
            f"{least:g} or more; a knockout says something of right answers only: choose others, or answered=False"
        )
    counted = kept.nonzero()[:, 0].tolist()
    plan = [(at, pair, window) for pair in pairs for at in counted for window in windows]
    if bar is not None:
        bar.total = bar.done + len(plan)
    cut = rows.run(plan)[0].view(len(pairs), len(counted), len(windows))
    found = tuple(Flow(*pair, windows, plain[kept], values) for pair, values in zip(pairs, cut, strict=True))
    return Sweep(found, tuple(one.name for one in asked), plain, right, kept)


def _check(
    model: LanguageModel,
    asked: Sequence[Asked],
    pairs: Sequence[tuple[str, str]],
    windows: Sequence[Window],
    least: float,
    batch_size: int,
) -> None:
    if not asked:
        raise ValueError("give at least one prompt")
    if not windows:
        raise ValueError("give at least one window of layers")
    for one in windows:
        if not 0 <= one.start < one.stop <= model.depth:
            raise ValueError(f"layers {one.start} to {one.stop} are no window of a model of {model.depth}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not 0 <= least < 1:
        raise ValueError(f"least is a probability, 0 to 1; got {least}")
    for one in asked:
        if not 0 <= one.answer < model.vocab_size:
            raise ValueError(f"the answer {one.answer} of {one.name!r} is outside the vocabulary of {model.vocab_size}")
        if one.given.is_floating_point() != asked[0].given.is_floating_point():
            raise ValueError("give all prompts as ids, or all as embeddings")
        for source, target in pairs:
            left, right = one.span(source), one.span(target)
            if source != target and (left & right).any():
                raise ValueError(f"the spans {source!r} and {target!r} of {one.name!r} overlap")
            blind = right & ((~left).cumsum(0) == 0)
            if blind.any():
                raise ValueError(
                    f"{one.name!r}: position {int(blind.nonzero()[0])} of {target!r} would be left with nothing to "
                    f"attend to, since all up to it is {source!r}"
                )


_Row = tuple[int, tuple[str, str] | None, Window | None]
"""Which prompt, which flow is cut, and where; None for nothing."""


class _Rows:
    """Passes over rows of equal length, each with its own cut."""

    def __init__(
        self,
        model: LanguageModel,
        asked: Sequence[Asked],
        heads: Heads | None,
        renormalize: bool,
        batch_size: int,
        bar: Bar | None,
    ) -> None:
        self.model, self.asked, self.heads, self.renormalize = model, asked, heads, renormalize
        self.batch_size, self.bar = batch_size, bar

    @torch.no_grad()
    def run(self, rows: Sequence[_Row]) -> tuple[Tensor, Tensor]:
        """(rows,) log-probabilities of the answers in float64, and the likeliest tokens."""
        logp, likeliest = torch.zeros(len(rows), dtype=torch.float64), torch.zeros(len(rows), dtype=torch.int64)
        by_length: dict[int, list[int]] = {}
        for at, row in enumerate(rows):
            by_length.setdefault(len(self.asked[row[0]].given), []).append(at)
        with evaluating(self.model):
            for places in by_length.values():
                for start in range(0, len(places), self.batch_size):
                    some = places[start : start + self.batch_size]
                    answers = torch.tensor([self.asked[rows[at][0]].answer for at in some])
                    said = self._pass([rows[at] for at in some]).double().log_softmax(-1).cpu()
                    logp[some] = said.gather(1, answers[:, None])[:, 0]
                    likeliest[some] = said.argmax(-1)
                    if self.bar is not None:
                        self.bar.advance(len(some))
        return logp, likeliest

    def _pass(self, rows: Sequence[_Row]) -> Tensor:
        """(rows, vocab) logits of the last position."""
        model = self.model
        given = torch.stack([self.asked[at].given for at, _, _ in rows]).to(model.device)
        time = given.shape[1]
        sources, targets = torch.zeros(2, len(rows), time, dtype=torch.bool)
        layers = torch.zeros(len(rows), model.depth, dtype=torch.bool)
        for row, (at, pair, window) in enumerate(rows):
            if pair is not None and window is not None:
                sources[row], targets[row] = (self.asked[at].span(name) for name in pair)
                layers[row, window.start : window.stop] = True
        heads = self.heads
        if isinstance(heads, Mapping):
            layers &= torch.tensor([layer in heads for layer in range(model.depth)])
            heads = {layer: heads[layer] for layer in range(model.depth) if layers[:, layer].any()}
        name = "embeds" if given.is_floating_point() else "ids"
        if layers.any():
            block = knockout(model, sources, targets, layers, heads, renormalize=self.renormalize)
        else:  # through the same kernel, so that rounding does not pass for an effect
            block = model.edit({f"blocks.{layer}.attn.weights": lambda x: x for layer in range(model.depth)})
        with block:
            logits = model(**{name: given}, logits_to_keep=1).logits[:, -1]
        check_finite(logits, "a pass with attention cut" if layers.any() else "the pass with nothing cut")
        return logits


@method(title="Information flow", source="arXiv:2411.18620", year=2025, needs=["causal", "attention"])
@dataclass(frozen=True)
class InformationFlow:
    """Prompts with an indirect object, and how much the answer loses while the last position cannot look at it."""

    source: str = "indirect"
    """Where from: "indirect", where the answer is first named; "subject", the other name there; "again"; "rest"."""
    target: str = "last"
    """Where to."""
    window: int = 9
    """Layers that are cut at once."""
    heads: tuple[int, ...] | None = None
    """Heads that are cut in each of them; None for all."""
    renormalize: bool = True
    """Whether the softmax gives others what the source would have got."""
    least: float = 0.0
    """Probability of the answer below which a prompt does not count, though it was the likeliest token."""
    items: int = 24
    """Prompts of a split."""
    batch_size: int = 32
    """Rows per pass."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("change", "Largest fall of the answer's probability", None, "%"),
        Measure("difference", "Difference of its log-probability there", None, "nats"),
        Measure("depth", "Where that is, 0 for the first layer and 1 for the last", None),
        Measure("answered", "Prompts answered right", binary=True),
    )

    def __post_init__(self) -> None:
        for name in ("window", "items", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.least < 1:
            raise ValueError(f"least is a probability, 0 to 1; got {self.least}")
        if self.heads is not None:
            object.__setattr__(self, "heads", tuple(self.heads))
        pairs_of([(self.source, self.target)])

    def examples(self, split: str) -> Sequence[Example]:
        """Prompts that name two people, and then one of them again."""
        if split not in self._drawn:
            raise ValueError(f"the splits are 'validation' and 'test', got {split!r}")
        return [
            Example(f"{split}-{at:03d}", one.text, one.group, {"answer": one.answer, "spans": dict(one.spans)})
            for at, one in enumerate(self._drawn[split])
        ]

    @cached_property
    def _drawn(self) -> dict[str, list[circuits.Contrast]]:
        """No prompt is in both splits."""
        both = circuits.ioi(_Words(), 2 * self.items, seeds.generator(0, "information flow"))
        return {"validation": both[: self.items], "test": both[self.items :]}

    def ask(self, system: System, example: Example) -> Asked:
        spans = {name: tuple(span) for name, span in example.fields["spans"].items() if name != "end"}
        return ask(system, example.text, example.fields["answer"], spans, example.id)

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts. A prompt that is not answered right has no flow."""
        try:
            found = self.sweep(system, [example])
        except NotAnswered:
            why = "the answer is not the likeliest token, or too unlikely"
            return Observation({"answered": 0.0}, absent(self.measures, {"answered": 0.0}, why))
        (flow,) = found.flows
        at = int(flow.change[0].argmin())
        values = {
            "answered": 1.0,
            "change": float(flow.change[0, at]),
            "difference": float(flow.difference[0, at]),
            "depth": flow.windows[at].centre / max(system.model.depth - 1, 1),
        }
        return Observation(values, {"changes": flow.change[0].tolist()})

    def sweep(self, system: System, examples: Sequence[Example], bar: Bar | None = None) -> Sweep:
        """All of these together."""
        return sweep(
            system.model,
            [self.ask(system, example) for example in examples],
            [(self.source, self.target)],
            window=self.window,
            heads=self.heads,
            renormalize=self.renormalize,
            least=self.least,
            batch_size=self.batch_size,
            bar=bar,
        )


class _Words:
    """Words as tokens, so that prompts can be drawn before there is a model."""

    vocab_size = 0
    bos: int | None = None
    eos: int | None = None
    pad: int | None = None

    def encode(self, text: str) -> list[int]:
        return [0] * len(text.split())

    def decode(self, ids: Sequence[int]) -> str:
        raise NotImplementedError("these words are counted only")

    def bytes_of(self, id: int) -> bytes:
        raise NotImplementedError("these words are counted only")
