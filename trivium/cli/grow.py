"""``trivium grow``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.markup import escape
from tyro.conf import arg, subcommand

from trivium.cli._print import console, print_json, table
from trivium.core.progress import progress
from trivium.data.named import named
from trivium.models.sources import load
from trivium.training.growing import Further, deepen, widen_context


@dataclass(frozen=True)
class Depth:
    """Make a deeper model: a block of layers in a row stands twice, and the whole is trained further (as for Yi).

    Example: trivium grow depth --model tiny --copies 2 --folder runs/deeper

    Then: trivium generate "Once upon a time" --model runs/deeper/model
    """

    folder: Path
    """Where growth.json, checkpoints and, in model/, the deeper model go."""
    model: str = "smollm2-135m"
    """The model to begin with: a folder, a known name or a hub identifier."""
    copies: int | None = None
    """Layers in a row to copy; half of them by default."""
    first: int | None = None
    """Where they begin; by default where layers change their input least."""
    mode: Literal["duplicate", "identity"] = "duplicate"
    """Whether copies do what their layer does, or at first nothing, so that the model starts as the one it was."""
    corpus: tuple[str, ...] = ("stories",)
    """What to train on: stories, python_docs, python_code, text files or folders."""
    recipe: Further = field(default_factory=Further)
    """Of the training."""
    device: str = "cpu"
    """Where the model runs, such as cpu, cuda or cuda:1."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the outcome as JSON."""

    def run(self) -> int:
        system, sources = load(self.model, device=self.device), [named(name) for name in self.corpus]
        with progress("making a deeper model", max(self.recipe.steps, 1)) as bar:
            card = deepen(
                system,
                sources,
                self.folder,
                copies=self.copies,
                first=self.first,
                mode=self.mode,
                recipe=self.recipe,
                bar=bar,
            )
        if self.json:
            print_json(card)
            return 0
        rows = table("layer", "similarity", "")
        for layer, alike in enumerate(card["similarity"]):
            rows.add_row(str(layer), f"{alike:.3f}", "stands twice" if card["first"] <= layer < card["last"] else "")
        console().print(rows)
        _tell(card, self.folder)
        return 0


@dataclass(frozen=True)
class Context:
    """Make a model for longer texts: rotary positions turn more slowly, and it is trained further on long documents.

    Example: trivium grow context --model smollm2-135m --context 16384 --base 5e6 --length 4096 --folder runs/longer

    Then: trivium generate "..." --model runs/longer/model
    """

    folder: Path
    """Where growth.json, checkpoints and, in model/, the model go."""
    context: int
    """Tokens that the model shall accept."""
    model: str = "smollm2-135m"
    """The model to begin with: a folder, a known name or a hub identifier."""
    base: float | None = None
    """The new base of the rotary positions; by default that of the model."""
    factor: float = 1.0
    """By which positions are divided (interpolation); 1 leaves them."""
    corpus: tuple[str, ...] = ("python_docs",)
    """What to train on: stories, python_docs, python_code, text files or folders. Some documents must fill a row."""
    recipe: Further = field(default_factory=Further)
    """Of the training."""
    device: str = "cpu"
    """Where the model runs, such as cpu, cuda or cuda:1."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the outcome as JSON."""

    def run(self) -> int:
        system, sources = load(self.model, device=self.device), [named(name) for name in self.corpus]
        with progress("making a longer context", max(self.recipe.steps, 1)) as bar:
            card = widen_context(
                system,
                sources,
                self.folder,
                context=self.context,
                base=self.base,
                factor=self.factor,
                recipe=self.recipe,
                bar=bar,
            )
        if self.json:
            print_json(card)
            return 0
        _tell(card, self.folder)
        return 0


def _tell(card: dict[str, Any], folder: Path) -> None:
    out = console()
    after = card.get("after", {})
    rows = table("on held-out text", "before training", "after")
    for name, value in card["before"].items():
        rows.add_row(name.replace("_", " "), f"{value:.3f}", f"{after[name]:.3f}" if name in after else "")
    out.print(rows)
    out.print(f"{card['parameters']} parameters, {card.get('steps', 0)} steps")
    out.print(escape(f"model: {folder / 'model'}"), style="bold")


@dataclass(frozen=True)
class Command:
    """Make more of a trained model: a deeper one, or one for longer texts, trained further.

    Example: trivium grow depth --model tiny --copies 2 --folder runs/deeper

    After an interruption the same command goes on.
    """

    do: (
        Annotated[Depth, subcommand("depth", prefix_name=False)]
        | Annotated[Context, subcommand("context", prefix_name=False)]
    )

    def run(self) -> int:
        return self.do.run()
