"""Training against plain PyTorch, the transformers Trainer and litgpt: Llama-style decoders in float32, two threads.

All sides make the same number of AdamW steps on the same rows, at the same constant rate, clipped alike. All but
litgpt, which draws its own, begin with the same weights and must come to the same mean loss. Logging, saving and
evaluation are off. A vocabulary of 8192 is what models of this size are given in practice; bytes are the other end,
where the loss costs nothing. Plain PyTorch is ``_plain``, a loop and a model of a hundred lines that do nothing else.

What holds it back (torch profiler, two cores with AVX2): two thirds of a step are matrix products and an eighth is
attention, the same kernels on all sides; all of the difference is made in the remaining fifth.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, SequentialSampler
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, ProgressCallback, Trainer, TrainingArguments

from benchmarks import _plain
from benchmarks._worker import worker
from benchmarks.pairs import in_turns, processor, ratio_of
from trivium.architectures.llama import Llama
from trivium.core.nouns import Batch
from trivium.core.seeds import generator
from trivium.objectives.causal import Causal
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

ROWS, TIME, RATE = 8, 256, 1e-3
TARGETS = {"plain PyTorch": 1.0, "Trainer": 1.3, "litgpt": 1.1}


@dataclass
class Shape:
    """A model and its vocabulary; updates of one run."""

    title: str
    vocab: int
    recipe: Llama
    steps: int


SHAPES = (
    Shape("3 M, vocabulary of 8192", 8192, Llama(width=192, depth=4, heads=4, context=TIME), 12),
    Shape("3 M, bytes", 259, Llama(width=256, depth=4, heads=4, context=TIME), 12),
    Shape("20 M, vocabulary of 8192", 8192, Llama(width=384, depth=9, heads=6, context=TIME), 4),
)

Prepared = Callable[[], float]
"""Trains a model that is ready, and says its mean loss."""


class Rows(Dataset):
    """Rows of counting numbers: for the Trainer by row, for the loop by step."""

    def __init__(self, steps: int, vocab: int) -> None:
        self.starts = torch.randint(0, vocab, (steps * ROWS,), generator=generator(0, "rows", vocab))
        self.ids: Tensor = (self.starts[:, None] + torch.arange(TIME)) % vocab

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.ids[index], "labels": self.ids[index]}

    def batch(self, step: int) -> Batch:
        return Batch(self.ids[step * ROWS : (step + 1) * ROWS])


def run(*, repeats: int = 5, warmup: int = 1, threads: int = 2, litgpt: str | None = None) -> dict[str, Any]:
    """``litgpt``: the Python of an environment with litgpt; without it that side is left out."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found, notes = [], [processor()]
        for shape in SHAPES:
            ratios, note = _compare(shape, repeats, warmup, threads, litgpt)
            found += ratios
            notes.append(note)
        if litgpt is None:
            notes.append("litgpt was left out; give --litgpt PYTHON, that of an environment with the package")
        return {"rows": found, "notes": notes}
    finally:
        torch.set_num_threads(before)


def _compare(
    shape: Shape, repeats: int, warmup: int, threads: int, litgpt: str | None
) -> tuple[list[dict[str, Any]], str]:
    rows = Rows(shape.steps, shape.vocab)
    runs = repeats + warmup
    losses: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, _litgpt(shape, rows, runs, threads, litgpt) as elsewhere:
        sides: dict[str, Callable[[], Prepared]] = {
            "trivium": lambda: _loop(shape, rows),
            "plain PyTorch": lambda: _bare(shape, rows),
            "Trainer": lambda: _trainer(shape, rows, folder),
        }
        bodies = {name: _next_of(name, [prepare() for _ in range(runs)], losses) for name, prepare in sides.items()}
        if elsewhere is not None:
            bodies["litgpt"] = _next_of("litgpt", [elsewhere] * runs, losses)
        took = in_turns(bodies, repeats=repeats, warmup=warmup)
    for name in ("plain PyTorch", "Trainer"):  # the Trainer divides by the tokens, not the predictions
        if abs(losses[name] / losses["trivium"] - 1) > 0.01:
            raise RuntimeError(f"the sides did not train alike: mean losses {losses}")
    ratios = [
        ratio_of(f"training / {name}, {shape.title}", took["trivium"], took[name], target)
        for name, target in TARGETS.items()
        if name in took
    ]
    parameters = sum(parameter.numel() for parameter in shape.recipe.build(shape.vocab).parameters())
    tokens = shape.steps * ROWS * TIME
    speeds = ", ".join(f"{name} {tokens / sorted(each)[len(each) // 2]:.0f}" for name, each in took.items())
    alike = ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
    return ratios, f"{shape.title}: {parameters / 1e6:.1f} M parameters; tokens/s {speeds}; mean losses {alike}"


