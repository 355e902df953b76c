"""How a model is trained: everything but the model, the objective and the data."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

Schedule = Literal["cosine", "wsd", "constant"]
Precision = Literal["float32", "bfloat16"]
Optimizer = Literal["adamw", "muon"]


@dataclass(frozen=True)
class Mesh:
    """How the processes of torchrun share the work: pipeline x data x tensor, the data axis taking what is left."""

    tensor: int = 1
    """Processes that share the matrices inside a block; heads must divide over them."""
    pipeline: int = 1
    """Stages that the blocks are dealt to, in order; a batch goes through them in micro-batches."""

    def __post_init__(self) -> None:
        for name in ("tensor", "pipeline"):
            if getattr(self, name) < 1:
                raise ValueError(f"mesh.{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class TrainingSettings:
    """Hyperparameters of the one training loop. The defaults suit models of 0.1 to 10 million parameters."""

    steps: int | None = None
    """Updates of the weights; None takes as many as the budget pays for."""
    optimizer: Optimizer = "adamw"
    """AdamW for all parameters; or Muon for the matrices between embedding and head, and AdamW for the rest. Muon is
    scaled to the size of AdamW's updates, so both take the same learning rate."""
    learning_rate: float = 1e-3
    """The peak, reached at the end of the warm-up."""
    schedule: Schedule = "cosine"
    """Cosine to the final fraction; or warm-up, stable, decay (linear, over the last share); or constant."""
    warmup: float = 0.05
    """Share of the steps in which the rate rises linearly."""
    decay: float = 0.2
    """Share of the steps in which 'wsd' falls."""
    final_fraction: float = 0.1
    """The rate of the last update over the peak, for 'cosine' and 'wsd'."""
    weight_decay: float = 0.1
    """On weight matrices only: not on biases, gains, embeddings (a tied head included)."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Of AdamW."""
    momentum: float = 0.95
    """Of Muon."""
    clip: float | None = 1.0
    """Largest norm of the whole gradient; None leaves it as it is."""
    micro_batch: int | None = None
    """Rows per forward pass and process; None takes the batch whole. Changes memory, never the result."""
    precision: Precision = "float32"
    """Of the matrix products (autocast); weights, sums and the loss stay as they are."""
    recompute: bool = False
    """Keep what enters each block and compute its inside again in the backward pass: less memory for about a third
    more operations, which count. Changes no result."""
    compile: bool = False
    """Compile the blocks. The first step then takes a minute or so; results differ by rounding."""
    mesh: Mesh = Mesh()
    """How the processes share the work, where there are several. Changes no result but by rounding."""
    evaluate_every: int | None = None
    """Steps between evaluations; None evaluates at the end only."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; None writes one at the end only."""
    keep: int = 2
    """Checkpoints that stay on disk."""
    seed: int = 0
    """Of dropout and of the objective's draws; the data has its own."""

    def __post_init__(self) -> None:
        for name in ("steps", "micro_batch", "evaluate_every", "checkpoint_every", "keep"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name, choices in (("schedule", Schedule), ("precision", Precision), ("optimizer", Optimizer)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}; got {getattr(self, name)!r}")
        for name in ("warmup", "decay", "final_fraction"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a share, so 0 to 1; got {getattr(self, name)}")
        if self.schedule == "wsd" and self.warmup + self.decay > 1.0:
            raise ValueError(f"warmup {self.warmup} and decay {self.decay} overlap: their sum must be at most 1")
        for name in ("learning_rate", "weight_decay"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0.0):
                raise ValueError(f"{name} must be a number of at least 0, got {getattr(self, name)}")
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError(f"betas must be at least 0 and below 1, got {self.betas}")
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"momentum must be at least 0 and below 1, got {self.momentum}")
        if self.clip is not None and not self.clip > 0.0:
            raise ValueError(f"clip must be positive, got {self.clip}; None switches it off")

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of update ``step`` (from 0) of ``steps``.

        With n = step + 1 and W = ceil(warmup * steps): peak * n / W up to n = W; then, with p = (n - W) / (steps - W)
        and f the final fraction, f + (1 - f) (1 + cos(pi p)) / 2 for cosine. For wsd the rate stays at the peak until
        the last D = ceil(decay * steps) updates, and then falls along a line to f.
        """
        n, rise = step + 1, math.ceil(self.warmup * steps)
        if n <= rise:
            return self.learning_rate * n / rise
        factor, f = 1.0, self.final_fraction
        if self.schedule == "cosine":
            factor = f + (1 - f) * (1 + math.cos(math.pi * (n - rise) / (steps - rise))) / 2
        elif self.schedule == "wsd":
            fall = min(math.ceil(self.decay * steps), steps - rise)
            factor = 1 - (1 - f) * max(0, n - (steps - fall)) / fall if fall else 1.0
        return self.learning_rate * factor
