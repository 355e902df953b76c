"""Runs that were stopped, killed, cut or broken go on to bitwise the same weights."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.families import wrapped
from tests.training.small import Ragged, StopAt, Stopped, rows, same, timeless, tiny, weights
from trivium.core import files
from trivium.core.errors import BrokenModel, RunBusy, RunMismatch
from trivium.objectives.causal import Causal
from trivium.training.checkpoint import Checkpoints, read
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

SETTINGS = TrainingSettings(steps=8, learning_rate=1e-2, checkpoint_every=3, evaluate_every=4)


def evaluate(model):
    return {"first": model(Ragged().batch(99).ids).logits[0, 0, 0].item()}


def run(model, folder, stop=None, settings=SETTINGS, batches=None, **given):
    batches = batches or Ragged()
    return train(
        model,
        Causal(),
        batches if stop is None else StopAt(batches, stop),
        settings,
        folder=folder,
        evaluate=evaluate,
        **given,
    )


def stopped(folder, at, settings=SETTINGS):
    with pytest.raises(Stopped):
        run(tiny(), folder, stop=at, settings=settings)


@pytest.mark.parametrize(("every", "least"), [(3, (3, 0)), pytest.param(1, (8, 2), marks=pytest.mark.slow)])
def test_killed_again_and_again_the_run_ends_with_the_same_bits(tmp_path, every, least):
    launch = [sys.executable, str(Path(__file__).with_name("killed.py")), str(tmp_path), str(every)]
    done = subprocess.run(launch, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    killed = json.loads(done.stdout)
    assert killed["at a point"] >= least[0], killed
    assert killed["at a moment"] >= least[1], killed
    whole, broken = (read(tmp_path / name / "checkpoints" / "step-00000024") for name in ("whole", "broken"))
    assert same(dict(whole.weights), dict(broken.weights))
    assert same(dict(whole.moments), dict(broken.moments))
    assert timeless(rows(tmp_path / "broken")) == timeless(rows(tmp_path / "whole"))
    assert [row["step"] for row in rows(tmp_path / "broken")] == list(range(24))
    left = sorted(path.name for path in (tmp_path / "broken" / "checkpoints").iterdir())
    assert left == ["step-00000022", "step-00000024"]


@pytest.mark.parametrize("stop", [1, 3, 4, 7])
def test_a_stopped_run_goes_on(tmp_path, stop):
    whole, model = tiny(), tiny(seed=5)
    expected = run(whole, None)
    stopped(tmp_path, stop)
    result = run(tiny() if stop < 3 else model, tmp_path)  # before the first checkpoint it starts from what it is given
    assert same(weights(whole), weights(model)) or stop < 3
    assert timeless(result.curve) == timeless(expected.curve) == timeless(rows(tmp_path))
    assert result.spent.flops == expected.spent.flops
    assert result.spent.tokens == expected.spent.tokens
    assert result.evaluation == expected.evaluation


def test_dropout_goes_on_too_and_the_global_generator_is_left_alone(tmp_path):
    settings = replace(SETTINGS, evaluate_every=None)
    models = [wrapped("gpt2", torch.float32) for _ in range(3)]
    batches = Ragged()
    losses = [row["loss"] for row in train(models[0], Causal(), batches, settings).curve]
    other = train(wrapped("gpt2", torch.float32), Causal(), batches, replace(settings, seed=1))
    assert losses[0] != other.curve[0]["loss"], "this model has no dropout, so the test shows nothing"
    torch.rand(1, generator=torch.Generator().manual_seed(1))
    with pytest.raises(Stopped):
        train(models[1], Causal(), StopAt(batches, 5), settings, folder=tmp_path)
    train(models[2], Causal(), batches, settings, folder=tmp_path)
    assert same(weights(models[0]), weights(models[2]))


def test_a_finished_run_is_read_back_without_a_step(tmp_path):
    expected = run(tiny(), tmp_path)

    model = tiny(seed=9)
    result = run(model, tmp_path, stop=1)
    assert result.curve == expected.curve
    assert result.spent == replace(expected.spent, peak_bytes=result.spent.peak_bytes)
    assert same(dict(read(tmp_path / "checkpoints" / "step-00000008").weights), weights(model))


@pytest.mark.parametrize("harm", ["truncated", "missing", "changed", "no state"])
def test_a_broken_checkpoint_falls_back_to_the_one_before(tmp_path, harm, caplog):
    expected = run(tiny(), None)
    stopped(tmp_path, 7)
    newest = tmp_path / "checkpoints" / "step-00000006"
    damage(newest, harm)
    model = tiny(seed=5)
    result = run(model, tmp_path)
    assert "falling back" in caplog.text
    assert timeless(result.curve) == timeless(expected.curve) == timeless(rows(tmp_path))
    assert (tmp_path / "checkpoints" / "broken-step-00000006").is_dir()


def damage(path, harm):
    file = path / "moments.safetensors"
    data = bytearray(file.read_bytes())
    if harm == "truncated":
        file.write_bytes(data[: len(data) // 2])
    elif harm == "missing":
        file.unlink()
    elif harm == "changed":
        data[-3] ^= 1
        file.write_bytes(data)
    else:
        (path / "state.json").write_text('{"step": 6, "sha2')


def test_when_every_checkpoint_is_broken_the_error_says_so(tmp_path):
    stopped(tmp_path, 7)
    for path in Checkpoints(tmp_path / "checkpoints"):
        damage(path, "truncated")
    with pytest.raises(BrokenModel, match=r"no checkpoint in .* can be read .*run again to start from the beginning"):
        run(tiny(), tmp_path)
    assert timeless(run(tiny(), tmp_path).curve) == timeless(run(tiny(), None).curve)


def test_a_curve_cut_in_the_middle_of_a_line_is_repaired(tmp_path):
    stopped(tmp_path, 7)
    path = tmp_path / "curve.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]) + lines[2][:9])
    run(tiny(), tmp_path)
    assert [row["step"] for row in rows(tmp_path)] == list(range(8))


def test_keep_tells_how_many_checkpoints_stay(tmp_path):
    run(tiny(), tmp_path, settings=replace(SETTINGS, checkpoint_every=1, keep=3))
    left = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert left == ["step-00000006", "step-00000007", "step-00000008"]


def test_nothing_is_pickled(tmp_path):
    run(tiny(), tmp_path)
    names = {path.suffix or path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {".safetensors", ".json", ".jsonl", ".lock"}


def test_another_run_is_not_continued(tmp_path):
    stopped(tmp_path, 4)
    with pytest.raises(RunMismatch, match=r"settings.learning_rate is 0.01 there and 0.02 here"):
        run(tiny(), tmp_path, settings=replace(SETTINGS, learning_rate=0.02))
    with pytest.raises(RunMismatch, match="data is "):
        run(tiny(), tmp_path, batches=Ragged(seed=1))
    with pytest.raises(RunMismatch, match="parameters is "):
        run(tiny(width=32), tmp_path)
    assert run(tiny(), tmp_path, settings=replace(SETTINGS, keep=1, checkpoint_every=5)).steps == 8


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    """As many parameters, other names and shapes."""
    stopped(tmp_path, 4)
    record = json.loads((tmp_path / "run.json").read_text())
    other = tiny(depth=1)
    record["parameters"] = sum(parameter.numel() for parameter in other.parameters())
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(BrokenModel, match="of another model: 9 tensors differ"):
        run(other, tmp_path)


def test_two_processes_do_not_share_a_folder(tmp_path):
    with files.locked(tmp_path), pytest.raises(RunBusy, match="in use by process"):
        run(tiny(), tmp_path)
    assert run(tiny(), tmp_path).steps == 8
