"""What every explainer shares: the explained prediction as a scalar, and the checks that come before any work."""

from typing import Literal

import torch
from torch import Tensor

from trivium.core import meter
from trivium.core.capabilities import lacking, require_offers
from trivium.core.errors import NotFinite, NotOffered
from trivium.core.method import card_of
from trivium.core.nouns import Attribution, Target
from trivium.core.protocols import LanguageModel

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
        for what, tokens in (("input", ids.tolist()), ("target", [target.token]), ("foil", [target.foil])):
            for token in tokens:
                if token is not None and not 0 <= token < model.vocab_size:
                    raise ValueError(
                        f"{what} token {token} is outside the vocabulary of {model.vocab_size} "
                        f"(0 to {model.vocab_size - 1})"
                    )
        if frozen is not None and (frozen.dtype != torch.bool or frozen.shape != ids.shape):
            raise ValueError(
                f"frozen must be bool of shape {tuple(ids.shape)}, got {frozen.dtype} {tuple(frozen.shape)}"
            )
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

    def values(self, *, ids: Tensor | None = None, embeds: Tensor | None = None) -> Tensor:
        """(rows, time) or (rows, time, width) -> (rows,); the scalar of each row, in at least single precision."""
        logits = self.model(ids, embeds=embeds, logits_to_keep=1).logits[:, -1]
        values = self.target(logits)
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
                key = ("attribution", self.model.serial, *embeds.shape)
                (found,) = meter.gradient(values.sum(), [inputs], key, rows=len(embeds))
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

    def attribution(self, scores: Tensor, **facts: float) -> Attribution:
        """The result, on the device of the ids as they were given."""
        return Attribution(scores.detach().to(self.given.device), self.given, self.target, self.name, facts)


def single(x: Tensor) -> Tensor:
    """In single precision at least."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def check_neutral(field: str, kind: Neutral) -> None:
    """Raise ValueError for a word that names no neutral input."""
    if isinstance(kind, bool) or not (kind in ("mean", "zero") or (isinstance(kind, int) and kind >= 0)):
        raise ValueError(f"{field} must be 'mean', 'zero' or a token id, got {kind!r}")
