"""One update of the weights: micro-batches, the global mean, clipping, the optimiser's step."""

import torch
from torch import Tensor

from trivium.core import meter
from trivium.core.nouns import Batch, Loss
from trivium.core.protocols import LanguageModel, Objective, Scheduled
from trivium.core.seeds import derive, generator
from trivium.training.auxiliary import asked_for
from trivium.training.optimizers import optimizers
from trivium.training.parallel import World, local, total_norm
from trivium.training.pipeline import Pipeline
from trivium.training.settings import TrainingSettings


class Updater:
    """Holds the optimiser and makes the updates of one run."""

    def __init__(
        self,
        model: LanguageModel,
        objective: Objective,
        settings: TrainingSettings,
        world: World,
        pipeline: Pipeline | None = None,
    ) -> None:
        self.model, self.objective, self.settings, self.world = model, objective, settings, world
        self.pipeline = pipeline
        self.run = object()  # with the shapes of a batch it tells the meter when a pass costs what an earlier one did
        self.renew()

    def renew(self) -> None:
        """Fresh optimisers."""
        self.optimizers = optimizers(self.model, self.settings)
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        self.trained = [parameter for group in groups for parameter in group["params"]]

    def __call__(self, step: int, steps: int, batch: Batch, tokens: int) -> Tensor:
        """Loss, gradient norm before clipping, and count, over all processes: (3,). Nothing here waits for a device."""
        settings, world = self.settings, self.world
        torch.manual_seed(derive(settings.seed, "step", step, world.place("dp")))
        total, count = world.sum(self._backward(step, steps, batch))
        meter.spend(tokens=tokens)

        found = [parameter.grad for parameter in self.trained if parameter.grad is not None]
        if not found:
            raise self._reaches_nothing()
        gradients = [local(gradient) for gradient in found]
        scale = world.degree("dp") / count  # gradients of a sharded model come averaged over the data axis
        norm = total_norm(found, world) * scale
        if settings.clip is not None:
            scale = scale * (settings.clip / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, scale)

        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(step, steps)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return torch.stack([total / count, norm.double(), count])

    def _backward(self, step: int, steps: int, batch: Batch) -> Tensor:
        """Add up gradients of the total, not yet divided by the count; (2,): total and count of this process."""
        settings = self.settings
        objective = self.objective.at(step / steps) if isinstance(self.objective, Scheduled) else self.objective
        if self.pipeline is not None:
            with meter.measured(self._key(batch)), self._cast(batch):
                return self.pipeline.backward(
                    batch,
                    settings.micro_batch,
                    lambda model, micro, number: self._loss(objective, model, micro, number, step),
                )
        sums = torch.zeros(2, dtype=torch.float64, device=batch.ids.device)
        for number, micro in enumerate(batch.split(settings.micro_batch or len(batch))):
            with meter.measured(self._key(micro), backwards=1, evaluations=len(micro)):
                with self._cast(batch):
                    loss = self._loss(objective, self.model, micro, number, step)
                loss.total.backward()
            sums += torch.stack([loss.total.detach().double(), loss.count.to(sums.device).double()])
        return sums

    def _loss(self, objective: Objective, model: LanguageModel, micro: Batch, number: int, step: int) -> Loss:
        draws = generator(self.settings.seed, "objective", step, number, self.world.place("dp"))
        with asked_for(model) as added:
            loss = added(objective(model, micro, generator=draws))
        if not loss.total.requires_grad:
            raise self._reaches_nothing()
        return loss

    def _key(self, batch: Batch) -> tuple[object, ...] | None:
        """What the cost of a pass depends on, where that can be told before."""
        if not getattr(self.model, "cost_by_shape", True):  # a trained part is no language model
            return None
        whole = batch.mask is None or bool(batch.mask.all())  # a model does less where nothing is masked, or apart
        together = batch.segments is None or bool((batch.segments == batch.segments[:, :1]).all())
        return (self.run, *batch.ids.shape, whole, together)

    def _cast(self, batch: Batch) -> torch.autocast:
        return torch.autocast(batch.ids.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16")

    def _reaches_nothing(self) -> ValueError:
        return ValueError(
            f"the loss of {type(self.objective).__name__} reaches no trainable parameter, so nothing would be learned; "
            "unfreeze what it depends on"
        )
