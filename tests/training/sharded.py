"""Run by test_sharded under torchrun: what is asked for on the command line, as FOLDER/NAME:STOP ... in this order.

Each run trains the same model on the same batches, those named "routed" one with experts; one that stops, stops before
that step. The first process writes ``outcome.json`` and ``final.safetensors`` into the folder of each run.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from tests.training.small import VOCAB, Ragged, StopAt, Stopped, tiny
from trivium.architectures.mixture_of_experts import MixtureOfExperts
from trivium.objectives.causal import Causal
from trivium.training.checkpoint import tensors_of
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

SETTINGS = TrainingSettings(steps=6, learning_rate=1e-2, checkpoint_every=3, micro_batch=2, clip=0.5, evaluate_every=3)
ROUTED = MixtureOfExperts(width=16, heads=2, hidden=12, balance=0.3)


def evaluate(model):
    return {"first": model(Ragged().batch(99).ids).logits[0, 0, 0].item()}


def run(folder, stop):
    seed = 3 + (dist.get_rank() if dist.is_initialized() else 0)  # the first process's values must win
    model = ROUTED.build(VOCAB, seed=seed) if folder.name.startswith("routed") else tiny(seed)
    batches = StopAt(Ragged(), stop) if stop else Ragged()
    try:
        result = train(model, Causal(), batches, SETTINGS, folder=folder, evaluate=evaluate)
    except Stopped:
        return
    weights = tensors_of(model)
    held = sum(p.to_local().numel() if isinstance(p, DTensor) else p.numel() for p in model.parameters())
    if not dist.is_initialized() or dist.get_rank() == 0:
        save_file(weights, folder / "final.safetensors")
        spent = result.spent.to_dict()
        outcome = {"curve": result.curve, "spent": spent, "held": held, "evaluation": result.evaluation}
        (folder / "outcome.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for asked in sys.argv[1:]:
        path, _, stop = asked.rpartition(":")
        run(Path(path), int(stop))
