"""Greedy decoding by transformers itself, as contenders: what a reader has without this library.

They run ``generate`` of the very model object that our own decoders run, so that ratios tell of the loops and nothing
else. Their traces are noted by hooks on that model: passes, positions, the bytes of its cache, and the end of the first
pass. They report no log-probabilities.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import StoppingCriteria

from trivium.core import meter
from trivium.core.errors import NotOffered
from trivium.core.nouns import Generation, Stop, Trace
from trivium.core.protocols import LanguageModel
from trivium.models.huggingface import HuggingFaceModel
from trivium.models.sources import load


class Peer(ABC):
    """A way in which transformers decodes greedily."""

    alone = False
    """Whether it takes a single row only."""

    @abstractmethod
    def options(self, model: HuggingFaceModel) -> dict[str, Any]:
        """What ``generate`` is told."""

    def parts(self) -> list[nn.Module]:
        """Models beside the target."""
        return []

    def lacks(self, model: LanguageModel) -> tuple[str, ...]:
        """What it needs and this model is not."""
        return () if isinstance(model, HuggingFaceModel) else ("a Hugging Face model",)

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
        if not isinstance(model, HuggingFaceModel):
            raise NotOffered(f"transformers decodes its own models only, and this is a {type(model).__name__}")
        if stop.texts:
            raise NotOffered("the peers end at tokens, not at texts; leave stop.texts empty")
        if self.alone and len(prompt) > 1:
            raise NotOffered(f"transformers' assistants take one row at a time, this batch has {len(prompt)}")
        real = torch.ones_like(prompt) if mask is None else mask.long()
        clock = _Clock(prompt.shape[1], len(prompt))
        # Where nothing is given, generate takes the end tokens of the model, and ``min_new_tokens`` would change the
        # text: so the text ends at a token that there is not.
        ends = sorted(stop.tokens) or [model.vocab_size]
        inner: Any = model.inner
        with torch.inference_mode(), clock.watching(model.inner, self.parts()):
            out = inner.generate(
                prompt,
                attention_mask=real,
                do_sample=False,
                max_new_tokens=limit,
                pad_token_id=0,
                stopping_criteria=[clock],
                eos_token_id=ends,
                **self.options(model),
            )
        ids = out[:, prompt.shape[1] :]
        lengths = torch.tensor([_length(row.tolist(), stop) for row in ids])
        meter.spend(new_tokens=int(lengths.sum()))
        after = torch.arange(ids.shape[1]) >= lengths[:, None]
        ids = ids.masked_fill(after.to(ids.device), 0)
        return Generation(ids, torch.zeros(ids.shape, device=ids.device), lengths, clock.trace())


@dataclass(frozen=True)
class TransformersGreedy(Peer):
    """``generate`` as it is."""

    def options(self, model: HuggingFaceModel) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class TransformersPromptLookup(Peer):
    """``generate(prompt_lookup_num_tokens=...)``."""

    length: int = 10
    alone = True

    def options(self, model: HuggingFaceModel) -> dict[str, Any]:
        return {"prompt_lookup_num_tokens": self.length}


@dataclass(frozen=True)
class TransformersAssisted(Peer):
    """``generate(assistant_model=...)``, the rule for its length as transformers has it."""

    draft: str
    """Folder or name of the draft model."""
    dtype: str = "float32"
    device: str = "cpu"
    alone = True

    def _assistant(self) -> Any:
        model = _loaded(self.draft, self.dtype, self.device)
        if not isinstance(model, HuggingFaceModel):
            raise NotOffered(f"{self.draft} is no Hugging Face model, so transformers cannot be assisted by it")
        return model.inner

    def options(self, model: HuggingFaceModel) -> dict[str, Any]:
        return {"assistant_model": self._assistant()}

    def parts(self) -> list[nn.Module]:
        return [self._assistant()]


@lru_cache(maxsize=2)
def _loaded(name: str, dtype: str, device: str) -> LanguageModel:
    return load(name, dtype=dtype, device=device).model


def _length(ids: list[int], stop: Stop) -> int:
    """Tokens up to the first that ends the row, that one included."""
    ends = set(stop.tokens)
    return next((at for at, token in enumerate(ids, 1) if token in ends), len(ids))


class _Clock(StoppingCriteria):
    """Is called after each pass with all tokens so far, and ends nothing."""

    def __init__(self, prompt: int, rows: int) -> None:
        self.prompt, self.rows, self.length = prompt, rows, prompt
        self.started = time.perf_counter()
        self.prefill: float | None = None
        self.entries: list[dict[str, int]] = []
        self.passes: list[dict[str, int]] = []
        self.drafts: list[int] = []

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        if self.prefill is None:
            if input_ids.is_cuda:
                torch.cuda.synchronize()
            self.prefill = time.perf_counter() - self.started
        if input_ids.shape[1] > self.length:
            self.entries.append({"committed": (input_ids.shape[1] - self.length) * self.rows})
            self.length = input_ids.shape[1]
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    @contextmanager
    def watching(self, target: nn.Module, others: list[nn.Module]) -> Iterator[None]:
        hooks = [target.register_forward_hook(self._passed, with_kwargs=True)]
        hooks += [part.register_forward_hook(self._drafted, with_kwargs=True) for part in others]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _passed(self, module: nn.Module, args: Any, kwargs: dict[str, Any], out: Any) -> None:
        fed = args[0] if args else kwargs["input_ids"]
        held = getattr(out.past_key_values, "layers", None) or ()
        tensors = [getattr(layer, name, None) for layer in held for name in ("keys", "values")]
        size = sum(x.numel() * x.element_size() for x in tensors if isinstance(x, Tensor))
        self.passes.append({"target_positions": fed.numel(), "width": fed.shape[1], "cache_bytes": size})
        meter.spend(calls=1, evaluations=len(fed), positions=fed.numel())

    def _drafted(self, module: nn.Module, args: Any, kwargs: dict[str, Any], out: Any) -> None:
        fed = args[0] if args else kwargs["input_ids"]
        self.drafts.append(fed.numel())
        meter.spend(calls=1, evaluations=len(fed), positions=fed.numel())

    def trace(self) -> Trace:
        """An entry per pass of the target; what all drafts took stands in the first."""
        trace = Trace(seconds={"prefill": self.prefill or 0.0})
        for at, (entry, fed) in enumerate(zip(self.entries, self.passes, strict=False)):
            first = {"first": entry["committed"], "draft_passes": len(self.drafts), "draft_positions": sum(self.drafts)}
            trace.note(None, rows=self.rows, **entry, **fed, **({} if at else first))
        return trace
