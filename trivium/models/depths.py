"""How many layers of a model run at a place of a text, where later places run fewer."""

from dataclasses import dataclass
from math import floor


@dataclass(frozen=True)
class FallingDepth:
    """E(t) = round(most - (most - least) t / (length - 1)) for t = 0 .. length - 1, then least; at t the first ``warm``
    layers run and the last E(t) - warm.

    Since E never rises, a layer that runs has run at every earlier place, so that no key is ever missing.
    """

    most: int | None
    """Layers that run at first; None for all."""
    least: int | None
    """Layers that run in the end; None for a third of the model's."""
    warm: int
    """Layers at the bottom that always run."""
    length: int
    """Places over which the depth falls."""

    def __post_init__(self) -> None:
        if self.warm < 1:
            raise ValueError(f"warm must be at least 1 layer, got {self.warm}")
        if self.length < 1:
            raise ValueError(f"length must be at least 1 token, got {self.length}")
        for name in ("most", "least"):
            value = getattr(self, name)
            if value is not None and value <= self.warm:
                raise ValueError(f"{name} must be more than the {self.warm} warm layers, got {value}")
        if self.most is not None and self.least is not None and self.least > self.most:
            raise ValueError(f"least must be at most the {self.most} layers of most, got {self.least}")

    def at(self, t: int, layers: int) -> int:
        """E(t): how many of the model's layers run at place t."""
        most = layers if self.most is None else self.most
        least = min(most, max(self.warm + 1, round(layers / 3))) if self.least is None else self.least
        if t >= self.length - 1:
            return least
        return floor(most - (most - least) * t / (self.length - 1) + 0.5)

    def skipped(self, t: int, layers: int) -> range:
        """The layers that place t passes by."""
        return range(min(self.warm, layers), max(layers - (self.at(t, layers) - self.warm), self.warm))

    def check(self, layers: int) -> None:
        """Raise ValueError where a model has too few layers."""
        for name in ("most", "least"):
            value = getattr(self, name)
            if value is not None and value > layers:
                raise ValueError(f"{name} must be at most the {layers} layers of this model, got {value}")
