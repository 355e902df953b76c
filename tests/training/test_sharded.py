"""Two processes under torchrun train as one does: curve, weights, figures, and checkpoints across the two."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training import sharded
from tests.training.small import Ragged, StopAt, Stopped, tiny
from trivium.objectives.causal import Causal
from trivium.training.loop import train
from trivium.training.parallel import World, blocks, local, shard


def outcome(folder):
    return json.loads((folder / "outcome.json").read_text()), load_file(folder / "final.safetensors")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """alone: one process. both: two. then_both and then_alone: begun by the one, finished by the other. routed: a model
    with experts."""
    home = tmp_path_factory.mktemp("sharded")
    sharded.run(home / "alone", 0)
    sharded.run(home / "routed_alone", 0)
    sharded.run(home / "then_both", 4)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    asked = [f"{home}/{name}" for name in ("both:0", "then_both:0", "then_alone:4", "routed_both:0")]
    done = subprocess.run(
        [*launch, str(Path(sharded.__file__)), *asked], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    sharded.run(home / "then_alone", 0)
    return home


@pytest.mark.parametrize("name", ["both", "then_both", "then_alone", "routed_both"])
def test_equals_the_single_process(home, name):
    """Each process has its own number of valid tokens; the mean is over all, that of the losses which layers report
    too. Sums differ in their order only."""
    alone = "routed_alone" if name.startswith("routed") else "alone"
    (got, weights), (expected, whole) = outcome(home / name), outcome(home / alone)
    assert [row["step"] for row in got["curve"]] == list(range(6))
    for figure in ("loss", "gradient_norm"):
        values = [[row[figure] for row in each["curve"]] for each in (got, expected)]
        assert values[0] == pytest.approx(values[1], rel=1e-5)
    for figure in ("tokens", "flops", "learning_rate"):
        assert [row[figure] for row in got["curve"]] == [row[figure] for row in expected["curve"]]
    assert got["spent"]["calls"] == expected["spent"]["calls"]  # micro-batches of two rows, wherever they are
    assert got["evaluation"] == pytest.approx(expected["evaluation"], rel=1e-4)
    assert weights.keys() == whole.keys()
    for key, weight in weights.items():
        torch.testing.assert_close(weight, whole[key], atol=2e-5, rtol=1e-4)


def test_the_norm_was_clipped(home):
    """Or clipping over shards was not tested."""
    expected, _ = outcome(home / "alone")
    assert all(row["gradient_norm"] > sharded.SETTINGS.clip for row in expected["curve"][:3])


def test_each_process_holds_half(home):
    alone, both = (outcome(home / name)[0]["held"] for name in ("alone", "both"))
    assert both == pytest.approx(alone / 2, rel=0.05)


def test_one_process_shards_nothing():
    model = tiny()
    shard(model, World())
    assert all(local(parameter) is parameter for parameter in model.parameters())
    assert [type(block).__name__ for block in blocks(model)] == ["Block", "Block"]


def test_rows_are_dealt_out_in_turn_and_must_divide():
    batch = Ragged(rows=6).batch(0)
    shares = [World(rank, 3).share(batch) for rank in range(3)]
    assert torch.equal(shares[1].ids, batch.ids[1::3])
    assert torch.equal(shares[2].mask, batch.mask[2::3])
    with pytest.raises(ValueError, match="a batch of 6 rows does not divide over 4 processes"):
        World(0, 4).share(batch)


def test_stopping_is_what_it_says():
    with pytest.raises(Stopped):
        train(tiny(), Causal(), StopAt(Ragged(), 2), sharded.SETTINGS)
