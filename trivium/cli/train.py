"""``trivium train``."""

import os
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
from trivium.models import saving
from trivium.models.huggingface import HuggingFaceModel
from trivium.models.likelihood import bits_per_byte
from trivium.models.sources import load
from trivium.tokenization.byte import ByteTokenizer
from trivium.training.checkpoint import tensors_of
from trivium.training.loop import TrainingResult, train
from trivium.training.parallel import gathered
from trivium.training.settings import TrainingSettings

HELD_OUT = 32
"""Validation documents that an evaluation looks at."""


@dataclass(frozen=True)
class Command:
    """Train one model, from scratch or from a pretrained one, with exact resume.

    Example: trivium train --architecture "llama(width=128)" --corpus stories --steps 500 --folder runs/llama
    Run the same command again to go on after an interruption; start it with torchrun to shard the model with FSDP2.
    """

    folder: Path = Path("runs/train")
    """Where the run goes: run.json, curve.jsonl, checkpoints, and the trained model in model/."""
    architecture: str = "llama"
    """A method of the kind architectures, written like a call."""
    start_from: str | None = None
    """Go on training this model (a folder, a known name or a hub identifier) instead of a new one."""
    objective: str = "causal"
    """A method of the kind objectives, written like a call."""
    corpus: str = "stories"
    """stories, python_docs, python_code, regbench, mqar, induction, needle, or a text file or folder."""
    tokenizer: str | None = None
    """A model whose tokenizer to use; bytes by default, or that of --start-from."""
    length: int = 256
    """Tokens in a row."""
    batch_size: int = 16
    """Rows in a batch, over all processes."""
    budget: str | None = None
    """How much may be spent, such as '1e13 flops' or '600 seconds'; in place of --steps."""
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    """Of the training loop."""
    sample: str | None = "Once upon a time"
    """Let the trained model go on from this text at the end."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the outcome as JSON."""

    def run(self) -> int:
        objective = build("objectives", self.objective)
        recipe = build("architectures", self.architecture)
        budget = Budget.parse(self.budget) if self.budget else None
        settings = self.settings
        if settings.steps is None and budget is None:
            raise ValueError("say how long to train: --steps 1000, or --budget '1e13 flops' or '600 seconds'")
        tokenizer: Any = ByteTokenizer() if self.tokenizer is None else load(self.tokenizer).tokenizer
        if self.start_from is not None:
            started = load(self.start_from)
            model, tokenizer = started.model, started.tokenizer
        else:
            model = recipe.build(tokenizer.vocab_size, seed=settings.seed)
        corpus = named(self.corpus)
        batches = Batches(tokenised(corpus["train"], tokenizer), self.length, self.batch_size, settings.seed)
        held_out = list(corpus["validation"])[:HELD_OUT]
        if settings.checkpoint_every is None:
            settings = replace(settings, checkpoint_every=100)

        def evaluate(model: LanguageModel) -> dict[str, float]:
            return {"bits_per_byte": bits_per_byte(model, held_out, tokenizer, length=self.length)}

        first = os.environ.get("RANK", "0") == "0"
        total = settings.steps or 100
        with progress(f"training on {corpus.name}", total, show=None if first else False) as bar:
            result = train(
                model, objective, batches, settings, folder=self.folder, budget=budget, evaluate=evaluate, bar=bar
            )
        # All processes take part in gathering; one writes.
        weights = {name: gathered(tensor).detach() for name, tensor in tensors_of(model).items()}
        if first:
            self._save(model, weights, tokenizer, recipe)
            self._tell(result, describe(objective))
        return 1 if result.diverged else 0

    def _save(self, model: LanguageModel, weights: dict[str, Any], tokenizer: Any, recipe: Any) -> None:
        """The trained model, in a folder that ``load`` and transformers open."""
        target = self.folder / "model"
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
            "model": str(self.folder / "model"),
        }
        text = ""
        if self.sample and not result.diverged:
            text = load(str(self.folder / "model")).write(self.sample, build("decoding", "top_p(p=0.9)"), limit=80)
            outcome["sample"] = self.sample + text
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
        if text:
            out.print(f"[bold]{escape(self.sample or '')}[/bold]{escape(printable(text))}")
        out.print(f"model: {self.folder / 'model'}")
