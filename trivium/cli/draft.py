"""``trivium draft``."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.markup import escape
from tyro.conf import Positional, arg, subcommand

from trivium.cli._print import console, print_json, table
from trivium.compare.contender import build
from trivium.core.method import card_of
from trivium.core.progress import progress
from trivium.models.sources import load
from trivium.training.distil import Recipe, make_draft
from trivium.training.drafters import Texts, teach
from trivium.training.settings import TrainingSettings


@dataclass(frozen=True)
class Train:
    """Train a drafter that reads its target's hidden states, on what the target itself writes.

    Example: trivium draft train medusa --model smollm2-135m --folder heads/

    Then: trivium generate "Once upon a time" --decoder 'speculative(drafter=medusa(folder="heads/"))'
    """

    drafter: Positional[str]
    """A drafter written like a call: medusa, "medusa(heads=3)", hidden_transfer, chimera, m2r2."""
    folder: Path
    """Where the drafter goes: card.json and draft.safetensors, and in work/ what an interrupted run goes on from."""
    model: str = "smollm2-135m"
    """The target: a folder, a known name or a hub identifier. A drafter fits this model only."""
    texts: Texts = field(default_factory=Texts)
    """Of what the target writes."""
    steps: int = 400
    """Updates of the drafter's weights."""
    learning_rate: float = 1e-3
    """The peak of a cosine with a warm-up."""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """Number format in which the target runs; what is learned is kept in float32 at least. bfloat16 is faster on
    processors that have it."""
    device: str = "cpu"
    """Where the model runs, such as cpu, cuda or cuda:1."""
    lessons: Path | None = None
    """A folder for the texts and hidden states, which several drafters of one target may share."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the outcome as JSON."""

    def run(self) -> int:
        drafter = build("drafting", self.drafter)
        if not hasattr(drafter, "loss"):
            raise ValueError(
                f"{card_of(drafter).name} has nothing to train; try medusa, hidden_transfer, chimera or m2r2"
            )
        if drafter.folder is not None:
            raise ValueError(
                f"a new drafter is trained, so leave folder={drafter.folder!r} away; --folder says where to"
            )
        training = TrainingSettings(
            steps=self.steps,
            learning_rate=self.learning_rate,
            weight_decay=0.0,
            checkpoint_every=25,
            precision="bfloat16" if self.dtype == "bfloat16" else "float32",
        )
        system = load(self.model, dtype=self.dtype, device=self.device)
        with progress(f"teaching {card_of(drafter).name}", self.texts.count + self.steps) as bar:
            found = teach(
                drafter, system, self.folder, texts=self.texts, training=training, lessons=self.lessons, bar=bar
            )
        ready = replace(drafter, folder=str(self.folder))
        found |= {
            "drafter": f'{card_of(drafter).name}(folder="{self.folder}")',
            "expected_length": ready.shape.expected(found["accuracy"]),
        }
        if self.json:
            print_json(found)
            return 0
        out = console()
        rows = table("token ahead", "right", "among the top 3", "among the top 10")
        for ahead, rates in enumerate(found["accuracy"], 1):
            rows.add_row(str(ahead), *(f"{sum(rates[:top]):.1%}" for top in (1, 3, 10)))
        out.print(rows)
        out.print(
            f"{found['steps']} steps, loss {found['loss']:.4g}; at best {found['expected_length']:.2f} tokens a pass"
        )
        out.print(escape(f"use it: speculative(drafter={found['drafter']})"), style="bold")
        return 0


@dataclass(frozen=True)
class Make:
    """Make a small model that drafts for a large one: some of its layers, taught on what it writes.

    Example: trivium draft make --model smollm2-135m --layers 4 --folder draft/

    Then: trivium generate "Once upon a time" --decoder 'speculative(drafter=draft_model(model="draft/"))'
    """

    folder: Path
    """Where the model goes, in a form that every command loads."""
    model: str = "smollm2-135m"
    """The target: a folder, a known name or a hub identifier."""
    layers: int = 4
    """Layers of the target that the draft keeps."""
    keep: tuple[int, ...] = ()
    """Which layers, by number; by default spread evenly."""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """Number format in which the target runs; what is learned is kept in float32 at least. bfloat16 is faster on
    processors that have it."""
    device: str = "cpu"
    """Where the model runs, such as cpu, cuda or cuda:1."""
    recipe: Recipe = field(default_factory=Recipe)
    """Of the teaching."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the outcome as JSON."""

    def run(self) -> int:
        system = load(self.model, dtype=self.dtype, device=self.device)
        with progress("making a draft", 100) as bar:
            card = make_draft(
                system, folder=self.folder, layers=self.layers, keep=self.keep or None, recipe=self.recipe, bar=bar
            )
        if self.json:
            print_json(card)
            return 0
        self._tell(card)
        return 0

    def _tell(self, card: dict[str, Any]) -> None:
        out = console()
        figures = {name: value for name, value in card.items() if isinstance(value, (int, float, str))}
        out.print(", ".join(escape(f"{name} {value}") for name, value in figures.items()))
        out.print(escape(f'use it: speculative(drafter=draft_model(model="{self.folder}"))'), style="bold")


@dataclass(frozen=True)
class Command:
    """Make a drafter for a model: train one that reads its states, or cut a small model out of it.

    Example: trivium draft train medusa --model smollm2-135m --folder heads/

    Both learn from what the model itself writes and take minutes on two cores for SmolLM2. After an interruption the
    same command goes on. What is made belongs to that very model: another one refuses it.
    """

    do: (
        Annotated[Train, subcommand("train", prefix_name=False)]
        | Annotated[Make, subcommand("make", prefix_name=False)]
    )

    def run(self) -> int:
        return self.do.run()
