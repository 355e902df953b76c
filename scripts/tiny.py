"""Train the model that comes with the package, ``tiny``: ``make tiny``.

A Llama-style decoder over bytes, trained on our own generated stories and written in bfloat16 to trivium/models/tiny.
It takes some minutes of one core; the same machine and versions give the same weights.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from trivium.architectures.llama import Llama
from trivium.core import files
from trivium.core.method import settings
from trivium.core.progress import progress
from trivium.data.batches import Batches
from trivium.data.packing import tokenised
from trivium.data.stories import stories
from trivium.decoding.sampling import Sampling
from trivium.models.saving import save
from trivium.models.sources import SHIPPED, load
from trivium.objectives.causal import Causal
from trivium.tokenization.byte import ByteTokenizer
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

RECIPE = Llama(width=128, depth=4, heads=4, kv_heads=2, context=1024)
SETTINGS = TrainingSettings(steps=600, learning_rate=4e-3, final_fraction=0.02, checkpoint_every=100)
LENGTH, ROWS = 512, 8


def main() -> None:
    """Train, save, and print three samples."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--steps", type=int, default=SETTINGS.steps, help="updates of the weights (default: %(default)s)"
    )
    options.add_argument("--folder", type=Path, default=SHIPPED["tiny"], help="where the model goes")
    options.add_argument("--run", type=Path, default=Path("runs/tiny"), help="where an interrupted training goes on")
    said = options.parse_args()

    torch.set_num_threads(1)
    tokenizer, corpus = ByteTokenizer(), stories()
    batches = Batches(tokenised(corpus["train"], tokenizer), LENGTH, ROWS)
    model = RECIPE.build(tokenizer.vocab_size)
    with progress("training tiny", said.steps) as bar:
        made = train(model, Causal(), batches, replace(SETTINGS, steps=said.steps), folder=said.run, bar=bar)

    save(model.to(torch.bfloat16), said.folder, tokenizer)
    facts = {
        "corpus": corpus.name,
        "corpus_sha256": corpus.sha256,
        "tokens": made.steps * LENGTH * ROWS,
        "final_loss_nats_per_byte": round(made.loss, 4),
        "settings": settings(replace(SETTINGS, steps=said.steps)),
    }
    files.write(said.folder / "training.json", json.dumps(facts, indent=2) + "\n")
    system = load(said.folder)
    for seed in range(3):
        print(system.write("", Sampling(temperature=0.7), limit=400, seed=seed), "\n")


if __name__ == "__main__":
    main()
