"""Run by test_resume: train in child processes that are killed, over and over, until one comes to the end.

    python killed.py FOLDER EVERY

Children are forked from this process, which has done no work, so that each attempt starts at once. Some are killed at
chosen points, most of them inside the writing of a checkpoint (every EVERY-th point is used), some at random moments.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from tests.training.small import Ragged, tiny
from trivium.objectives.causal import Causal
from trivium.training import checkpoint, record
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

SETTINGS = TrainingSettings(steps=24, learning_rate=1e-2, checkpoint_every=2, micro_batch=3)
POINTS = [
    (checkpoint, "save_file", 1),  # before the weights of a checkpoint
    (checkpoint, "save_file", 4),  # between weights and moments
    (checkpoint.files, "write", 3),  # run.json and curve.jsonl, or the state of a checkpoint
    (checkpoint.files, "sha256", 6),  # all tensors written, no state yet
    (checkpoint.Path, "rename", 2),  # complete under its hidden name
    (checkpoint.shutil, "rmtree", 5),  # when an old one goes
    (record.Curve, "append", 5),  # between two rows
    (torch.optim.AdamW, "step", 6),  # in the middle of an update
]


def run(folder):
    torch.set_num_threads(1)
    train(tiny(), Causal(), Ragged(), SETTINGS, folder=folder)


def child(folder, point=None):
    process = os.fork()
    if process:
        return process
    if point is not None:
        owner, name, calls = point
        inner, seen = getattr(owner, name), [0]

        def dies(*given, **named):
            seen[0] += 1
            if seen[0] == calls:
                os.kill(os.getpid(), signal.SIGKILL)
            return inner(*given, **named)

        setattr(owner, name, dies)
    try:
        run(folder)
    finally:
        os._exit(0)


def main(home, every):
    start = time.perf_counter()
    os.waitpid(child(home / "whole"), 0)
    takes = time.perf_counter() - start
    random.seed()
    killed = {"at a point": 0, "at a moment": 0}
    for point in POINTS[::every]:
        _, status = os.waitpid(child(home / "broken", point), 0)
        killed["at a point"] += os.WIFSIGNALED(status)
    for _ in range(6 // every):
        process = child(home / "broken")
        time.sleep(random.uniform(0.0, 0.6 * takes))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        killed["at a moment"] += os.WIFSIGNALED(status)
    with open(home / "broken" / "curve.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 7, "lo')  # what a kill in the middle of a line leaves
    os.waitpid(child(home / "broken"), 0)
    print(json.dumps(killed))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
