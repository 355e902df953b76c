"""Discrete codes of attention heads: heads that say something with a task's prompts which they never say without it.

Source
    O'Neill and Bui 2024, "Sparse Autoencoders Enable Scalable and Reliable Circuit Identification in Language Models",
    arXiv:2405.12522; the numbers, the loss and the scores from the authors' code.
Equation
    c = ReLU(W_e (x - b) + b_e),  x' = W_d c + b,  rows of W_e and W_d of length 1
    loss = mean (x - x')^2 + sparsity mean over prompts and heads of |c|_1;   code k = argmax_m c_m, -1 where all are 0
    score of a head = codes it has on positives and never on negatives (/ all codes it has);  softmax over heads
    edge of two heads: the same with pairs of codes
Shapes
    activations (prompts, heads, width), labels (prompts,), 1 for positives -> codes (prompts, heads) -> scores (heads,)
Cost
    ``steps`` passes of the autoencoder over ``examples`` prompts, heads x width x features each; no pass of a model
    beyond the one that gives the activations (models/heads.py). Edges: prompts x heads^2.
Caveats
    One autoencoder serves all heads and never sees the labels; they decide only which codes count. Rows of W_d are its
    outputs, not its features: that is what the authors' code normalises. It was made for streams of about unit size;
    ``scale`` divides the activations by their root mean square, without which heads whose outputs are large are all
    that is learnt. The published code gives a head that is silent code 0, a real one; here it is -1 unless ``silent``
    says otherwise. Counts grow with the number of prompts and hang on ties; ``normalised`` ones stand beside them.
    Which prompts train is decided by what they hold, not by their order. A label, which the paper does not predict, is
    that of the nearest mean of the features. The published edge score ends as votes for heads, without a direction:
    ``edge_votes``; ``edges`` is one of pairs.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from trivium.core import meter
from trivium.core.method import method
from trivium.core.nouns import Measure
from trivium.nn.codes import unique_codes, unique_pairs, votes
from trivium.probing._readout import Fitted, checked, summed

Silent = Literal["own", "zero"]


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """``encoder`` (features, width), ``decoder`` (width, features), rows of both of length 1; ``bias`` (width,) before
    and behind them, ``threshold`` (features,) added before the ReLU. Activations are divided by ``scale`` first."""

    encoder: Tensor
    decoder: Tensor
    bias: Tensor
    threshold: Tensor
    scale: float

    def encode(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., features)"""
        return ((x.to(self.bias.dtype) / self.scale - self.bias) @ self.encoder.T + self.threshold).relu()

    def decode(self, c: Tensor) -> Tensor:
        """(..., features) -> (..., width)"""
        return self.scale * (c @ self.decoder.T + self.bias)


