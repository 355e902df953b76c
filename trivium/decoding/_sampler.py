"""What all decoders share that differ in the distribution only from which each token is drawn."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from trivium.core.nouns import Generation, Stop
from trivium.core.protocols import LanguageModel
from trivium.decoding._loop import step_by_step
from trivium.decoding._pipeline import Pipeline


class Sampler(ABC):
    """A decoder that draws each token from its pipeline; a speculative decoder can speed it up without changing it."""

    @property
    @abstractmethod
    def pipeline(self) -> Pipeline:
        """From logits to the distribution that tokens are drawn from."""

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
        return step_by_step(self, model, prompt, self.pipeline, limit=limit, generator=generator, mask=mask, stop=stop)


def check_temperature(temperature: float) -> None:
    """Raise ValueError unless positive and finite."""
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be positive and finite, got {temperature}; for the limit 0 use greedy")
