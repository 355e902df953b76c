"""Two and four processes under torchrun, in every layout, train as one does: curve, weights, figures, and checkpoints
from one layout to another."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training import sharded
from tests.training.small import VOCAB, Ragged, StopAt, Stopped, tiny
from trivium.objectives.causal import Causal
from trivium.training.checkpoint import Checkpoints
from trivium.training.loop import train
from trivium.training.parallel import World, blocks, local, shard
from trivium.training.pipeline import stages
from trivium.training.settings import Mesh
from trivium.training.volume import Decoder, Layout, predicted

TWO = {
    "data": (1, 1),
    "tensor": (2, 1),
    "stages": (1, 2),
    "routed data": (1, 1),
    "routed tensor": (2, 1),
    "averaged data": (1, 1),
}
"""Name of a run: its mesh, as (tensor, pipeline)."""
FOUR = {"data, tensor": (2, 1), "data, stages": (1, 2), "tensor, stages": (2, 2)}
BEGUN = {"stages to data": (1, 2), "data to alone": (1, 1), "tensor to stages": (2, 1)}


def outcome(folder):
    found = Checkpoints(folder / "checkpoints").latest()
    return json.loads((folder / "outcome.json").read_text()), found.weights


def launch(processes, *asked, restarts=0):
    """Restarted processes would look for the dead ones in a store that they share with torchrun (pytorch 135712)."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    done = subprocess.run(
        [*command, "--max-restarts", str(restarts), str(Path(sharded.__file__)), *asked],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The run alone is one process; the others are named after their layouts, after a model of OTHERS too. What
    goes from one layout to another stops after its first checkpoint and is finished there."""
    home = tmp_path_factory.mktemp("sharded")
    sharded.run(home / "alone", 0)
    sharded.run(home / "routed alone", 0)
    sharded.run(home / "averaged alone", 0)
    sharded.run(home / "alone to data", 4)
    asked = [f"{home}/{name}:0:{tensor}:{pipeline}" for name, (tensor, pipeline) in TWO.items()]
    begun = [f"{home}/{name}:4:{tensor}:{pipeline}" for name, (tensor, pipeline) in BEGUN.items()]
    finished = [f"{home}/{name}:0:{mesh}" for name, mesh in GOES_ON.items()]
    counted = [f"{home}/sent {name}:-1:{TWO[name][0]}:{TWO[name][1]}" for name in ("data", "tensor", "stages")]
    launch(2, *asked, *begun, *finished, *counted)
    sharded.run(home / "data to alone", 0)
    return home


@pytest.fixture(scope="module")
def four(home):
    launch(4, *[f"{home}/{name}:0:{tensor}:{pipeline}" for name, (tensor, pipeline) in FOUR.items()])
    return home


GOES_ON = {"alone to data": "1:1", "stages to data": "1:1", "tensor to stages": "1:2"}


@pytest.mark.parametrize("name", [*TWO, *GOES_ON, "data to alone"])
def test_two_processes_equal_one(home, name):
    """Each process has its own number of valid tokens; the mean is over all, that of the losses which layers report
    too. Sums differ in their order only."""
    equal(home, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", FOUR)
def test_four_processes_equal_one(four, name):
    equal(four, name)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mesh"), [("died in data", "1:1"), ("died in stages", "1:2")])
def test_a_process_that_dies_is_started_again_and_the_run_goes_on(home, name, mesh):
    launch(2, f"{home}/{name}:999:{mesh}", restarts=1)
    equal(home, name)


@pytest.mark.slow
def test_a_stage_waits_as_long_as_the_formula_says(home):
    """Four micro-batches through two stages take as long as five of them one after another."""
    launch(2, f"{home}/bubble:-2:1:2")
    seconds = json.loads((home / "bubble" / "seconds.json").read_text())
    layout = Layout(data=1, tensor=1, pipeline=2, micro_batches=4, tokens=32)
    busy = 4 * 3 * sharded.PAUSE
    assert layout.bubble == pytest.approx(1 / 5)
    assert 1 - busy / seconds == pytest.approx(layout.bubble, abs=0.08)


def equal(home, name):
    first = name.split()[0]
    alone = f"{first} alone" if first in sharded.OTHERS else "alone"
    (got, weights), (expected, whole) = outcome(home / name), outcome(home / alone)
    assert [row["step"] for row in got["curve"]] == list(range(6))
    for figure in ("loss", "gradient_norm"):
        values = [[row[figure] for row in each["curve"]] for each in (got, expected)]
        assert values[0] == pytest.approx(values[1], rel=1e-5)
    for figure in ("tokens", "learning_rate"):
        assert [row[figure] for row in got["curve"]] == [row[figure] for row in expected["curve"]]
    assert got["spent"]["calls"] == expected["spent"]["calls"]  # micro-batches of two rows, wherever they are
    assert got["evaluation"] == pytest.approx(expected["evaluation"], rel=1e-4)
    assert weights.keys() == whole.keys()
    for key, weight in weights.items():
        # The norm behind an average takes out how large its weights are together, so that the gradient of the one that
        # begins at 1 is rounding alone, and AdamW makes steps of it.
        atol = 1e-3 if ".averages." in key else 2e-5
        torch.testing.assert_close(weight, whole[key], atol=atol, rtol=1e-4)


def test_operations_are_those_of_one_process(home):
    """Sharing the rows repeats nothing; of stages each counts the positions of its rows anew."""
    assert flops(home / "data") == flops(home / "alone")
    assert flops(home / "stages") == pytest.approx(flops(home / "alone"), rel=1e-4)


def test_sharing_matrices_repeats_the_rest(home):
    """Norms and head are worked out by both processes, the matrices of the blocks by one or the other."""
    alone, shared = (outcome(home / name)[0]["spent"]["flops"] for name in ("alone", "tensor"))
    assert alone < shared < 2 * alone


def flops(folder):
    return [row["flops"] for row in outcome(folder)[0]["curve"]]


def test_the_norm_was_clipped(home):
    """Or clipping over shards was not tested."""
    expected, _ = outcome(home / "alone")
    assert all(row["gradient_norm"] > sharded.SETTINGS.clip for row in expected["curve"][:3])


def test_each_process_holds_its_share(home):
    """FSDP2 halves everything; stages divide the blocks, embedding and head; sharing matrices halves those of the
    blocks."""
    alone, data, tensor = (outcome(home / name)[0]["held"] for name in ("alone", "data", "tensor"))
    assert data == pytest.approx(alone / 2, rel=0.05)
    inside = sum(p.numel() for p in sharded.model_of(0).blocks.parameters() if p.ndim == 2)
    assert tensor == alone - inside // 2
    model = sharded.model_of(0)
    first = sum(p.numel() for part in (model.embedding, *model.blocks[:2]) for p in part.parameters())
    assert outcome(home / "stages")[0]["held"] == first


def test_what_is_sent_is_what_the_formulas_say(home):
    """Per step and process, in a ring: to the byte where nothing is padded."""
    shape = Decoder(width=16, depth=3, hidden=24, vocab_size=VOCAB, heads=4, kv_heads=2)
    assert shape.parameters == sum(p.numel() for p in sharded.model_of(0).parameters())
    for name, layout in {
        "data": Layout(2, 1, 1, micro_batches=1, tokens=4 * 16),
        "tensor": Layout(1, 2, 1, micro_batches=1, tokens=8 * 16),
        "stages": Layout(1, 1, 2, micro_batches=4, tokens=2 * 16),
    }.items():
        sent = [json.loads(path.read_text()) for path in sorted((home / f"sent {name}").glob("sent-*.json"))]
        expected = predicted(shape, layout)
        if name == "data":  # a table of 19 rows is padded to 20
            assert sent[0] == sent[1]
            assert sum(sent[0].values()) == pytest.approx(expected["data"], rel=0.05)
            assert sent[0]["gather"] > sent[0]["scatter"]
        elif name == "tensor":
            assert sent[0] == sent[1] == {"gather": 0, "scatter": 0, "reduce": expected["tensor"], "send": 0}
        else:  # of two stages each sends one way
            assert [one["send"] for one in sent] == [expected["pipeline"] / 2] * 2


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


def test_blocks_are_dealt_evenly():
    assert stages(3, 2) == [(0, 2), (2, 3)]
    assert stages(4, 4) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert stages(7, 3) == [(0, 2), (2, 5), (5, 7)]
    with pytest.raises(ValueError, match=r"2 blocks do not fill mesh.pipeline = 3 stages; choose at most 2"):
        stages(2, 3)


@pytest.mark.parametrize("mesh", [Mesh(tensor=2), Mesh(pipeline=2)])
def test_a_mesh_needs_its_processes(mesh):
    with pytest.raises(ValueError, match="takes a multiple of 2 processes, and here is 1; start it with torchrun"):
        train(tiny(), Causal(), Ragged(), replace(sharded.SETTINGS, mesh=mesh))


@pytest.mark.parametrize("changed", [{"tensor": 0}, {"pipeline": -1}])
def test_a_mesh_of_nothing_is_refused(changed):
    with pytest.raises(ValueError, match="must be at least 1"):
        Mesh(**changed)
