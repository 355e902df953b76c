"""Run by test_sharded under torchrun: what is asked for on the command line, as FOLDER/NAME:STOP:TENSOR:PIPELINE ... in
this order.

STOP -1 counts what is sent, STOP -2 times a pipeline, STOP 999 dies and is started again. Each run trains the same
model on the same batches, those of a name in OTHERS that one; one that stops, stops before that step. The first
process writes ``outcome.json`` into the folder of each run; the weights are in its last checkpoint.
"""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.distributed as dist

from tests.training.small import VOCAB, Ragged, StopAt, Stopped, tiny
from trivium.architectures.gpt_bert import GptBert
from trivium.architectures.mixture_of_experts import MixtureOfExperts
from trivium.objectives.causal import Causal
from trivium.training.loop import train
from trivium.training.parallel import World, local, shard
from trivium.training.pipeline import Pipeline
from trivium.training.settings import Mesh, TrainingSettings
from trivium.training.update import Updater
from trivium.training.volume import counted

SETTINGS = TrainingSettings(steps=6, learning_rate=1e-2, checkpoint_every=3, micro_batch=2, clip=0.5, evaluate_every=3)
OTHERS = {
    "routed": MixtureOfExperts(width=16, heads=2, hidden=12, balance=0.3),
    "averaged": GptBert(width=16, heads=2, hidden=12),
}
"""Models that give more than their output from block to block, by the first word of a run's name."""


def evaluate(model):
    return {"first": model(Ragged().batch(99).ids).logits[0, 0, 0].item()}


def run(folder, stop, tensor=1, pipeline=1):
    seed = 3 + (dist.get_rank() if dist.is_initialized() else 0)  # the first process's values must win
    other = OTHERS.get(folder.name.split()[0])
    model = model_of(seed) if other is None else other.build(VOCAB, seed=seed)
    batches = Dies() if stop == 999 else StopAt(Ragged(), stop) if stop else Ragged()
    settings = replace(SETTINGS, mesh=Mesh(tensor, pipeline))
    try:
        result = train(model, Causal(), batches, settings, folder=folder, evaluate=evaluate)
    except Stopped:
        return
    held = sum(local(parameter).numel() for parameter in model.parameters() if not parameter.is_meta)
    if not dist.is_initialized() or dist.get_rank() == 0:
        spent = result.spent.to_dict()
        outcome = {"curve": result.curve, "spent": spent, "held": held, "evaluation": result.evaluation}
        (folder / "outcome.json").write_text(json.dumps(outcome))


def measure(folder, tensor, pipeline):
    """What this process sends in one update, into ``sent-RANK.json``; an update before it has set everything up."""
    settings = replace(SETTINGS, mesh=Mesh(tensor, pipeline), micro_batch=None if pipeline == 1 else 2)
    world = World.join(torch.device("cpu"), settings.mesh)
    model = model_of(0)
    staged = Pipeline(model, world) if pipeline > 1 else None
    shard(model, world, staged.stage if staged else None)
    update = Updater(model, Causal(), settings, world, staged)
    batch = world.share(Ragged().batch(0))
    for _ in range(2):
        with counted() as sent:
            update(0, 1, batch, 1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"sent-{world.rank}.json").write_text(json.dumps(sent.bytes))


class Dies:
    """Batches of which one ends the second process, the first time that torchrun starts it."""

    def batch(self, step):
        if step == 4 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os._exit(1)
        return Ragged().batch(step)


PAUSE = 0.05
"""Seconds that a block takes forward, and half of what it takes backward."""


def bubble(folder):
    """Seconds of an update in which each of two stages sleeps and does next to nothing else."""
    settings = replace(SETTINGS, mesh=Mesh(1, 2))
    world = World.join(torch.device("cpu"), settings.mesh)
    model = tiny(tied=False, depth=2)
    for block in model.blocks:
        block.register_forward_hook(slept)
    staged = Pipeline(model, world)
    update = Updater(model, Causal(), settings, world, staged)
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        update(0, 1, Ragged().batch(0), 1)
        seconds.append(time.perf_counter() - begin)
    if world.first:
        folder.mkdir(parents=True)
        (folder / "seconds.json").write_text(json.dumps(min(seconds)))


def slept(block, given, out):
    time.sleep(PAUSE)
    out[0].register_hook(lambda gradient: time.sleep(2 * PAUSE))


def model_of(seed):
    """Untied, since a pipeline has embedding and head in two processes; grouped queries, since tensor parallelism
    divides both sorts of heads."""
    return tiny(seed=seed, tied=False, heads=4, kv_heads=2, depth=3)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for asked in sys.argv[1:]:
        path, *numbers = asked.rsplit(":", 3)
        stop, tensor, pipeline = map(int, numbers)
        if stop == -1:
            measure(Path(path), tensor, pipeline)
        elif stop == -2:
            bubble(Path(path))
        else:
            run(Path(path), stop, tensor, pipeline)
