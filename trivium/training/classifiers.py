"""Teaching a classifier what becomes of a model's texts: the model writes, the classifier learns from their starts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trivium.core import files
from trivium.core.method import settings
from trivium.core.nouns import Loss, Stop
from trivium.core.progress import Bar
from trivium.core.protocols import LanguageModel
from trivium.data.lessons import Lesson
from trivium.models.system import System
from trivium.training.drafters import Texts, frozen, same_recipe, write_lessons
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

BINS = 10


class Judging(Protocol):
    """A classifier of beginnings that can be trained."""

    def build(self, model: LanguageModel, *, seed: int = 0) -> nn.Module: ...

    def loss(
        self, module: Any, model: LanguageModel, lesson: Lesson, generator: torch.Generator, stop: Stop
    ) -> Loss: ...

    def judged(self, module: Any, model: LanguageModel, lesson: Lesson, stop: Stop) -> tuple[Tensor, Tensor]: ...

    def save(self, module: nn.Module, folder: Path, model: LanguageModel, *, base: str, **facts: Any) -> None: ...


def teach_classifier(
    judging: Judging,
    system: System,
    folder: Path,
    *,
    texts: Texts = Texts(temperature=1.0),
    training: TrainingSettings = TrainingSettings(steps=300, weight_decay=0.01),
    lessons: Path | None = None,
    bar: Bar | None = None,
) -> dict[str, Any]:
    """Train a classifier for a model and write it to ``folder``; returns figures. What was interrupted goes on.

    ``lessons``: a folder of texts that several classifiers, and drafters, of one model may share.
    """
    bar = bar if bar is not None else Bar(0)
    bar.total, steps = texts.count + (training.steps or 0), training.steps or 0
    model, stop = system.model, system.stop
    module = judging.build(model, seed=training.seed).to(model.device)
    same_recipe({"method": type(judging).__name__, **settings(judging)}, system, folder, "classifier")
    with frozen(model):
        home = lessons or folder / "work" / "lessons"
        with files.locked(home):
            read = write_lessons(system, home, texts, bar)

        def lesson_loss(module: Any, lesson: Any, *, generator: torch.Generator) -> Loss:
            return judging.loss(module, model, lesson, generator, stop)

        inner = Bar(steps, _progress=bar._progress, _task=bar._task)
        result = train(module, lesson_loss, read, training, folder=folder / "work", bar=inner)  # type: ignore[arg-type]
        if result.diverged:
            raise ValueError(f"the training of the classifier diverged: {result.diverged}; lower the learning rate")
        module.eval()
        found = calibration([judging.judged(module, model, read[number], stop) for number in read.held_out])
    facts = {"texts": settings(texts), "training": settings(training), "loss": result.loss, "steps": result.steps}
    judging.save(module, folder, model, base=system.name, calibration=found, **facts)
    return {"folder": str(folder), "steps": result.steps, "loss": result.loss, "calibration": found}


def calibration(pairs: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """How far the probabilities that a classifier gives are the frequencies with which things come.

    ``bins``: of those from 0 to 0.1 and so on, how many, their mean, and how often it came; ``error``: the mean
    distance of the two, by count; ``log_loss`` beside that of always giving the overall frequency.
    """
    given = torch.cat([one for one, _ in pairs]).double().cpu()
    came = torch.cat([one for _, one in pairs]).double().cpu()
    if not len(given):
        raise ValueError("no text of the held-out lessons tells anything; have more, or longer ones, written")
    at = (given * BINS).long().clamp(max=BINS - 1)
    bins = []
    for number in range(BINS):
        inside = at == number
        if inside.any():
            bins.append(
                [int(inside.sum()), round(float(given[inside].mean()), 4), round(float(came[inside].mean()), 4)]
            )
    loss = lambda p: float(nn.functional.binary_cross_entropy(p.clamp(1e-6, 1 - 1e-6), came))  # noqa: E731
    return {
        "count": len(given),
        "frequency": float(came.mean()),
        "error": sum(count * abs(mean - often) for count, mean, often in bins) / len(given),
        "log_loss": loss(given),
        "log_loss_of_frequency": loss(came.mean().expand(len(came))),
        "bins": bins,
    }
