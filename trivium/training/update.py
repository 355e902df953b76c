"""One update of the weights: micro-batches, the global mean, clipping, AdamW."""

import torch
from torch import Tensor, nn

from trivium.core import meter
from trivium.core.nouns import Batch
from trivium.core.protocols import LanguageModel, Objective, Scheduled
from trivium.core.seeds import derive, generator
from trivium.models.slots import TokenEmbedding
from trivium.training.parallel import World, local, total_norm
from trivium.training.settings import TrainingSettings


def decayed(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters that weight decay is for, and the others.

    Decayed are matrices (two axes or more) that are no embedding and not marked ``_no_weight_decay``, the mark that
    state-space models put on their transition parameters.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, (nn.Embedding, TokenEmbedding))}
    groups: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for parameter in model.parameters():
        if parameter.requires_grad:
            spared = parameter.ndim < 2 or id(parameter) in tables or getattr(parameter, "_no_weight_decay", False)
            groups[1 if spared else 0].append(parameter)
    return groups


class Updater:
    """Holds the optimiser and makes the updates of one run."""

    def __init__(self, model: LanguageModel, objective: Objective, settings: TrainingSettings, world: World) -> None:
        self.model, self.objective, self.settings, self.world = model, objective, settings, world
        self.run = object()  # with the shapes of a batch it tells the meter when a pass costs what an earlier one did
        self.renew()

    def renew(self) -> None:
        """A fresh optimiser."""
        matrices, others = decayed(self.model)
        self.trained = matrices + others
        groups = [
            {"params": matrices, "weight_decay": self.settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=0.0, betas=self.settings.betas, fused=True
        )

    def __call__(self, step: int, steps: int, batch: Batch, tokens: int) -> Tensor:
        """Loss, gradient norm before clipping, and count, over all processes: (3,). Nothing here waits for a device."""
        settings, world = self.settings, self.world
        torch.manual_seed(derive(settings.seed, "step", step, world.rank))
        total, count = world.sum(self._backward(step, steps, batch))
        meter.spend(tokens=tokens)

        gradients = [local(parameter.grad) for parameter in self.trained if parameter.grad is not None]
        if not gradients:
            raise self._reaches_nothing()
        scale = world.size / count  # gradients of a sharded model come averaged over the processes
        norm = total_norm(gradients, world) * scale
        if settings.clip is not None:
            scale = scale * (settings.clip / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, scale)

        for group in self.optimizer.param_groups:
            group["lr"] = settings.rate(step, steps)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return torch.stack([total / count, norm.double(), count])

    def _backward(self, step: int, steps: int, batch: Batch) -> Tensor:
        """Add up gradients of the total, not yet divided by the count; (2,): total and count of this process."""
        settings, device = self.settings, batch.ids.device
        objective = self.objective.at(step / steps) if isinstance(self.objective, Scheduled) else self.objective
        sums = torch.zeros(2, dtype=torch.float64, device=device)
        for number, micro in enumerate(batch.split(settings.micro_batch or len(batch))):
            draws = generator(settings.seed, "objective", step, number, self.world.rank)
            shape = (*micro.ids.shape, micro.mask is None, micro.segments is None)
            with meter.measured((self.run, *shape), backwards=1, evaluations=len(micro)):
                with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
                    loss = objective(self.model, micro, generator=draws)
                if not loss.total.requires_grad:
                    raise self._reaches_nothing()
                loss.total.backward()
            sums += torch.stack([loss.total.detach().double(), loss.count.to(device).double()])
        return sums

    def _reaches_nothing(self) -> ValueError:
        return ValueError(
            f"the loss of {type(self.objective).__name__} reaches no trainable parameter, so nothing would be learned; "
            "unfreeze what it depends on"
        )
