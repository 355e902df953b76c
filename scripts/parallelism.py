"""Count what the processes of each layout send in a training step, for the page on parallelism: ``make parallelism``.

    python -m scripts.parallelism

starts two and four processes on this machine and writes ``docs/parallelism.json``: bytes sent per process and step, as
counted and by the formulas of ``trivium.training.volume``, and the weights that a process holds.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from trivium.architectures.llama import Llama
from trivium.core import files
from trivium.core.nouns import Batch
from trivium.core.provenance import provenance
from trivium.core.seeds import generator
from trivium.objectives.causal import Causal
from trivium.training.parallel import World, local, shard
from trivium.training.pipeline import Pipeline
from trivium.training.settings import Mesh, TrainingSettings
from trivium.training.update import Updater
from trivium.training.volume import Decoder, Layout, counted, predicted

TARGET = Path(__file__).parent.parent / "docs" / "parallelism.json"
RECIPE = Llama(width=128, depth=4, heads=4, kv_heads=4, hidden=384, tied=False)
SHAPE = Decoder(width=128, depth=4, hidden=384, vocab_size=256, heads=4, kv_heads=4)
ROWS, LENGTH = 16, 128
LAYOUTS = ((2, 1, 1), (1, 2, 1), (1, 1, 2), (4, 1, 1), (2, 2, 1), (2, 1, 2), (1, 2, 2))
"""(data, tensor, pipeline)."""


def measure(data: int, tensor: int, pipeline: int) -> None:
    """In each process of a layout: count one update, and let the first write a line."""
    torch.set_num_threads(1)
    parts = 4 if pipeline > 1 else 1
    settings = TrainingSettings(steps=2, mesh=Mesh(tensor, pipeline), micro_batch=ROWS // data // parts)
    world = World.join(torch.device("cpu"), settings.mesh)
    model = RECIPE.build(SHAPE.vocab_size)
    staged = Pipeline(model, world) if pipeline > 1 else None
    shard(model, world, staged.stage if staged else None)
    update = Updater(model, Causal(), settings, world, staged)
    batch = world.share(Batch(torch.randint(0, SHAPE.vocab_size, (ROWS, LENGTH), generator=generator(0))))
    update(0, 2, batch, ROWS * LENGTH)
    with counted() as sent:
        update(1, 2, batch, ROWS * LENGTH)
    held = sum(local(parameter).numel() for parameter in model.parameters() if not parameter.is_meta)
    everyone: list[dict] = [{} for _ in range(world.size)]
    dist.all_gather_object(everyone, {"sent": sent.bytes, "held": held})
    if world.first:
        layout = Layout(data, tensor, pipeline, parts, ROWS // data // parts * LENGTH)
        row = {"data": data, "tensor": tensor, "pipeline": pipeline, "micro_batches": parts}
        print(json.dumps({**row, "processes": everyone, "predicted": predicted(SHAPE, layout)}))


def main() -> None:
    """Measure every layout, each in processes of its own."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--layout", type=int, nargs=3, metavar=("DATA", "TENSOR", "PIPELINE"), help=argparse.SUPPRESS)
    said = options.parse_args()
    if said.layout:
        measure(*said.layout)
        return
    rows = []
    for layout in LAYOUTS:
        count = layout[0] * layout[1] * layout[2]
        launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count), "--standalone"]
        words = ["-m", "scripts.parallelism", "--layout", *map(str, layout)]
        done = subprocess.run([*launch, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"layout {layout} failed:\n{done.stderr}")
        rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
        print(*layout, rows[-1]["predicted"], flush=True)
    model = {"width": 128, "depth": 4, "hidden": 384, "parameters": SHAPE.parameters, "rows": ROWS, "length": LENGTH}
    files.write(TARGET, json.dumps({"model": model, "rows": rows, "provenance": provenance()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
