"""What every explainer shares: the explained prediction as a scalar, and the checks that come before any work."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from trivium.core import meter
from trivium.core.attributions import Scaling, scaled
from trivium.core.capabilities import lacking, require_offers
from trivium.core.errors import NotFinite, NotOffered
from trivium.core.method import card_of, settings
from trivium.core.nouns import Attribution, Axes, Target
from trivium.core.protocols import LanguageModel, LMOutput, State

Neutral = Literal["mean", "zero"] | int
"""What stands for 'nothing here': the mean embedding of the vocabulary, the zero vector, or the id of a token."""


class Prediction:
    """``target`` of ``model`` after ``ids`` as a function of the (time, width) input embeddings.

    Raises before any pass is spent: NotOffered where the model lacks what ``explainer`` needs, ValueError for an input
    or a target that makes no sense. ``frozen`` (time,) bool marks positions that are part of the question, not of the
    answer (a beginning-of-text token, a chat template): they are never replaced and score 0.
    """

    def __init__(
        self, explainer: object, model: LanguageModel, ids: Tensor, target: Target, frozen: Tensor | None = None
    ) -> None:
        self.explainer = explainer
        self.name = card_of(explainer).name
        needs = card_of(explainer).needs
        if "gradient" in lacking(model, needs):
            raise NotOffered(
                f"{self.name} needs 'gradient', which this model lacks; try 'occlusion', which only calls the model"
            )
        require_offers(self.name, model, needs)
        if ids.ndim != 1 or ids.numel() == 0 or ids.is_floating_point():
            raise ValueError(
                f"ids must be one row (time,) of at least one token id, got {ids.dtype} {tuple(ids.shape)}"
            )
        for token in ids.tolist():
            if not 0 <= token < model.vocab_size:
                raise ValueError(
                    f"input token {token} is outside the vocabulary of {model.vocab_size} (0 to {model.vocab_size - 1})"
                )
        target.check(model.vocab_size)
        longest = len(ids) + max(len(target.tokens), len(target.foils)) - 1
        if model.max_positions is not None and longest > model.max_positions:
            raise ValueError(
                f"a prompt of {len(ids)} tokens with its answer is more than the {model.max_positions} positions of "
                "this model; shorten one of them"
            )
        if frozen is not None and (frozen.dtype != torch.bool or frozen.shape != ids.shape):
            raise ValueError(
                f"frozen must be bool of shape {tuple(ids.shape)}, got {frozen.dtype} {tuple(frozen.shape)}"
            )
        self.started, self.forwards, self.backwards = time.perf_counter(), 0, 0
        self.model = model
        self.given = ids
        self.target = target
        self.ids = ids.to(model.device)
        self.free = torch.ones_like(self.ids, dtype=torch.bool) if frozen is None else ~frozen.to(model.device)

    def embeds(self) -> Tensor:
        """(time, width): the input embeddings as the model takes them, so that any scaling is applied just once."""
        with torch.no_grad():
            return self.model.embed(self.ids[None])[0].detach()

    def neutral(self, kind: Neutral) -> Tensor:
        """(width,): the embedding that stands for 'nothing here'."""
        if "embeds" not in self.model.offers:
            raise NotOffered(
                f"{self.name} with {kind!r} needs 'embeds', which this model lacks; give a token id instead"
            )
        with torch.no_grad():
            if isinstance(kind, int):
                return self.model.embed(self.ids.new_tensor([[self.token(kind)]]))[0, 0]
            if kind == "zero":
                return torch.zeros_like(self.model.embed(self.ids[None, :1])[0, 0])
            vocabulary = torch.arange(self.model.vocab_size, device=self.ids.device)
            chunks = [self.model.embed(chunk[:, None])[:, 0] for chunk in vocabulary.split(8192)]
            total = torch.stack([chunk.double().sum(0) for chunk in chunks]).sum(0)
            return (total / self.model.vocab_size).to(chunks[0].dtype)

    def token(self, id: int) -> int:
        """A replacement or baseline token; raises ValueError where the model has no such token."""
        if not 0 <= id < self.model.vocab_size:
            raise ValueError(f"the neutral token {id} is outside the vocabulary of {self.model.vocab_size}")
        return id

    def logits(
        self,
        answer: tuple[int, ...] | None = None,
        *,
        ids: Tensor | None = None,
        embeds: Tensor | None = None,
        state: State | None = None,
    ) -> Tensor:
        """(rows, time) or (rows, time, width) -> (rows, tokens, vocab): what is said at each token of the answer, those
        before it being in place. By default of the target's. ``state``: of the tokens before these."""
        return self._pass(answer, ids=ids, embeds=embeds, state=state).logits

    def _pass(
        self,
        answer: tuple[int, ...] | None = None,
        *,
        ids: Tensor | None = None,
        embeds: Tensor | None = None,
        state: State | None = None,
        keep_state: bool = False,
    ) -> LMOutput:
        answer = self.target.tokens if answer is None else answer
        if len(answer) > 1:
            so_far = torch.tensor(answer[:-1], device=self.ids.device)
            if ids is not None:
                ids = torch.cat([ids, so_far.expand(len(ids), -1)], 1)
            elif embeds is not None:
                with torch.no_grad():
                    more = self.model.embed(so_far[None]).detach().to(embeds.dtype)
                embeds = torch.cat([embeds, more.expand(len(embeds), -1, -1)], 1)
        out = self.model(ids, embeds=embeds, state=state, keep_state=keep_state, logits_to_keep=len(answer))
        self.forwards += len(out.logits)
        return replace(out, logits=out.logits[:, -len(answer) :])

    def values(self, *, ids: Tensor | None = None, embeds: Tensor | None = None, state: State | None = None) -> Tensor:
        """(rows, time) or (rows, time, width) -> (rows,); the scalar of each row, in at least single precision."""
        logits = self.logits(ids=ids, embeds=embeds, state=state)
        return self.valued(logits, ids=ids, embeds=embeds, state=state)

    def begun(self, *, ids: Tensor | None = None, embeds: Tensor | None = None) -> tuple[Tensor, State]:
        """The same of one row, and the state behind it, from which rows that begin alike can go on."""
        out = self._pass(ids=ids, embeds=embeds, keep_state=True)
        if out.state is None:
            raise NotOffered(f"{type(self.model).__name__} offers 'state' and gave none")
        return self.valued(out.logits, ids=ids, embeds=embeds), out.state

    def valued(
        self,
        logits: Tensor,
        *,
        ids: Tensor | None = None,
        embeds: Tensor | None = None,
        state: State | None = None,
    ) -> Tensor:
        """The scalar of each row (rows,) whose logits at the answer are known; a foil of several tokens is read here.
        Raises NotFinite."""
        foil = None if self.target.alone or not self.target.foils else self.target.foils
        values = self.target(logits, None if foil is None else self.logits(foil, ids=ids, embeds=embeds, state=state))
        if not values.isfinite().all():
            raise NotFinite(
                f"the model's {self.target.objective} of token {self.target.token} is "
                f"{values[~values.isfinite()][0].item()} for {int((~values.isfinite()).sum())} of {len(values)} inputs "
                f"of {self.name}; check the model's weights and dtype"
            )
        return values

    def gradients(self, embeds: Tensor) -> tuple[Tensor, Tensor]:
        """(rows, time, width) -> values (rows,) and their gradients (rows, time, width), in at least single precision.

        Rows are independent, so one backward pass of their sum gives each its own gradient.
        """
        with torch.inference_mode(False), torch.enable_grad():
            inputs = embeds.clone().requires_grad_()  # a clone: a tensor of inference mode takes no gradient
            values = self.values(embeds=inputs)
            found = None
            if values.requires_grad:
                key = ("attribution", self.model.serial, self.target, *embeds.shape)
                (found,) = meter.gradient(values.sum(), [inputs], key, rows=len(embeds))
                self.backwards += len(embeds)
        if found is None:
            raise NotOffered(
                f"no gradient reaches the embeddings: the prediction of this model does not depend on them, so "
                f"{self.name} has nothing to say; try 'occlusion' with a token id"
            )
        if not found.isfinite().all():
            raise NotFinite(
                f"the gradient of the model's {self.target.objective} of token {self.target.token} is not finite; a "
                "norm of an all-zero embedding does that: choose another baseline or rule, or try 'occlusion'"
            )
        return values.detach(), single(found)

    def attribution(self, scores: Tensor, arrays: Mapping[str, Axes] | None = None, /, **facts: float) -> Attribution:
        """The result, on the device of the ids as they were given. An explainer with a field ``normalize`` has its
        scores brought to that scale."""
        scores = scores.detach().to(self.given.device)
        how = getattr(self.explainer, "normalize", None)
        return Attribution(
            scores if how is None else scaled(scores, how, ~self.free),
            self.given,
            self.target,
            self.name,
            facts,
            settings=settings(self.explainer),
            arrays={name: Axes(axes.names, axes.values.detach().cpu()) for name, axes in (arrays or {}).items()},
            spent={
                "seconds": time.perf_counter() - self.started,
                "forwards": float(self.forwards),
                "backwards": float(self.backwards),
            },
            frozen=tuple((~self.free).nonzero()[:, 0].tolist()),
        )


def single(x: Tensor) -> Tensor:
    """In single precision at least."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def check_normalize(how: Scaling | None) -> None:
    """Raise ValueError for a word that names no scale."""
    if how not in (None, "abs_sum", "max", "softmax"):
        raise ValueError(f"normalize must be None, 'abs_sum', 'max' or 'softmax', got {how!r}")


def check_neutral(field: str, kind: Neutral) -> None:
    """Raise ValueError for a word that names no neutral input."""
    if isinstance(kind, bool) or not (kind in ("mean", "zero") or (isinstance(kind, int) and kind >= 0)):
        raise ValueError(f"{field} must be 'mean', 'zero' or a token id, got {kind!r}")
