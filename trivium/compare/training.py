"""What stays fixed while architectures or objectives are compared: the data, their order, how models are trained."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch

from trivium.compare import contender as text
from trivium.compare.tuning import untuned
from trivium.core.budget import Budget, Spent
from trivium.core.method import card_of, find
from trivium.core.nouns import Batch
from trivium.core.progress import Bar
from trivium.core.protocols import LanguageModel, Tokenizer
from trivium.data.batches import Batches
from trivium.data.corpus import Corpus
from trivium.data.named import named
from trivium.data.packing import tokenised
from trivium.models.lengthening import bits_by_position, octaves
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

CURVE_POINTS = 200
"""Points of a training curve that a record keeps."""
EVALUATIONS = 50
"""Steps between the points of the held-out curve where the settings do not say."""
CHECKPOINTS = 50
"""Steps between checkpoints where the settings do not say; what a killed training loses at most."""


POSITION_ROWS, FEWEST_ROWS = 64, 8
"""Documents over which the loss by position is averaged: at most, and at least, for else it is not told."""

BYTES = ByteTokenizer()
SETTINGS = TrainingSettings()


@dataclass(frozen=True)
class TrainedSystem:
    """A contender after its training: the system, what the training spent, its curve, and figures about it."""

    system: Any
    """A System; or what the task of this training takes for one, where it trains several."""
    spent: Spent
    curve: list[dict[str, Any]]
    facts: Mapping[str, float]
    positions: list[dict[str, float]] = field(default_factory=list)
    """Bits of a held-out token by where it stands, as means over positions up to 1, 3, 7, ...: position and bits."""


@dataclass(frozen=True)
class Training:
    """A training with one thing left open: the architecture, or the objective.

    Seed s fixes the data order, the draws in training and the initial values of every tensor that two contenders
    share, so that contenders differ in what is compared and nothing else.
    """

    corpus: Corpus | str = "stories"
    """A corpus, its name, or the path of text to read; its test split is what contenders are scored on."""
    tokenizer: Tokenizer = BYTES
    length: int = 128
    """Tokens in a row, and of context where the models are scored."""
    batch_size: int = 16
    settings: TrainingSettings = SETTINGS
    """Of the training loop; seed and, with a budget, the number of steps are set by the comparison."""
    architecture: Any = field(
        default_factory=lambda: find("architectures", "llama")(),  # noqa: PLW0108
        metadata={"kind": "architectures"},
    )
    """What is trained where objectives are compared."""
    objective: Any = field(default_factory=lambda: find("objectives", "causal")(), metadata={"kind": "objectives"})  # noqa: PLW0108
    """What architectures are trained with."""

    def __post_init__(self) -> None:
        for name in ("length", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @cached_property
    def documents(self) -> Corpus:
        """The corpus itself."""
        return named(self.corpus) if isinstance(self.corpus, str) else self.corpus

    @cached_property
    def _ids(self) -> list[list[int]]:
        return tokenised(self.documents["train"], self.tokenizer)

    @cached_property
    def _test(self) -> list[list[int]]:
        return tokenised(self.documents["test"], self.tokenizer)

    def lacks(self, contender: object) -> tuple[str, ...]:
        """The other kind of batch that a contender learns from, which there is none of here."""
        learns_from = getattr(contender, "learns_from", Batch)
        return () if learns_from is Batch else (learns_from.__name__.lower(),)

    def task(self) -> Any:
        """What trained models are scored on: bits per byte of the corpus's own held-out documents. The context is as
        long as the rows of the training: how a model fares beyond them is another question."""
        return find("evaluation", "bits_per_byte")(corpus=self.corpus, length=max(self.length, 2))

    def train(
        self,
        architecture: Any,
        objective: Any,
        seed: int,
        budget: Budget,
        folder: Path,
        bar: Bar | None = None,
        *,
        documents: list[list[int]] | None = None,
    ) -> TrainedSystem:
        """Train one model on the budget, or go on where an earlier call in this folder was stopped. ``documents``: ids
        to train on in place of the corpus's own."""
        (architecture, changed), (objective, also) = untuned(architecture), untuned(objective)
        settings = replace(self.settings, seed=seed, **changed, **also)
        if settings.checkpoint_every is None:
            settings = replace(settings, checkpoint_every=CHECKPOINTS)
        if settings.evaluate_every is None:
            settings = replace(settings, evaluate_every=EVALUATIONS)
        model: LanguageModel = architecture.build(self.tokenizer.vocab_size, seed=seed)
        batches = Batches(self._ids if documents is None else documents, self.length, self.batch_size, seed)
        result = train(
            model, objective, batches, settings, folder=folder, budget=budget, evaluate=self._evaluate, bar=bar
        )
        if result.diverged is not None:
            raise ArithmeticError(f"the training diverged: {result.diverged}; lower the learning rate")
        parameters = sum(parameter.numel() for parameter in model.parameters())
        size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
        name = card_of(architecture).name
        return TrainedSystem(
            System(model.eval(), self.tokenizer, name=name),
            replace(result.spent, parameters=parameters, bytes=size, state_bytes=self._state_bytes(model)),
            _thinned([_point(row) for row in result.curve]),
            {"steps": float(result.steps), "training_loss": result.loss},
            self._positions(model),
        )

    @torch.no_grad()
    def _state_bytes(self, model: LanguageModel) -> int:
        """What the model remembers of one row; 0 where it keeps no state."""
        if "state" not in model.offers:
            return 0
        state = model(torch.zeros(1, self.length, dtype=torch.int64, device=model.device), keep_state=True).state
        return 0 if state is None else state.bytes()

    def _positions(self, model: LanguageModel) -> list[dict[str, float]]:
        """Of the documents of the test split that fill a row, from their beginning; nothing where too few do."""
        if "causal" not in model.offers:
            return []
        rows = [ids[: self.length] for ids in self._test if len(ids) >= self.length][:POSITION_ROWS]
        if len(rows) < FEWEST_ROWS or self.length < 2:
            return []
        bits = bits_by_position(model, torch.tensor(rows), batch_size=self.batch_size)
        return [{"position": float(where.split("-")[-1]), "bits": mean} for where, mean in octaves(bits).items()]

    def _evaluate(self, model: LanguageModel) -> dict[str, float]:
        """Bits per byte of a few validation documents, for the curve."""
        task, system = self.task(), System(model, self.tokenizer, name="in training")
        seen = [task.score(system, example, None).values for example in task.examples("validation")[:16]]
        return {"bits_per_byte": sum(v["bits_per_byte"] * v["bytes"] for v in seen) / sum(v["bytes"] for v in seen)}

    # In words -------------------------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """What identifies this training, in the words of a report."""
        return {
            "name": self.documents.name,
            "config": self.text() or f"training on {self.documents.name}",
            "corpus_sha256": self.documents.sha256,
            "tokenizer": type(self.tokenizer).__name__,
            "vocabulary": self.tokenizer.vocab_size,
            "length": self.length,
            "batch_size": self.batch_size,
            "architecture": text.describe(self.architecture),
            "objective": text.describe(self.objective),
            "settings": {name: value for name, value in asdict(self.settings).items() if name != "keep"},
        }

    def text(self) -> str:
        """The training as text that ``read`` understands; empty where it holds what text cannot describe."""
        return text.describe(self) if isinstance(self.corpus, str) and self.tokenizer is BYTES else ""

    @classmethod
    def read(cls, words: str) -> Self:
        """A training from its text."""
        return text.construct(cls, text.parse(words))


def _point(row: Mapping[str, Any]) -> dict[str, Any]:
    figures = row.get("evaluation", {})
    return {
        "step": row["step"] + 1,
        "flops": row["flops"],
        "tokens": row["tokens"],
        "seconds": row["seconds"],
        "loss": row["loss"],
        "bits_per_byte": figures.get("bits_per_byte"),
    }


def _thinned(curve: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every so manieth point, all that carry an evaluation, and the last."""
    every = max(len(curve) // CURVE_POINTS, 1)
    return [
        point
        for n, point in enumerate(curve)
        if n % every == 0 or point["bits_per_byte"] is not None or n == len(curve) - 1
    ]
