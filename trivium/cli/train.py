"""``trivium train``."""

import os
import runpy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from rich.markup import escape
from tyro.conf import arg

from trivium.cli._print import console, print_json
from trivium.compare.contender import build, describe
from trivium.core.budget import Budget
from trivium.core.progress import progress
from trivium.core.protocols import LanguageModel
from trivium.core.text import printable
from trivium.data.batches import Batches
from trivium.data.named import named
from trivium.data.packing import tokenised
from trivium.data.prepared import LENGTH, Prepared
from trivium.models import saving
from trivium.models.huggingface import HuggingFaceModel
from trivium.models.likelihood import bits_per_byte
from trivium.models.sources import check_there, load
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer
from trivium.tokenization.files import restore
from trivium.training.checkpoint import Checkpoints
from trivium.training.loop import TrainingResult, train
from trivium.training.settings import TrainingSettings
from trivium.training.trackers import Name as Tracked
from trivium.training.trackers import tracker

HELD_OUT = 32
"""Validation documents that an evaluation looks at."""
SAMPLED = 80
"""Tokens of a sample."""
RECIPE = ("architecture", "objective", "corpus", "tokenizer", "length", "batch_size", "budget", "settings", "sample")
"""What a recipe may define."""


@dataclass(frozen=True)
class Command:
    """Train one model, from scratch or from a pretrained one, with exact resume.

    Example: trivium train --architecture "llama(width=128)" --corpus stories --steps 500 --folder runs/llama

    Run the same command again to go on after an interruption. Under torchrun --nproc-per-node N -m trivium train ...
    N processes share the work: its data by default (FSDP2), matrices and blocks too as --tensor and --pipeline say.
    """

    folder: Path = Path("runs/train")
    """Where the run goes: run.json, curve.jsonl, checkpoints, and the trained model in model/."""
    recipe: Path | None = None
    """A Python file whose variables architecture, objective, corpus, settings, ... stand in place of these options:
    objects of your own, or text."""
    architecture: str = "llama"
    """A method of the kind architectures, written like a call."""
    start_from: str | None = None
    """Go on training this model (a folder, a known name or a hub identifier) instead of a new one."""
    objective: str = "causal"
    """A method of the kind objectives, written like a call."""
    corpus: str = "stories"
    """stories, python_docs, python_code, regbench, mqar, induction, needle, a text file or folder, or what trivium
    shards wrote."""
    shards: Path | None = None
    """Tokens on disk, in place of --corpus: what trivium shards wrote, or trivium curate with a tokenizer into the
    folder packed/ of its own. Rows are read as they are wanted, each epoch in an order that --seed draws."""
    tokenizer: str | None = None
    """A model whose tokenizer to use; bytes by default, or that of --start-from or of the shards."""
    length: int | None = None
    """Tokens in a row: 256 by default, and of packed shards always theirs."""
    batch_size: int = 16
    """Rows in a batch, over all processes."""
    budget: str | None = None
    """How much may be spent, such as '1e13 flops' or '600 seconds'; in place of --steps."""
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    """Of the training loop."""
    sample: str | None = "Once upon a time"
    """Let the model go on from this text at every evaluation; None lets it be."""
    trackers: tuple[Tracked, ...] = ()
    """Follow the run in TensorBoard, Weights & Biases or MLflow as well."""
    project: str = "trivium"
    """What the run belongs to there: the project of wandb, the experiment of mlflow."""
    device: str = "cpu"
    """Where it trains: cpu, or cuda for a GPU, one for each process under torchrun."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the outcome as JSON."""

    def run(self) -> int:
        return (self if self.recipe is None else self._with(self.recipe))._run()

    def _with(self, path: Path) -> "Command":
        """This command with what a recipe defines. Steps that are given here hold for it too."""
        try:
            found = runpy.run_path(str(path))
        except OSError as error:
            raise ValueError(f"the recipe {path} cannot be read: {error}") from error
        mine = {name: found[name] for name in RECIPE if name in found}
        if not mine:
            raise ValueError(f"{path} defines none of {', '.join(RECIPE)}, so it is no recipe")
        if "settings" in mine and self.settings.steps is not None:
            mine["settings"] = replace(mine["settings"], steps=self.settings.steps)
        return replace(self, recipe=None, **mine)

    def _run(self) -> int:
        objective = _made("objectives", self.objective)
        recipe = _made("architectures", self.architecture)
        budget = Budget.parse(self.budget) if self.budget else None
        settings = self.settings
        if settings.steps is None and budget is None:
            raise ValueError("say how long to train: --steps 1000, or --budget '1e13 flops' or '600 seconds'")
        source: Any = self.corpus if self.shards is None else str(self.shards)
        prepared = Prepared.named(source) if self.shards is not None else _prepared(source)
        length = self.length or (prepared.length if prepared is not None else None) or LENGTH
        tokenizer = self._tokenizer(prepared)
        device = check_there(f"cuda:{os.environ['LOCAL_RANK']}" if self._one_of_many() else self.device)
        if self.start_from is not None:
            started = load(self.start_from, device=device)
            model, tokenizer = started.model, started.tokenizer
            if prepared is not None and prepared.shards.facts["vocab_size"] != tokenizer.vocab_size:
                raise ValueError(
                    f"{source} has ids of a vocabulary of {prepared.shards.facts['vocab_size']}, "
                    f"{self.start_from} one of {tokenizer.vocab_size}; write them with --tokenizer {self.start_from}"
                )
        else:
            model = recipe.build(tokenizer.vocab_size, seed=settings.seed).to(device)
        if prepared is not None:
            name, held_out = prepared.name, prepared.validation[:HELD_OUT]
            batches: Any = prepared.batches(self.length, self.batch_size, settings.seed)
        else:
            corpus = named(source) if isinstance(source, str) else source
            name, held_out = corpus.name, list(corpus["validation"])[:HELD_OUT]
            batches = Batches(tokenised(corpus["train"], tokenizer), length, self.batch_size, settings.seed)
        if settings.checkpoint_every is None:
            settings = replace(settings, checkpoint_every=100)

        def evaluate(model: LanguageModel) -> dict[str, float]:
            return {"bits_per_byte": bits_per_byte(model, held_out, tokenizer, length=length)}

        def go_on(model: LanguageModel) -> str:
            written = System(model, tokenizer, name="in training").write(self.sample or "", voice, limit=SAMPLED)
            return printable(f"{self.sample}{written}")

        voice = build("decoding", "top_p(p=0.9)")
        followed = [tracker(name, self.folder, self.project) for name in self.trackers]
        first = os.environ.get("RANK", "0") == "0"
        total = settings.steps or 100
        with progress(f"training on {name}", total, show=None if first else False) as bar:
            result = train(
                model,
                objective,
                batches,
                settings,
                folder=self.folder,
                budget=budget,
                evaluate=evaluate if held_out else None,
                sample=go_on if self.sample else None,
                trackers=followed,
                bar=bar,
            )
        if first:
            if not result.diverged:
                self._save(model, tokenizer, recipe)
            self._tell(result, describe(objective))
        return 1 if result.diverged else 0

    def _one_of_many(self) -> bool:
        """Whether this is a process of torchrun that takes a GPU of its own."""
        return self.device == "cuda" and "LOCAL_RANK" in os.environ

    def _tokenizer(self, prepared: Prepared | None) -> Any:
        if prepared is None:
            return ByteTokenizer() if self.tokenizer is None else load(self.tokenizer).tokenizer
        if self.tokenizer is not None:
            raise ValueError(f"{prepared.folder} is tokenised already; leave out --tokenizer")
        return restore(prepared.tokenizer_folder)

    def _save(self, model: LanguageModel, tokenizer: Any, recipe: Any) -> None:
        """The trained model, in a folder that ``load`` and transformers open; from the last checkpoint, which has it
        whole wherever its parts are."""
        target = self.folder / "model"
        last = Checkpoints(self.folder / "checkpoints").latest()
        assert last is not None
        weights = last.weights
        if isinstance(model, HuggingFaceModel):
            inner = {name.removeprefix("inner."): tensor for name, tensor in weights.items()}
            model.inner.save_pretrained(target, state_dict=inner)
            tokenizer.save(target)
            return
        fresh: Any = recipe.build(tokenizer.vocab_size) if self.start_from is None else load(self.start_from).model
        fresh.load_state_dict(weights, strict=False)  # a tied head stands there once
        saving.save(fresh, target, tokenizer)

    def _tell(self, result: TrainingResult, objective: str) -> None:
        outcome = {
            "steps": result.steps,
            "loss": result.loss,
            **result.evaluation,
            "objective": objective,
            "spent": result.spent.to_dict(),
            "diverged": result.diverged,
            "model": None if result.diverged else str(self.folder / "model"),
        }
        text = next((row["sample"] for row in reversed(result.curve) if "sample" in row), None)
        if text is not None:
            outcome["sample"] = text
        if self.json:
            print_json(outcome)
            return
        out = console()
        if result.diverged:
            out.print(f"the training diverged: {escape(result.diverged)}; lower the learning rate", style="red")
        figures = ", ".join(f"{name} {value:.4g}" for name, value in result.evaluation.items())
        spent = result.spent
        out.print(f"{result.steps} steps, loss {result.loss:.4g}, {figures}")
        out.print(f"{spent.tokens:.3g} tokens, {spent.flops:.3g} FLOPs, {spent.seconds:.0f} s", style="dim")
        if not result.diverged:
            out.print(f"model: {self.folder / 'model'}")


def _prepared(source: Any) -> Prepared | None:
    """The shards that a text names, if it does."""
    return Prepared(source) if isinstance(source, str) and Prepared.there(source) else None


def _made(kind: str, said: Any) -> Any:
    """The method that a text describes; an object from a recipe as it is."""
    return build(kind, said) if isinstance(said, str) else said
