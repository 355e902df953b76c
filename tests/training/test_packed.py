"""Training on packed shards: killed at any step it goes on to the same bits, and with other data not at all."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.data.test_curated_packing import curated, packing
from tests.data.test_plan import lines
from tests.training.small import rows, same, timeless, weights
from trivium.architectures.llama import Llama
from trivium.core.errors import RunMismatch
from trivium.data.packed_shards import PackedBatches
from trivium.data.planted import planted
from trivium.data.prepared import Prepared
from trivium.objectives.causal import Causal
from trivium.tokenization.byte import ByteTokenizer
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

pytest.importorskip("pyarrow")

SETTINGS = TrainingSettings(steps=9, learning_rate=1e-2, checkpoint_every=2)
DEATHS = (0, 1, 4, 5, 8)
"""Steps at which a process is killed, one after another."""


class Deadly(PackedBatches):
    """Batches that end the process at a step."""

    at = -1

    def batch(self, step):
        if step == self.at:
            os.kill(os.getpid(), 9)
        return super().batch(step)


def run(packed, folder, at=-1):
    batches = Prepared(packed).batches(None, 4, seed=3)
    deadly = Deadly(batches.shards, 4, 3)
    object.__setattr__(deadly, "at", at)
    model = Llama(width=16, depth=1, heads=2, hidden=24).build(ByteTokenizer.vocab_size, seed=0)
    train(model, Causal(), deadly, SETTINGS, folder=folder)
    return model


@pytest.fixture
def packed(tmp_path):
    (tmp_path / "pages").mkdir()
    made = [replace(d, text=d.text[: 20 + 9 * n]) for n, d in enumerate(planted(30, seed=3))]
    (tmp_path / "pages/a.jsonl").write_bytes(lines(made))
    packing().go(curated(tmp_path / "pages", tmp_path / "run").kept, ByteTokenizer())
    return str(tmp_path / "run/packed")


def test_killed_at_any_step_it_goes_on_to_the_same_curve(packed, tmp_path):
    code = f"""
import os, torch
from tests.training.test_packed import DEATHS, run
torch.set_num_threads(1)
for at in DEATHS:
    child = os.fork()
    if not child:
        run({packed!r}, {str(tmp_path / "killed")!r}, at)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9, at
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
    assert [row["step"] for row in rows(tmp_path / "killed")][-1] < 8
    again, whole = run(packed, tmp_path / "killed"), run(packed, tmp_path / "whole")
    assert timeless(rows(tmp_path / "killed")) == timeless(rows(tmp_path / "whole"))
    assert len(rows(tmp_path / "whole")) == 9
    assert same(weights(again), weights(whole))


def test_with_other_data_it_does_not_go_on(packed, tmp_path):
    run(packed, tmp_path / "run")
    shards = Prepared(packed).shards
    path = shards.folder / "index.json"
    index = json.loads(path.read_text())
    index["shards"][-1]["sha256"]["tokens"] = "0" * 64  # as if rows that the first step does not see were others
    path.write_text(json.dumps(index))
    with pytest.raises(RunMismatch, match="data"):
        run(packed, tmp_path / "run")
