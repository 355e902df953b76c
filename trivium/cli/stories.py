"""``trivium stories``."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.markup import escape
from tyro.conf import Positional, arg, subcommand

from trivium.cli._print import console, print_json, table
from trivium.compare.contender import build
from trivium.core.progress import progress
from trivium.data.named import named
from trivium.data.sentences import sentences
from trivium.models.sources import load
from trivium.training.settings import TrainingSettings
from trivium.training.stories import Rounds, improve, preferences, teach_value


@dataclass(frozen=True)
class Train:
    """Train a model on the trees of its own searches, round by round.

    Example: trivium stories train --model tiny --folder runs/teller

    Then: trivium generate "Once upon a time" --model runs/teller/model --decoder cosmos
    """

    folder: Path
    """Where trees, checkpoints and, in model/, the trained model go."""
    model: str = "smollm2-135m"
    """The writer to begin with: a folder, a known name or a hub identifier."""
    decoder: Positional[str] = "cosmos(simulations=24)"
    """How it searches, written like a call."""
    corpus: str = "stories"
    """Stories whose first sentences are gone on from: stories, or a text file or folder."""
    fit: int = 64
    """Stories to whose sentences the curve is fitted first; 0 keeps its centre and spread."""
    recipe: Rounds = field(default_factory=Rounds)
    """Of the rounds."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the outcome as JSON."""

    def run(self) -> int:
        searching = build("decoding", self.decoder)
        if not hasattr(searching, "search"):
            raise ValueError(f"{self.decoder} grows no trees to learn from; search with cosmos")
        system, corpus = load(self.model), named(self.corpus)
        searching = system.fit(searching)
        if self.fit and searching.value == "curve":
            searching = searching.fit(system.model, list(corpus["train"])[: self.fit])
        openings = ["".join(sentences(text)[:2]) for text in corpus["train"] if len(sentences(text)) > 2]
        with progress("learning from trees", 1) as bar:
            found = improve(system, searching, openings, self.folder, recipe=self.recipe, bar=bar)
        if self.json:
            print_json({**found, "centre": searching.centre, "spread": searching.spread})
            return 0
        rows = table("round", "pairs", "loss", "value", "surprisal", "repeated")
        for one in found["rounds"]:
            figures = (f"{one[name]:.3f}" for name in ("loss", "value", "surprisal", "repeated"))
            rows.add_row(str(one["round"] + 1), str(one["pairs"]), *figures)
        out = console()
        out.print(rows)
        out.print(escape(f"model: {found['folder']}"), style="bold")
        return 0


@dataclass(frozen=True)
class Value:
    """Train a value model: which sentence goes on with a story, read by a frozen model.

    Example: trivium stories value --model tiny --folder runs/value

    Then: trivium generate "Once upon a time" --model tiny --decoder 'cosmos(value="model", folder="runs/value")'
    """

    folder: Path
    """Where the head goes: card.json and value.safetensors, and in work/ what an interrupted run goes on from."""
    model: str = "smollm2-135m"
    """The model that reads: a folder, a known name or a hub identifier. The head fits this model only."""
    corpus: str = "stories"
    """Stories that people wrote: a text file or folder; or stories, which are made."""
    stories: int = 512
    """How many of them."""
    by: Literal["pairwise", "binary"] = "pairwise"
    """Winners above their losers, or winners 1 and losers 0."""
    steps: int = 200
    """Updates of the head."""
    learning_rate: float = 1e-3
    """The peak."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the outcome as JSON."""

    def run(self) -> int:
        searching: Any = build("decoding", "cosmos")
        system = load(self.model)
        pairs = preferences(system, list(named(self.corpus)["train"])[: self.stories])
        training = TrainingSettings(weight_decay=0.0, checkpoint_every=25)
        training = replace(training, steps=self.steps, learning_rate=self.learning_rate)
        with progress("teaching a value model", self.steps) as bar:
            found = teach_value(searching, system, pairs, self.folder, training=training, by=self.by, bar=bar)
        if self.json:
            print_json(found)
            return 0
        out = console()
        out.print(f"{found['steps']} steps, loss {found['loss']:.4g}, right in {found['accuracy']:.1%} of unseen pairs")
        out.print(escape(f'use it: cosmos(value="model", folder="{self.folder}")'), style="bold")
        return 0


@dataclass(frozen=True)
class Command:
    """Teach a model to tell stories: from the trees of its own searches, or a value model to guide them.

    Example: trivium stories train --model tiny --folder runs/teller

    After an interruption the same command goes on.
    """

    do: (
        Annotated[Train, subcommand("train", prefix_name=False)]
        | Annotated[Value, subcommand("value", prefix_name=False)]
    )

    def run(self) -> int:
        return self.do.run()