@dataclass(frozen=True, eq=False)
class Codes(Fitted):
    """What was fitted: the autoencoder, and the codes (prompts, heads) of the prompts it was fitted to, of which
    ``trained`` were seen by the autoencoder. ``losses``: before each step. ``classes``: the labels there are, and
    ``means`` (classes, heads, features) of each."""

    autoencoder: Autoencoder
    codes: Tensor
    labels: Tensor
    classes: Tensor
    means: Tensor
    silent: Silent
    losses: tuple[float, ...]
    trained: tuple[int, ...]

    measure: ClassVar[Measure] = Measure("accuracy", "Accuracy", True)

    @property
    def size(self) -> int:
        return len(self.autoencoder.threshold)

    def encode(self, activations: Tensor) -> Tensor:
        """(prompts, heads, width) -> codes (prompts, heads) int64; -1 where nothing fires, unless 0 stands for it."""
        return _codes(self.autoencoder.encode(_heads(activations)), self.silent)

    def nodes(self, *, normalised: bool = False, held_out: bool = False) -> Tensor:
        """(heads,) float64: codes unique to the positives, over all codes of the head where ``normalised``.
        ``held_out``: without the prompts that trained the autoencoder."""
        codes, positive = self._counted(held_out)
        unique, every = unique_codes(codes, positive, self.size)
        return unique / every if normalised else unique

    def shares(self, *, normalised: bool = False, held_out: bool = False) -> Tensor:
        """(heads,): softmax of ``nodes``; heads above a threshold are the circuit."""
        return self.nodes(normalised=normalised, held_out=held_out).softmax(0)

    def edges(
        self,
        layers: Tensor | None = None,
        *,
        normalised: bool = False,
        beyond_nodes: bool = True,
        held_out: bool = False,
    ) -> Tensor:
        """(heads, heads) float64: pairs of codes unique to the positives, from the head of the row to that of the
        column. ``layers`` (heads,): an edge goes up, others are 0; without them the table is symmetric.
        ``beyond_nodes``: pairs of codes of which neither is unique by itself."""
        codes, positive = self._counted(held_out)
        unique, every = unique_pairs(codes, positive, self.size, beyond_nodes=beyond_nodes)
        found = unique / every.clamp(min=1) if normalised else unique
        if layers is None:
            return found
        if layers.shape != (codes.shape[1],):
            raise ValueError(f"layers must be ({codes.shape[1]},), the layer of each head; got {tuple(layers.shape)}")
        return found * (layers[:, None] < layers[None])

    def edge_votes(self, top: int | None = None, *, normalised: bool = False, held_out: bool = False) -> Tensor:
        """(heads,) float64: the published edge score, how often a head is among the ``top`` entries of the pairs in
        order; None for half as many entries as there are pairs."""
        codes, positive = self._counted(held_out)
        pairs = unique_pairs(codes, positive, self.size)[0]
        if normalised:
            here, there = (unique_pairs(codes[mine], torch.ones_like(mine[mine]), self.size)[1]
                           for mine in (positive, ~positive))  # fmt: skip
            pairs = pairs / (here + there).clamp(min=1)
        return votes(pairs, codes.shape[1] ** 2 // 2 if top is None else top)

    def predict(self, activations: Tensor, groups: Tensor | None = None) -> Tensor:
        """(prompts,) classes: the one whose mean features, over all heads, are nearest."""
        c = self.autoencoder.encode(_heads(activations)).flatten(1)
        return self.classes[torch.cdist(c, self.means.to(c).flatten(1)).argmin(1)]

    def tally(self, activations: Tensor, labels: Tensor, groups: Tensor | None = None) -> Tensor:
        numbers = checked(activations, labels, groups)
        right = (self.predict(activations) == labels.to(activations.device)).double()
        return summed(torch.stack((right, torch.ones_like(right)), 1), numbers)

    def _counted(self, held_out: bool) -> tuple[Tensor, Tensor]:
        """Codes, and which are of positives: of the largest label."""
        kept = torch.ones(len(self.codes), dtype=torch.bool, device=self.codes.device)
        if held_out:
            kept[list(self.trained)] = False
        positive = self.labels[kept] == self.classes[-1]
        if positive.all() or not positive.any():
            raise ValueError(
                f"of {int(kept.sum())} prompts {int(positive.sum())} are positive, so no code can be unique to them; "
                "give more prompts, or count those that trained as well"
            )
        return self.codes[kept], positive


@method(title="Discrete codes of heads", source="arXiv:2405.12522", year=2024)
@dataclass(frozen=True)
class DiscreteCodes:
    """An autoencoder of what heads add, and which of its codes belong to a task."""

    features: int = 200
    sparsity: float = 0.02
    """What the sum of a code's entries costs; the authors take 0.05 for docstrings."""
    examples: int = 10
    """Prompts that train the autoencoder, positives and negatives alike."""
    steps: int = 500
    rate: float = 1e-3
    scale: bool = False
    """Whether activations are divided by their root mean square over the prompts that train."""
    silent: Silent = "own"
    """Heads of which nothing fires have a code of their own, -1, or share code 0 as in the authors' code."""

    reads: ClassVar[tuple[str, ...]] = ("classes",)

    def __post_init__(self) -> None:
        for name, least in (("features", 2), ("examples", 1), ("steps", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0.0 <= self.sparsity < math.inf:
            raise ValueError(f"sparsity must be at least 0 and finite, got {self.sparsity}")
        if not 0.0 < self.rate < math.inf:
            raise ValueError(f"rate must be positive and finite, got {self.rate}")
        if self.silent not in get_args(Silent):
            raise ValueError(f"silent must be one of {', '.join(get_args(Silent))}; got {self.silent!r}")

    def fit(
        self, activations: Tensor, labels: Tensor, *, generator: torch.Generator, groups: Tensor | None = None
    ) -> Codes:
        """Train the autoencoder on some prompts and read the codes of all. The largest label is that of the positives.

        Raises ValueError for labels that are no two classes, and for fewer than 2 prompts of one.
        """
        checked(activations, labels, groups)
        if activations.ndim not in (2, 3):
            raise ValueError(f"activations must be (prompts, heads, width), got {tuple(activations.shape)}")
        if labels.is_floating_point() or labels.ndim != 1:
            raise ValueError(f"labels must be (prompts,) whole numbers, 1 for positives; got {labels.dtype}")
        classes, counts = labels.unique(return_counts=True)
        if len(classes) != 2 or int(counts.min()) < 2:
            raise ValueError(
                f"give at least 2 prompts of each of two classes; there are {counts.tolist()} of {classes.tolist()}"
            )
        x = _heads(activations).to(torch.promote_types(activations.dtype, torch.float32))
        chosen = self._chosen(x, generator)
        found, losses = self._train(x[chosen], generator)
        c = found.encode(x)
        labels, classes = labels.to(x.device), classes.to(x.device)
        means = torch.stack([c[labels == label].mean(0) for label in classes])
        codes = _codes(c, self.silent)
        return Codes(found, codes, labels, classes, means, self.silent, losses, tuple(chosen.tolist()))

    def _chosen(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """(examples,) prompts, drawn in an order that what they hold decides, so that theirs and that of the heads does
        not matter."""
        key = torch.randn(x.shape[-1], generator=generator, dtype=torch.float64).to(x.device)
        along = x.double() @ key  # (prompts, heads)
        order = (along * along.abs()).sum(1).argsort()
        return order[torch.randperm(len(x), generator=generator)[: self.examples].to(x.device)]

    def _train(self, x: Tensor, generator: torch.Generator) -> tuple[Autoencoder, tuple[float, ...]]:
        """On (examples, heads, width), all at once in every step."""
        width = x.shape[-1]
        size = float(x.square().mean().sqrt()) if self.scale else 1.0
        size = size if size > 0 else 1.0
        x = x / size

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(x)

        encoder, decoder = draw(self.features, width), draw(width, self.features)
        start = torch.rand(self.features, generator=generator, dtype=torch.float64).to(x)
        threshold, bias = (2 * start - 1) / math.sqrt(width), x.new_zeros(width)
        held = [encoder, decoder, threshold, bias]
        losses = []
        with torch.inference_mode(False), torch.enable_grad():
            x = x.clone()
            held = [tensor.clone().requires_grad_() for tensor in held]
            encoder, decoder, threshold, bias = held
            optimizer = torch.optim.Adam(held, lr=self.rate)
            for _ in range(self.steps):
                _unit(encoder, decoder)
                code = ((x - bias) @ encoder.T + threshold).relu()
                made = code @ decoder.T + bias
                loss = (made - x).square().mean() + self.sparsity * code.sum(-1).mean()
                optimizer.zero_grad()
                loss.backward()
                for weight in (encoder, decoder):  # only what turns the rows, which keep their length
                    assert weight.grad is not None
                    weight.grad -= (weight.grad * weight).sum(1, keepdim=True) * weight.detach()
                optimizer.step()
                losses.append(float(loss.detach()))
                meter.spend(evaluations=len(x))
            _unit(encoder, decoder)
        encoder, decoder, threshold, bias = (tensor.detach() for tensor in held)
        return Autoencoder(encoder, decoder, bias, threshold, size), tuple(losses)


def _codes(c: Tensor, silent: Silent) -> Tensor:
    """(..., features) -> (...): the feature that fires most."""
    code = c.argmax(-1)
    return code if silent == "zero" else torch.where((c > 0).any(-1), code, -1)


@torch.no_grad()
def _unit(*weights: Tensor) -> None:
    """Rows to length 1, in place."""
    for weight in weights:
        weight /= weight.norm(dim=1, keepdim=True)


def _heads(activations: Tensor) -> Tensor:
    """(prompts, heads, width); activations without heads are of one."""
    return activations if activations.ndim == 3 else activations[:, None]
