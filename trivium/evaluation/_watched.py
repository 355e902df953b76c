"""What models do while a decoder runs, seen from outside: passes, positions, bytes of their states."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook

from trivium.core import meter, streaming
from trivium.core.nouns import Trace
from trivium.core.protocols import LanguageModel, LMOutput


@dataclass(frozen=True)
class Seen:
    """What the models did during one run, seen from outside."""

    passes: int = 0
    """Of the target."""
    positions: int = 0
    draft_passes: int = 0
    draft_positions: int = 0
    cache_bytes: int = 0
    """The largest sum of the states that models last gave."""
    widths: Sequence[int] = ()
    """Positions a row in each pass of the target after the first token."""


@contextmanager
def watched(target: LanguageModel) -> Iterator["Watch"]:
    """Within the block, every pass of a language model is noted, and when the first token came. Too slow to time."""
    watch = Watch(target)
    hook = register_module_forward_hook(watch.note, with_kwargs=True)
    try:
        with meter.aside(), streaming.listening(watch.tell):
            yield watch
    finally:
        hook.remove()


@dataclass
class Watch:
    """Passes of the target and of other models."""

    target: LanguageModel
    fed: list[tuple[int, int]] = field(default_factory=list)
    drafts: list[int] = field(default_factory=list)
    others: dict[int, LanguageModel] = field(default_factory=dict)
    first: int | None = None
    held: dict[int, int] = field(default_factory=dict)
    peak: int = 0

    def tell(self, row: int, tokens: Sequence[int]) -> None:
        if self.first is None:
            self.first = len(self.fed)

    def note(self, module: object, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: object) -> None:
        if not isinstance(module, LanguageModel) or not isinstance(out, LMOutput):
            return
        given = args[0] if args else kwargs.get("ids")
        given = kwargs["embeds"] if given is None else given
        rows, width = given.shape[:2]
        if module is self.target:
            self.fed.append((rows, width))
        else:
            self.others[id(module)] = module
            self.drafts.append(rows * width)
        if out.state is not None:
            self.held[id(module)] = out.state.bytes()
            self.peak = max(self.peak, sum(self.held.values()))

    def __call__(self, trace: Trace) -> Seen:
        """What was seen; where none of our passes was, what the trace says of its own."""
        if not self.fed:
            return Seen(
                len(trace.iterations),
                trace.total("target_positions"),
                trace.total("draft_passes"),
                trace.total("draft_positions"),
                max((entry.get("cache_bytes", 0) for entry in trace.iterations), default=0),
                [entry["width"] for entry in trace.iterations[1:] if "width" in entry],
            )
        later = self.fed[1 if self.first is None else self.first :]
        positions = sum(rows * width for rows, width in self.fed)
        return Seen(
            len(self.fed), positions, len(self.drafts), sum(self.drafts), self.peak, [width for _, width in later]
        )


def parameters_beside(decoder: object, target: LanguageModel, watch: Watch) -> int:
    """Parameters of what works beside the target: other models that ran, trained parts of a drafter, and whatever the
    decoder says itself (``parts``)."""
    modules: dict[int, torch.nn.Module] = dict(watch.others)
    opened = getattr(getattr(decoder, "drafter", None), "opened", None)
    if opened is not None:
        modules = {0: opened(target)}
    parts: Callable[[], list[torch.nn.Module]] = getattr(decoder, "parts", list)
    modules |= {id(part): part for part in parts()}
    own = {id(weight) for weight in target.parameters()}
    beside = {id(w): w.numel() for module in modules.values() for w in module.parameters() if id(w) not in own}
    return sum(beside.values())
