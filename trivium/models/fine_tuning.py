"""A model taught to tell classes of texts: a linear readout on its states, with all of its weights, with low-rank
adapters on them (LoRA, by PEFT), or with none.

    logits = W state + b,   state: of a text's last token, of its first, or the mean over its tokens
    loss   = mean cross-entropy of a batch;   AdamW, the rate falling to 0 in a line over all epochs that are planned

The model that is given is copied and stays as it was. After each epoch the validation items are asked; training ends
where ``patience`` epochs brought nothing better, and what was best is kept (by accuracy, then by loss).
"""

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trivium.core import seeds
from trivium.core.capabilities import require_offers
from trivium.core.errors import NotFinite, NotOffered
from trivium.core.protocols import LanguageModel, new_serial
from trivium.models._quiet import quiet
from trivium.models._rows import padded
from trivium.models.system import System
from trivium.models.unembedding import head_of

log = logging.getLogger(__name__)

Trained = Literal["whole", "lora", "readout"]
Place = Literal["last", "first", "mean"]
Rows = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Tuning:
    """How a model is taught."""

    trained: Trained = "whole"
    rate: float = 5e-5
    epochs: int = 10
    patience: int = 3
    batch_size: int = 64
    place: Place = "last"
    both_ways: bool = False
    """Let every token see every other, in a model that can also read from the left only."""
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.1
    """Of the adapters' input."""
    weight_decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (("trained", Trained), ("place", Place)):
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name} must be one of {', '.join(get_args(allowed))}; got {getattr(self, name)!r}")
        for name in ("epochs", "patience", "batch_size", "rank"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (self.rate > 0 and self.alpha > 0):
            raise ValueError(f"rate and alpha must be positive, got {self.rate} and {self.alpha}")
        if not (0 <= self.dropout < 1 and self.weight_decay >= 0):
            raise ValueError(f"dropout is 0 to below 1 and weight_decay at least 0, got {self.dropout} and "
                             f"{self.weight_decay}")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Tuned:
    """What came of it. ``history``: (validation accuracy, validation loss) after each epoch; ``epoch``: the one that
    was kept, from 1."""

    classifier: "Classifier"
    history: list[tuple[float, float]] = field(default_factory=list)
    epoch: int = 0

    @property
    def best(self) -> tuple[float, float]:
        """Validation accuracy and loss of what was kept."""
        return self.history[self.epoch - 1]

    def logits(self, rows: Rows, batch_size: int = 64) -> Tensor:
        """(rows, labels) in float32, on the CPU."""
        return self.classifier.logits(rows, batch_size)


class Classifier(nn.Module):
    """A model and a readout of its states."""

    def __init__(self, model: LanguageModel, labels: int, tuning: Tuning) -> None:
        super().__init__()
        self.model, self.tuning = model, tuning
        self.readout: Any = nn.utils.skip_init(nn.Linear, model.width, labels, device=model.device)
        with torch.no_grad():
            noise = torch.randn(labels, model.width, generator=seeds.generator(tuning.seed, "readout"))
            self.readout.weight.copy_(0.02 * noise)
            self.readout.bias.zero_()

    def states(self, rows: Rows) -> Tensor:
        """(rows, width) in float32. Raises NotOffered for a model that has no state for each token."""
        place, model = self.tuning.place, self.model
        alone = place == "last" and not self.tuning.both_ways and "causal" in model.offers
        ids, real = padded(rows, model.device, left=alone)
        if alone:  # nothing but the last column is needed
            return model(ids, mask=real, logits_to_keep=1).hidden[:, -1].float()
        real = torch.ones_like(ids, dtype=torch.bool) if real is None else real
        hidden = model(ids, mask=self._mask(real)).hidden
        if hidden.shape[:2] != ids.shape:
            raise NotOffered(f"{type(model).__name__} has no state for each token, and so none to read classes off")
        if place == "first":
            return hidden[:, 0].float()
        weight = real.float()
        if place == "last":
            weight = torch.zeros_like(weight).scatter(1, real.sum(1, keepdim=True) - 1, 1.0)
        hidden = torch.where(weight[..., None] > 0, hidden.float(), 0.0)  # padding may hold anything
        return (weight[..., None] * hidden).sum(1) / weight.sum(1, keepdim=True)

    def _mask(self, real: Tensor) -> Tensor | None:
        if not self.tuning.both_ways or "causal" not in self.model.offers:
            return None if bool(real.all()) else real
        mask = real[:, :, None] & real[:, None, :]
        mask.diagonal(dim1=1, dim2=2).fill_(True)  # so that no softmax of padding is empty
        return mask[:, None]

    def forward(self, rows: Rows) -> Tensor:
        return self.readout(self.states(rows))

    @torch.no_grad()
    def logits(self, rows: Rows, batch_size: int) -> Tensor:
        """(rows, labels) on the CPU, without dropout. Raises NotFinite."""
        order = sorted(range(len(rows)), key=lambda at: -len(rows[at]))
        found: dict[int, Tensor] = {}
        with still(self.model):
            for start in range(0, len(order), batch_size):
                places = order[start : start + batch_size]
                found |= zip(places, self([rows[at] for at in places]).cpu(), strict=True)
        logits = torch.stack([found[at] for at in range(len(rows))])
        if not logits.isfinite().all():
            raise NotFinite(f"the readout gives text {int((~logits.isfinite().all(1)).nonzero()[0])} no finite logits")
        return logits


@contextmanager
def still(model: LanguageModel) -> Iterator[None]:
    """Within the block the model drops nothing out; then it is in the mode it was in."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)


class _Fixed(nn.Module):
    """The readout alone, on states that were read once."""

    def __init__(self, classifier: Classifier, states: Tensor) -> None:
        super().__init__()
        self.readout, self.states = classifier.readout, states

    def forward(self, places: Sequence[int]) -> Tensor:
        return self.readout(self.states[list(places)])


def fine_tune(
    system: System,
    train: tuple[Rows, Sequence[int]],
    validation: tuple[Rows, Sequence[int]],
    labels: int,
    tuning: Tuning = Tuning(),
) -> Tuned:
    """Rows of ids and the number of each one's class -> a classifier.

    The global random state is left as it was. Raises NotOffered for a model without gradients, without layers for
    adapters, or whose layers pass adapters by; ValueError for items without a class; NotFinite where training diverges.
    """
    for name, (rows, targets) in (("training", train), ("validation", validation)):
        if not rows or len(rows) != len(targets) or not all(rows):
            raise ValueError(f"{name} needs texts of one token or more, and a class for each; got {len(rows)} texts")
        if not 0 <= min(targets) <= max(targets) < labels:
            raise ValueError(f"classes are 0 to {labels - 1}, {name} has {min(targets)} to {max(targets)}")
    if tuning.trained != "readout":
        require_offers(f"fine-tuning {tuning.trained}", system.model, ["gradient"])
    if tuning.both_ways:
        require_offers("reading both ways", system.model, ["bidirectional"])
    elif tuning.place == "first" and "causal" in system.model.offers:
        raise ValueError(
            f"the first token of {system.name}, which reads from the left, has seen nothing; take the last"
        )
    devices = [system.model.device] if system.model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        torch.manual_seed(seeds.derive(tuning.seed, "fine-tuning"))
        model = system.model if tuning.trained == "readout" else _copied(system.model, tuning)
        return _taught(Classifier(model, labels, tuning), train, validation)


def _copied(model: LanguageModel, tuning: Tuning) -> LanguageModel:
    """Weights of its own in float32, those that are to be trained with gradients."""
    own = copy.deepcopy(model).float()
    own.serial = new_serial()  # adapters change what a pass costs
    own.requires_grad_(tuning.trained == "whole")
    if tuning.trained == "whole":
        return own
    from peft import LoraConfig, inject_adapter_in_model
    from transformers.pytorch_utils import Conv1D

    head = {id(part) for part in head_of(own).modules()} if isinstance(head_of(own), nn.Module) else set()
    linear = {id(part): name for name, part in own.named_modules() if isinstance(part, (nn.Linear, Conv1D))}
    layers = [name for part, name in linear.items() if part not in head and not _refused(own, name)]
    layers = _called(own, layers)
    if not layers:
        raise NotOffered(f"{type(model).__name__} calls no linear layer that could take an adapter; train it whole")
    config = LoraConfig(r=tuning.rank, lora_alpha=tuning.alpha, lora_dropout=tuning.dropout, target_modules=layers)  # type: ignore[arg-type]
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it turns GPT-2's transposed layers by itself
        inject_adapter_in_model(config, own)
    return own


def _refused(model: nn.Module, name: str) -> bool:
    """Whether PEFT adapts no such layer: one behind a selective scan, whose weight kernels read past it."""
    parent, _, own = name.rpartition(".")
    return own == "out_proj" and hasattr(model.get_submodule(parent), "A_log")


@torch.no_grad()
def _called(model: LanguageModel, names: Sequence[str]) -> list[str]:
    """Those of the layers that a pass goes through; of others it reads the weight, past any adapter."""
    seen: list[str] = []
    hooks = [model.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.append(name)) for name in names]
    try:
        with still(model):
            model(torch.zeros(1, 2, dtype=torch.int64, device=model.device))
    finally:
        for hook in hooks:
            hook.remove()
    return list(dict.fromkeys(seen))


def _taught(classifier: Classifier, train: tuple[Rows, Sequence[int]], validation: tuple[Rows, Sequence[int]]) -> Tuned:
    tuning, device = classifier.tuning, classifier.model.device
    (rows, targets), (held, right) = train, validation
    learner: Any = classifier
    fixed = tuning.trained == "readout"
    if fixed:
        learner = _Fixed(classifier, _read(classifier, [*rows, *held]))
    parameters = [one for one in learner.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=tuning.rate, weight_decay=tuning.weight_decay)
    steps = tuning.epochs * -(-len(rows) // tuning.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    generator = seeds.generator(tuning.seed, "order")
    answers, asked = torch.tensor(list(targets), device=device), torch.tensor(list(right))
    tuned = Tuned(classifier)
    kept: list[Tensor] = []
    at = 0
    for epoch in range(1, tuning.epochs + 1):
        if not fixed:
            classifier.model.train()
        for places in torch.randperm(len(rows), generator=generator).split(tuning.batch_size):
            given: Any = places.tolist() if fixed else [rows[at] for at in places.tolist()]
            loss = cross_entropy(learner(given), answers[places.to(device)])
            if not loss.isfinite():
                raise NotFinite(f"the loss is {loss.item()} in epoch {epoch} at a rate of {tuning.rate:g}; lower it")
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
        places = range(len(rows), len(rows) + len(held))
        logits = learner(places).detach().cpu() if fixed else classifier.logits(held, tuning.batch_size)
        share = float((logits.argmax(1) == asked).float().mean())
        tuned.history.append((share, float(cross_entropy(logits, asked))))
        log.info("epoch %d of %d: validation accuracy %.3f, loss %.3f", epoch, tuning.epochs, *tuned.history[-1])
        best = max(tuned.history, key=lambda one: (one[0], -one[1]))
        at = tuned.history.index(best) + 1
        if at == epoch:
            kept = [one.detach().clone() for one in parameters]
        elif epoch - at >= tuning.patience:
            break
    with torch.no_grad():
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
    if not fixed:
        classifier.eval()
    return Tuned(classifier, tuned.history, at)


@torch.no_grad()
def _read(classifier: Classifier, rows: Rows) -> Tensor:
    """(rows, width): the states of a model that is not trained."""
    size = classifier.tuning.batch_size
    with still(classifier.model):
        return torch.cat([classifier.states(rows[at : at + size]) for at in range(0, len(rows), size)])
