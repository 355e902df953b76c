"""``trivium decoder``."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from rich.markup import escape
from tyro.conf import Positional, arg

from trivium.cli._print import console, print_json, table
from trivium.compare.contender import build
from trivium.core.method import card_of
from trivium.core.progress import progress
from trivium.models.sources import load
from trivium.training.classifiers import teach_classifier
from trivium.training.drafters import Texts
from trivium.training.settings import TrainingSettings


@dataclass(frozen=True)
class Command:
    """Train what a decoder guides its search with: a classifier, on what the model itself writes.

    Example: trivium decoder train "conditional_beam_search(attribute=learned)" --folder judge/

    For lengths write attribute=learned(of=length). Then: trivium generate "Once upon a time" --decoder
    'conditional_beam_search(attribute=learned(folder="judge/"))'

    After an interruption the same command goes on. What is made belongs to that very model: another one refuses it.
    """

    do: Positional[Literal["train"]]
    """What to do."""
    decoder: Positional[str]
    """A decoder with something to train, written like a call."""
    folder: Path
    """Where it goes: card.json and classifier.safetensors, and in work/ what an interrupted run goes on from."""
    model: str = "smollm2-135m"
    """A folder, a known name or a hub identifier. A classifier fits this model only."""
    texts: Texts = field(default_factory=lambda: Texts(temperature=1.0))
    """Of what the model writes."""
    steps: int = 300
    """Updates of the classifier's weights."""
    learning_rate: float = 1e-3
    """The peak of a cosine with a warm-up."""
    lessons: Path | None = None
    """A folder for the texts and hidden states, which several classifiers and drafters of one model may share."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the outcome as JSON."""

    def run(self) -> int:
        decoder = build("decoding", self.decoder)
        learner, name = getattr(decoder, "learner", None), card_of(decoder).name
        if learner is None:
            raise ValueError(f"{self.decoder} has nothing to train; try conditional_beam_search(attribute=learned)")
        if learner.folder is not None:
            raise ValueError(f"a new one is trained, so leave folder={learner.folder!r} away; --folder says where to")
        training = TrainingSettings(
            steps=self.steps, learning_rate=self.learning_rate, weight_decay=0.01, checkpoint_every=25
        )
        system = load(self.model)
        with progress(f"teaching {name}", self.texts.count + self.steps) as bar:
            found = teach_classifier(
                learner, system, self.folder, texts=self.texts, training=training, lessons=self.lessons, bar=bar
            )
        ready = replace(learner, folder=str(self.folder))
        if self.json:
            print_json(found)
            return 0
        out, measured = console(), found["calibration"]
        rows = table("guesses", "said on average", "came")
        for count, mean, often in measured["bins"]:
            rows.add_row(str(count), f"{mean:.1%}", f"{often:.1%}")
        out.print(rows)
        out.print(
            f"{found['steps']} steps, loss {found['loss']:.4g}; calibration error {measured['error']:.3f}, log loss "
            f"{measured['log_loss']:.4g} against {measured['log_loss_of_frequency']:.4g} of the mere frequency"
        )
        of = ", of=length(at_least=12, at_most=12)" if ready.build(system.model).out.out_features > 1 else ""
        out.print(escape(f'use it: {name}(attribute=learned(folder="{self.folder}"{of}))'), style="bold")
        return 0
