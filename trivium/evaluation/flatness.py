"""Flatness: how sharply a model's loss curves in its weights, as the trace of a matrix that is never made.

Source
    Liu et al. 2023, "Same Pre-training Loss, Better Downstream: Implicit Bias Matters for Language Models",
    arXiv:2210.14199, ICML 2023, from its abstract; Hutchinson 1990 for the estimator. Written from the definitions.
Equation
    trace_gn      = mean over positions t of  E_{y ~ p(. | x_{<= t})} |grad ln p(y | x_{<= t})|^2
    trace_hessian = E_v v^T H v,   v of independent signs, H the Hessian of the mean of -ln p(x_{t+1} | x_{<= t})
    relative_gn   = sum over tensors k of |w_k|^2 times the part of trace_gn that is tensor k's
Shapes
    System and one document -> an Observation with one number per measure, and their standard errors over the draws
Cost
    Per document one forward pass; per draw one backward pass for trace_gn, and one through a backward pass for
    trace_hessian. Attention is computed unfused, since fused kernels allow no second derivative.
Caveats
    Where a model has learned the true distribution the two traces agree in the mean over texts; y is drawn from the
    model, never from the text, which would be the empirical Fisher matrix. A position counts by itself: the square of
    a sum over all positions is used, whose mean is the sum of their squares. Weights before a norm can be scaled
    without a change of the function, and the trace changes: compare models of one architecture only, or relative_gn,
    which no scale of whole tensors changes where that leaves the function as it is. Models are compared at equal loss,
    else loss explains everything. Dropout is off. Estimates of a document are noisy; means over documents are not
    biased. Shown by the authors on simplified datasets whose true distribution is known, and in a synthetic language.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.protocols import LanguageModel
from trivium.core.seeds import generator
from trivium.data.corpus import Corpus
from trivium.data.named import named
from trivium.models.system import System
from trivium.nn.curvature import hutchinson, score_squares
from trivium.nn.modes import evaluating

Tensors = Literal["all", "matrices"]


@dataclass(frozen=True)
class Traces:
    """Estimates of one text, (draws,) each: their means are the measures."""

    gn: Tensor
    hessian: Tensor
    relative: Tensor

    def means(self) -> dict[str, float]:
        """Measure -> mean over the draws."""
        return {name: float(samples.mean()) for name, samples in self._named().items()}

    def errors(self) -> dict[str, float]:
        """Measure -> standard error of that mean."""
        return {name: float(samples.std() / len(samples) ** 0.5) for name, samples in self._named().items()}

    def _named(self) -> Mapping[str, Tensor]:
        return {"trace_gn": self.gn, "trace_hessian": self.hessian, "relative_gn": self.relative}


@method(title="Flatness", source="arXiv:2210.14199", year=2023, needs=["causal", "gradient"])
@dataclass(frozen=True)
class Flatness:
    """The curvature of a model's loss on held-out documents."""

    corpus: Corpus | str = "stories"
    """A corpus, its name, or the path of text to read."""
    documents: int | None = 24
    """How many of a split to take; None takes them all."""
    length: int = 128
    """Tokens of a document that are read at most, fewer where the model takes fewer."""
    draws: int = 8
    """Random vectors, and answers, per document."""
    tensors: Tensors = "all"
    """Which weights count: all that there are, or the matrices that weight decay is for, so no embeddings."""
    per_parameter: bool = False
    """Whether the two traces are divided by the number of weights that count."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("trace_gn", "Gauss-Newton trace", None),
        Measure("trace_hessian", "Hessian trace", None),
        Measure("relative_gn", "Gauss-Newton trace times squared weights", None),
    )

    def __post_init__(self) -> None:
        for name, least in (("documents", 1), ("length", 2), ("draws", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if self.tensors not in get_args(Tensors):
            raise ValueError(f"tensors must be 'all' or 'matrices', got {self.tensors!r}")

    @cached_property
    def text(self) -> Corpus:
        """The corpus itself."""
        return named(self.corpus) if isinstance(self.corpus, str) else self.corpus

    def examples(self, split: str) -> list[Example]:
        """The first documents of the split."""
        chosen = self.text[split][: self.documents]
        return [Example(f"{split}-{number:05d}", document) for number, document in enumerate(chosen)]

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts; an output of the open arrow is of no matter."""
        most = system.model.max_positions
        ids = system.prompt(example.text) if example.text else torch.zeros(1, 0)
        ids = ids[:, : self.length if most is None else min(self.length, most)]
        if ids.shape[1] < 2:
            return Observation({}, {"skipped": "fewer than two tokens"})
        found = self.measure(system.model, ids, generator=generator(0, "flatness", example.id))
        errors = {f"{name}_error": error for name, error in found.errors().items()}
        return Observation(found.means(), {"level": "mean over positions", **errors})

    def measure(self, model: LanguageModel, ids: Tensor, *, generator: torch.Generator) -> Traces:
        """Traces over rows (batch, time) of which no position is padding."""
        chosen = self._chosen(model)
        with evaluating(model), torch.inference_mode(False), torch.enable_grad(), _trained(model, chosen):
            ids = ids.clone()  # one that was made in inference mode could not be kept for a backward pass
            with sdpa_kernel(SDPBackend.MATH):
                logits = model(ids).logits[:, :-1].flatten(0, 1)
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            own = score_squares(logits, chosen, self.draws, generator=generator) / len(logits)
            loss = F.cross_entropy(logits, ids[:, 1:].flatten())
            curved = hutchinson(loss, chosen, self.draws, generator=generator)
        squares = torch.stack([tensor.detach().square().sum() for tensor in chosen]).to(own.dtype)
        count = sum(tensor.numel() for tensor in chosen) if self.per_parameter else 1
        return Traces(own.sum(1) / count, curved.sum(1) / count, own @ squares)

    def _chosen(self, model: LanguageModel) -> list[nn.Parameter]:
        """The weights that count, each once."""
        tables = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding)}
        found = [p for p in model.parameters() if p.is_floating_point()]
        if self.tensors == "matrices":
            spared = lambda p: id(p) in tables or getattr(p, "_no_weight_decay", False)  # noqa: E731
            found = [p for p in found if p.ndim > 1 and not spared(p)]
        if not found:
            raise ValueError(f"{type(model).__name__} has no weights that count as {self.tensors!r}; use 'all'")
        return found


@contextmanager
def _trained(model: LanguageModel, chosen: Sequence[nn.Parameter]) -> Iterator[None]:
    """Within the block these weights, frozen or not, take gradients, and no others do."""
    before = {parameter: parameter.requires_grad for parameter in model.parameters()}
    wanted = {id(parameter) for parameter in chosen}
    try:
        for parameter in before:
            parameter.requires_grad_(id(parameter) in wanted)
        yield
    finally:
        for parameter, was in before.items():
            parameter.requires_grad_(was)