def _next_of(name: str, prepared: list[Prepared], losses: dict[str, float]) -> Callable[[], None]:
    """Each call runs the next of what was prepared, so that preparing is not timed."""

    def body() -> None:
        losses[name] = prepared.pop()()

    return body


def _loop(shape: Shape, rows: Rows) -> Prepared:
    model = shape.recipe.build(shape.vocab)
    settings = TrainingSettings(
        steps=shape.steps, learning_rate=RATE, schedule="constant", warmup=0.0, weight_decay=0.0
    )

    def body() -> float:
        curve = train(model, Causal(), rows, settings).curve
        return sum(row["loss"] for row in curve) / shape.steps

    return body


def _bare(shape: Shape, rows: Rows) -> Prepared:
    recipe, native = shape.recipe, shape.recipe.build(shape.vocab)
    weights = dict(native.named_parameters())
    hidden = weights["blocks.0.channel.up_proj.weight"].shape[0]
    model = _plain.Decoder(shape.vocab, recipe.width, recipe.depth, recipe.heads, hidden, TIME, recipe.eps)
    model.load_state_dict({name: parameter.detach().clone() for name, parameter in weights.items()})
    batches = [rows.batch(step).ids for step in range(shape.steps)]
    return lambda: _plain.trained(model, batches, RATE)


@contextmanager
def _litgpt(shape: Shape, rows: Rows, runs: int, threads: int, python: str | None) -> Iterator[Prepared | None]:
    """A process that holds litgpt's models ready and trains the next one when told to."""
    if python is None:
        yield None
        return
    recipe = shape.recipe
    hidden = dict(recipe.build(shape.vocab).named_parameters())["blocks.0.channel.up_proj.weight"].shape[0]
    said = {
        "threads": threads, "time": TIME, "rows": ROWS, "rate": RATE, "runs": runs, "vocab": shape.vocab,
        "depth": recipe.depth, "width": recipe.width, "heads": recipe.heads, "hidden": hidden,
        "starts": rows.starts.tolist(),
    }  # fmt: skip
    with worker(python, "_litgpt.py", said) as ask:
        yield lambda: ask("go")["loss"]


class InOrder(Trainer):
    """The Trainer on rows in their order, as the loop sees them."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> SequentialSampler:
        return SequentialSampler(train_dataset or self.train_dataset)  # type: ignore[arg-type]


def _trainer(shape: Shape, rows: Rows, folder: str) -> Prepared:
    asked = TrainingArguments(
        folder,
        per_device_train_batch_size=ROWS,
        max_steps=shape.steps,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        adam_beta2=0.95,
        max_grad_norm=1.0,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        remove_unused_columns=False,
    )
    trainer = InOrder(_twin(shape), asked, train_dataset=rows)
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    return lambda: trainer.train().training_loss


NAMES = {
    "embedding.": "model.embed_tokens.",
    "blocks.": "model.layers.",
    ".mixer.": ".self_attn.",
    ".channel.": ".mlp.",
    ".mixer_norm.gain": ".input_layernorm.weight",
    ".channel_norm.gain": ".post_attention_layernorm.weight",
    "norm.gain": "model.norm.weight",
}


def _twin(shape: Shape) -> LlamaForCausalLM:
    """The model of transformers, with the weights that the recipe builds."""
    recipe, native = shape.recipe, shape.recipe.build(shape.vocab)
    weights = {}
    for name, parameter in native.named_parameters():
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        weights[name] = parameter.detach()
    config = LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=recipe.width,
        num_hidden_layers=recipe.depth,
        num_attention_heads=recipe.heads,
        intermediate_size=weights["model.layers.0.mlp.up_proj.weight"].shape[0],
        rms_norm_eps=recipe.eps,
        tie_word_embeddings=True,
        max_position_embeddings=TIME,
    )
    twin = LlamaForCausalLM(config)
    absent, unknown = twin.load_state_dict(weights, strict=False)
    if absent != ["lm_head.weight"] or unknown:
        raise RuntimeError(f"the two models differ: {absent} are absent, {unknown} unknown")
    return twin
