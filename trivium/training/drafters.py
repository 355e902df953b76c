"""Teaching a drafter what its target will say: the target writes, the drafter learns to guess it.

The target's own texts and its hidden states are written to disk once, in lessons of a few rows; whatever is killed goes
on with the lessons and from the checkpoint that are there. Only the drafter's module is trained.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trivium.core import files, seeds
from trivium.core.capabilities import require_offers
from trivium.core.errors import RunMismatch
from trivium.core.method import card_of, find, settings
from trivium.core.nouns import Loss
from trivium.core.progress import Bar
from trivium.core.protocols import LanguageModel
from trivium.data.lessons import Lesson
from trivium.data.openings import openings
from trivium.models.system import System
from trivium.training.loop import train
from trivium.training.record import differences
from trivium.training.settings import TrainingSettings

ROWS = 16
"""Texts of one lesson."""
FREQUENT = 2**14
"""Tokens that are noted as frequent, at most."""
RANKS = 10
"""Ranks whose frequency is measured at each depth."""


class Taught(Protocol):
    """A drafter with a module to train."""

    @property
    def depth(self) -> int: ...

    def build(self, model: LanguageModel, *, seed: int = 0) -> nn.Module: ...

    def loss(self, module: Any, model: LanguageModel, lesson: Lesson, generator: torch.Generator) -> Loss: ...

    def ranks(self, module: Any, model: LanguageModel, lesson: Lesson) -> Tensor:
        """(places, depth): rank of the right token, -1 where there is none."""
        ...

    def save(
        self,
        module: nn.Module,
        folder: Path,
        model: LanguageModel,
        *,
        base: str,
        accuracy: Sequence[Sequence[float]],
        facts: Mapping[str, Any],
    ) -> None: ...


@dataclass(frozen=True)
class Texts:
    """What the target is asked to write."""

    count: int = 384
    """Texts that the target writes, in lessons of 16; one in eight is kept for measuring."""
    length: int = 128
    """New tokens of each."""
    temperature: float = 0.7
    """At which they are drawn."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 2 * ROWS:
            raise ValueError(f"count must be at least {2 * ROWS} texts, to learn from and to measure on; {self.count}")
        if self.length < 8:
            raise ValueError(f"length must be at least 8 new tokens, got {self.length}")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")

    @property
    def lessons(self) -> int:
        return -(-self.count // ROWS)


def write_lessons(system: System, folder: Path, texts: Texts, bar: Bar) -> "Lessons":
    """Let the target write, lesson by lesson; those that are there already are kept.

    Raises RunMismatch where the folder holds lessons of another model, or other texts.
    """
    facts = {"model": system.name, "fingerprint": system.fingerprint, **settings(texts)}
    note = folder / "lessons.json"
    if note.exists() and (differing := list(differences(json.loads(note.read_text(encoding="utf-8")), facts))):
        raise RunMismatch(
            f"{folder} holds other lessons; they differ in {', '.join(differing)}. Choose another folder, or delete it"
        )
    files.write(note, json.dumps(facts, indent=1) + "\n")
    asked = [
        system.prompt(system.chat(opening.text) if opening.chat else opening.text)[0].cpu()
        for opening in openings(texts.lessons * ROWS, texts.seed)
    ]
    longest, most = max(map(len, asked)) + texts.length, system.model.max_positions
    if most is not None and longest > most:
        raise ValueError(f"texts of {longest} tokens exceed the {most} positions of {system.name}; lower length")
    for number in range(texts.lessons):
        path, taken = folder / f"{number:04d}.safetensors", asked[number * ROWS : (number + 1) * ROWS]
        if not path.exists():
            lesson = _written(system, taken, texts, number)
            with files.written(path) as part:
                save_file({name: getattr(lesson, name).cpu().contiguous() for name in FIELDS}, part)
        bar.advance(len(taken), note="the model writes")
    return Lessons(folder, texts.lessons, texts.seed)


FIELDS = ("ids", "mask", "written", "hidden")


@torch.inference_mode()
def _written(system: System, asked: Sequence[Tensor], texts: Texts, number: int) -> Lesson:
    """One lesson: texts after these prompts, and the hidden states of all their tokens."""
    model = system.model
    width = max(map(len, asked))
    pad = lambda row, short: torch.nn.functional.pad(row, (short, 0))  # noqa: E731
    ids = torch.stack([pad(row, width - len(row)) for row in asked]).to(model.device)
    mask = torch.stack([pad(torch.ones_like(row, dtype=torch.bool), width - len(row)) for row in asked])
    made = find("decoding", "sampling")(temperature=texts.temperature)(
        model,
        ids,
        mask=mask.to(model.device),
        limit=texts.length,
        generator=seeds.generator(texts.seed, "lesson", number),
        stop=system.stop,
    )
    rows = [torch.cat([row, made.row(at).cpu()]) for at, row in enumerate(asked)]
    longest = max(map(len, rows))
    ids, mask, written = torch.zeros(len(rows), longest, dtype=torch.int64), *torch.zeros(2, len(rows), longest).bool()
    for at, row in enumerate(rows):
        ids[at, : len(row)], mask[at, : len(row)], written[at, len(asked[at]) : len(row)] = row, True, True
    hidden = [  # few rows at a time: logits of every token come along
        model(ids[at : at + 4].to(model.device), mask=mask[at : at + 4].to(model.device)).hidden
        for at in range(0, len(rows), 4)
    ]
    return Lesson(ids, mask, None, written, torch.cat(hidden))


@dataclass(frozen=True)
class Lessons:
    """Lessons on disk, by training step; the last eighth is kept for measuring."""

    folder: Path
    count: int
    seed: int

    @property
    def held_out(self) -> range:
        return range(self.count - max(self.count // 8, 1), self.count)

    def __getitem__(self, number: int) -> Lesson:
        held = load_file(self.folder / f"{number:04d}.safetensors")
        return Lesson(**held)

    @cached_property
    def _order(self) -> dict[int, Sequence[int]]:
        return {}

    def batch(self, step: int) -> Lesson:
        """The lesson of a step: all of them in a new order each epoch."""
        epoch, at = divmod(step, self.held_out.start)
        return self[int(seeds.numpy_generator(self.seed, "epoch", epoch).permutation(self.held_out.start)[at])]


def teach(
    drafter: Taught,
    system: System,
    folder: Path,
    *,
    texts: Texts = Texts(),
    training: TrainingSettings = TrainingSettings(steps=400, weight_decay=0.0),
    lessons: Path | None = None,
    bar: Bar | None = None,
) -> dict[str, Any]:
    """Train a drafter for a target and write it to ``folder``; returns figures. ``lessons``: a folder of texts that
    several drafters of one target may share.

    Raises NotOffered for a target that the drafter does not suit, before any work; RunBusy and RunMismatch as training.
    """
    bar = bar if bar is not None else Bar(0)
    bar.total, steps = texts.count + (training.steps or 0), training.steps or 0
    model, name = system.model, card_of(drafter).name
    require_offers(name, model, card_of(drafter).needs)
    module = drafter.build(model, seed=training.seed).to(model.device)
    same_recipe({"method": card_of(drafter).path, **settings(drafter)}, system, folder)
    work = folder / "work"
    with frozen(model):
        with files.locked(lessons or work / "lessons"):
            read = write_lessons(system, lessons or work / "lessons", texts, bar)

        def lesson_loss(module: Any, lesson: Any, *, generator: torch.Generator) -> Loss:
            return drafter.loss(module, model, lesson, generator)

        inner = Bar(steps, _progress=bar._progress, _task=bar._task)
        result = train(module, lesson_loss, read, training, folder=work, bar=inner)  # type: ignore[arg-type]
        if result.diverged:
            raise ValueError(f"the training of {name} diverged: {result.diverged}; lower the learning rate")
        module.eval()
        accuracy = measured(torch.cat([drafter.ranks(module, model, read[number]) for number in read.held_out]))
    facts: dict[str, Any] = {
        "texts": settings(texts),
        "training": settings(training),
        "loss": result.loss,
        "steps": result.steps,
        "frequent": frequent(read, model.vocab_size),
    }
    drafter.save(module, folder, model, base=system.name, accuracy=accuracy, facts=facts)
    return {"folder": str(folder), "steps": result.steps, "loss": result.loss, "accuracy": accuracy}


def frequent(lessons: Lessons, vocab_size: int) -> list[int]:
    """Tokens that the target wrote in what is learned from, the most frequent first, among equals the lowest ids."""
    counts = torch.zeros(vocab_size, dtype=torch.int64)
    for number in range(lessons.held_out.start):
        lesson = lessons[number]
        counts += lesson.ids[lesson.written].bincount(minlength=vocab_size)
    order = counts.argsort(descending=True, stable=True)
    return order[: min(int((counts > 0).sum()), FREQUENT)].tolist()


def measured(ranks: Tensor) -> list[list[float]]:
    """(places, depth) ranks -> per depth the share of each rank, over the places where there is a right token."""
    shares = []
    for column in ranks.T:
        real = column[column >= 0]
        shares.append([float((real == rank).float().mean()) if len(real) else 0.0 for rank in range(RANKS)])
    return shares


def same_recipe(recipe: Mapping[str, Any], system: System, folder: Path, what: str = "drafter") -> None:
    """Note what is being trained in a folder, a ``what``. Raises RunMismatch where it was something else."""
    facts = {**recipe, "model": system.name, "sha": system.fingerprint}
    note = folder / "work" / "recipe.json"
    here = json.loads(json.dumps(facts))
    if note.exists() and (differing := list(differences(json.loads(note.read_text(encoding="utf-8")), here))):
        raise RunMismatch(
            f"{folder} holds the training of another {what}; it differs in {', '.join(differing)}. Choose another "
            "folder, or delete it"
        )
    files.write(note, json.dumps(facts, indent=1) + "\n")


@contextmanager
def frozen(model: LanguageModel) -> Iterator[None]:
    """Within the block no weight of the target asks for a gradient."""
    asked = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in asked:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in asked:
            weight.requires_grad_(True)
