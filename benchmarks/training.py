"""Training against the transformers Trainer: a Llama-style decoder of about 3 million parameters, float32, two threads.

Both sides make the same number of AdamW steps on rows of the same shape, from the same initial weights, at the same
constant rate, clipped alike, and must come to the same mean loss. Logging, saving and evaluation are off. A vocabulary
of 8192 is what a model of this size is given in practice; bytes are the other end, where the loss costs nothing.

What holds it back (torch profiler, two cores with AVX2): two thirds of a step are matrix products and an eighth is
attention, the same kernels on both sides; all of the difference is made in the remaining fifth.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, SequentialSampler
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, ProgressCallback, Trainer, TrainingArguments

from benchmarks.pairs import interleaved
from trivium.architectures.llama import Llama
from trivium.core.nouns import Batch
from trivium.core.seeds import generator
from trivium.objectives.causal import Causal
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

ROWS, TIME, RATE = 8, 256, 1e-3


@dataclass
class Shape:
    """A model and its vocabulary."""

    title: str
    vocab: int
    recipe: Llama


SHAPES = (
    Shape("vocabulary of 8192", 8192, Llama(width=192, depth=4, heads=4, context=TIME)),
    Shape("bytes", 259, Llama(width=256, depth=4, heads=4, context=TIME)),
)


class Rows(Dataset):
    """Rows of counting numbers: for the Trainer by row, for the loop by step."""

    def __init__(self, steps: int, vocab: int) -> None:
        start = torch.randint(0, vocab, (steps * ROWS, 1), generator=generator(0, "rows", vocab))
        self.ids: Tensor = (start + torch.arange(TIME)) % vocab

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.ids[index], "labels": self.ids[index]}

    def batch(self, step: int) -> Batch:
        return Batch(self.ids[step * ROWS : (step + 1) * ROWS])


def run(*, steps: int = 12, repeats: int = 3, warmup: int = 1, threads: int = 2) -> dict[str, Any]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found, notes = [], []
        for shape in SHAPES:
            ratio, note = _compare(shape, steps, repeats, warmup)
            found.append(ratio)
            notes.append(f"{note} ({threads} threads)")
        return {"rows": found, "notes": notes}
    finally:
        torch.set_num_threads(before)


def _compare(shape: Shape, steps: int, repeats: int, warmup: int) -> tuple[dict[str, Any], str]:
    rows = Rows(steps, shape.vocab)
    losses: dict[str, float] = {}
    runs = repeats + warmup
    what = f"training / Trainer, {shape.title}"
    with tempfile.TemporaryDirectory() as folder:
        ours = [_loop(shape, rows, steps, losses) for _ in range(runs)]
        peers = [_trainer(shape, rows, steps, losses, folder) for _ in range(runs)]
        ratio = interleaved(what, _next_of(ours), _next_of(peers), repeats=repeats, warmup=warmup, target=1.2)
    if abs(losses["ours"] / losses["peer"] - 1) > 0.01:  # the Trainer divides by the tokens, not the predictions
        raise RuntimeError(f"the two sides did not train alike: mean losses {losses}")
    parameters = sum(parameter.numel() for parameter in shape.recipe.build(shape.vocab).parameters())
    tokens = steps * ROWS * TIME
    speeds = f"{tokens / ratio.ours_seconds:.0f} tokens/s against {tokens / ratio.peer_seconds:.0f}"
    alike = f"mean losses {losses['ours']:.3f} and {losses['peer']:.3f}"
    note = f"{what}: {parameters / 1e6:.1f} M parameters, {speeds}, {alike}"
    return ratio.to_dict(), note


def _next_of(prepared: list[Callable[[], None]]) -> Callable[[], None]:
    """Each call runs the next of what was prepared, so that preparing is not timed."""

    def body() -> None:
        prepared.pop()()

    return body


def _loop(shape: Shape, rows: Rows, steps: int, losses: dict[str, float]) -> Callable[[], None]:
    model = shape.recipe.build(shape.vocab)
    settings = TrainingSettings(steps=steps, learning_rate=RATE, schedule="constant", warmup=0.0, weight_decay=0.0)

    def body() -> None:
        curve = train(model, Causal(), rows, settings).curve
        losses["ours"] = sum(row["loss"] for row in curve) / steps

    return body


class InOrder(Trainer):
    """The Trainer on rows in their order, as the loop sees them."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> SequentialSampler:
        return SequentialSampler(train_dataset or self.train_dataset)  # type: ignore[arg-type]


def _trainer(shape: Shape, rows: Rows, steps: int, losses: dict[str, float], folder: str) -> Callable[[], None]:
    asked = TrainingArguments(
        folder,
        per_device_train_batch_size=ROWS,
        max_steps=steps,
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

    def body() -> None:
        losses["peer"] = trainer.train().training_loss

    return body


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
