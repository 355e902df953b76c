"""What a sweep of attention knockouts is asked and what it finds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trivium.core.errors import UnknownName, did_you_mean
from trivium.data.spans import Span, find_span, positions_of
from trivium.models.next_token import next_token
from trivium.models.system import System

LAST, REST = "last", "rest"
"""Spans that every prompt has: its last position, and all that is in no other span (an opening token apart)."""


class NotAnswered(ValueError):
    """No prompt has the answer that would count."""


@dataclass(frozen=True)
class Asked:
    """A prompt with places in it. ``given``: ids (time,) or embeddings (time, width), such as of an image and a text;
    ``answer``: the token that should come next; ``spans``: by name the positions (time,) bool, however they came about.

    Raises ValueError for a span that is empty or of another length.
    """

    given: Tensor
    answer: int
    spans: Mapping[str, Tensor]
    name: str = ""

    def __post_init__(self) -> None:
        time = len(self.given)
        if time == 0:
            raise ValueError(f"the prompt {self.name!r} is empty")
        for name, marks in self.spans.items():
            if marks.dtype != torch.bool or marks.shape != (time,):
                raise ValueError(
                    f"the span {name!r} must be bool of {time} positions, got {marks.dtype} of {tuple(marks.shape)}"
                )
            if not marks.any():
                raise ValueError(f"the span {name!r} of {self.name!r} is empty")

    def span(self, name: str) -> Tensor:
        if name not in self.spans:
            raise UnknownName(f"the prompt {self.name!r} has no span {name!r}{did_you_mean(name, self.spans)}")
        return self.spans[name]


def ask(
    system: System, text: str, answer: str, spans: Mapping[str, str | Span | tuple[int, int]], name: str = ""
) -> Asked:
    """A text whose places are named by a piece that occurs in it once, or by its characters. "last" and "rest" are
    there without being named.

    Raises ValueError for a piece that does not occur or occurs twice, for spans that share a token, and for an answer
    without one.
    """
    ids, token = next_token(system, text, answer)
    found: dict[str, Tensor] = {}
    for which, piece in spans.items():
        if which in (LAST, REST):
            raise ValueError(f"the span {which!r} is there already; call yours otherwise")
        if isinstance(piece, str):
            piece = find_span(text, piece)
        elif not isinstance(piece, Span):
            piece = Span(text, *piece)
        marks = torch.zeros(len(ids), dtype=torch.bool)
        marks[positions_of(system, ids, piece)] = True
        for other, others in found.items():
            if (marks & others).any():
                raise ValueError(f"the spans {other!r} and {which!r} share a token; choose others, or longer ones")
        found[which] = marks
    last = torch.zeros(len(ids), dtype=torch.bool)
    last[-1] = True
    named = torch.stack([last, *found.values()]).any(0)
    named[: len(getattr(system.tokenizer, "opening", ()))] = True
    rest = {} if named.all() else {REST: ~named}
    return Asked(ids, token, {**found, LAST: last, **rest}, name or text)


@dataclass(frozen=True)
class Window:
    """Layers ``start`` to ``stop`` (excluded) around ``centre``; ``clipped`` where it reaches over an end of the model,
    so that fewer layers are cut."""

    centre: int
    start: int
    stop: int
    clipped: bool = False


def sliding(depth: int, width: int) -> list[Window]:
    """One window around every layer: layers [l - floor(w / 2), l + ceil(w / 2)), as far as there are such."""
    if width < 1:
        raise ValueError(f"a window holds at least one layer, got {width}")
    found = []
    for centre in range(depth):
        start, stop = centre - width // 2, centre + math.ceil(width / 2)
        found.append(Window(centre, max(start, 0), min(stop, depth), start < 0 or stop > depth))
    return found


def tiled(depth: int, width: int) -> list[Window]:
    """Windows side by side; the last one may be clipped."""
    if width < 1:
        raise ValueError(f"a window holds at least one layer, got {width}")
    starts = range(0, depth, width)
    return [Window(s + (min(s + width, depth) - s) // 2, s, min(s + width, depth), s + width > depth) for s in starts]


@dataclass(frozen=True)
class Flow:
    """What cutting targets from a source did. ``plain`` (prompts,) and ``cut`` (prompts, windows) are log-probabilities
    of the answers, in float64."""

    source: str
    target: str
    windows: tuple[Window, ...]
    plain: Tensor
    cut: Tensor

    @property
    def change(self) -> Tensor:
        """(prompts, windows): relative change of the answer's probability in per cent; -100 at least, unbounded above
        where the answer was unlikely."""
        return 100 * torch.expm1(self.difference)

    @property
    def difference(self) -> Tensor:
        """(prompts, windows): difference of log-probabilities."""
        return self.cut - self.plain[:, None]

    def rows(self) -> list[dict[str, Any]]:
        """Per window the means over prompts with their standard errors (None of one prompt)."""
        columns = {"change": self.change, "difference": self.difference, "probability": self.cut.exp()}
        means = {name: values.mean(0).tolist() for name, values in columns.items()}
        count = len(self.plain)
        errors = {name: (values.std(0) / count**0.5).tolist() for name, values in columns.items()} if count > 1 else {}
        return [
            {
                "source": self.source,
                "target": self.target,
                "centre": window.centre,
                "first": window.start,
                "last": window.stop - 1,
                "clipped": window.clipped,
                **{name: values[at] for name, values in means.items()},
                **{f"{name}_error": errors[name][at] if errors else None for name in columns},
            }
            for at, window in enumerate(self.windows)
        ]


@dataclass(frozen=True)
class Sweep:
    """Flows over the prompts that counted. ``names`` of all prompts; ``plain`` (prompts,): log-probability of each
    answer with nothing cut; ``answered`` and ``kept`` (prompts,) bool: right, and so counted."""

    flows: tuple[Flow, ...]
    names: tuple[str, ...]
    plain: Tensor
    answered: Tensor
    kept: Tensor

    def rows(self) -> list[dict[str, Any]]:
        """Those of every flow, one after another."""
        return [row for flow in self.flows for row in flow.rows()]


def pairs_of(flows: Sequence[str | tuple[str, str]]) -> list[tuple[str, str]]:
    """Flows as ("image", "last"), or written "image->last"."""
    found = []
    for flow in flows:
        source, arrow, target = flow.partition("->") if isinstance(flow, str) else (flow[0], "->", flow[1])
        if not (source.strip() and arrow and target.strip()):
            raise ValueError(f"a flow is written source->target, such as indirect->last; got {flow!r}")
        found.append((source.strip(), target.strip()))
    if not found:
        raise ValueError("name at least one flow, such as indirect->last")
    if len(set(found)) < len(found):
        raise ValueError(f"each flow once, please; got {[f'{s}->{t}' for s, t in found]}")
    return found
