"""The loop's promises beyond resuming: budgets, divergence, evaluation, records, and what it refuses."""

import errno
import json
import math
import os
import resource
import tempfile
import time
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from tests.families import wrapped
from tests.objectives.table import TableModel
from tests.training.small import VOCAB, Ragged, StopAt, Stopped, rows, same, timeless, tiny, weights
from trivium.core.budget import Budget
from trivium.core.errors import BudgetExceeded, NotOffered, UnknownName
from trivium.core.meter import Meter
from trivium.core.nouns import Batch, Loss
from trivium.core.progress import Bar
from trivium.objectives.causal import Causal
from trivium.training import checkpoint, loop
from trivium.training.loop import PATIENCE, diverged, train
from trivium.training.settings import TrainingSettings

SETTINGS = TrainingSettings(steps=6, learning_rate=1e-2)


class Full:
    """Batches of one shape."""

    def batch(self, step):
        return Batch(Ragged(rows=4).batch(step).ids)


# Learning ---------------------------------------------------------------------------------------------------------


LEARNERS = {"native": tiny, **{name: partial(wrapped, name, torch.float32) for name in ("llama", "mamba")}}


@pytest.mark.parametrize("make", LEARNERS.values(), ids=LEARNERS)
def test_it_learns(make):
    """A native model, and fine-tuning of wrapped Hugging Face models: counting is easy."""
    model = make()
    result = train(model, Causal(), Ragged(rows=16), TrainingSettings(steps=60, learning_rate=1e-2))
    assert result.loss < 0.7 * result.curve[0]["loss"]
    assert result.steps == len(result.curve) == 60
    assert result.diverged is None


def test_one_batch_is_memorised():
    class Same:
        def batch(self, step):
            return Batch(torch.randint(0, VOCAB, (2, 12), generator=torch.Generator().manual_seed(0)))

    model = tiny(width=32, heads=4, hidden=64)
    assert train(model, Causal(), Same(), TrainingSettings(steps=150, learning_rate=1e-2)).loss < 0.1


def test_same_seed_same_bits_and_the_mode_is_given_back():
    models = [tiny().eval(), tiny().train()]
    first, second = (train(model, Causal(), Ragged(), SETTINGS) for model in models)
    assert timeless(first.curve) == timeless(second.curve)
    assert same(weights(models[0]), weights(models[1]))
    assert [model.training for model in models] == [False, True]


# Budgets ----------------------------------------------------------------------------------------------------------


def test_what_is_spent_is_what_the_meter_counts():
    """Forward and backward of each step: thrice the forward, less the gradient of the embedding's input."""
    model = tiny()
    with Meter() as meter:
        model(Full().batch(0).ids)
    forward = meter.spent.flops
    result = train(model, Causal(), Full(), SETTINGS)
    spent = result.spent
    assert (spent.calls, spent.backwards, spent.positions, spent.tokens) == (6, 6, 6 * 64, 6 * 64)
    assert spent.flops == pytest.approx(6 * 3 * forward, rel=0.05)
    assert [row["flops"] for row in result.curve] == pytest.approx([spent.flops * n / 6 for n in range(1, 7)])
    assert [row["tokens"] for row in result.curve] == [64 * n for n in range(1, 7)]


def test_padding_is_no_token():
    batches = Ragged()
    result = train(tiny(), Causal(), batches, SETTINGS)
    assert result.spent.tokens == sum(int(batches.batch(step).mask.sum()) for step in range(6))


EACH = {"tokens": 64, "positions": 64, "calls": 1, "evaluations": 8, "flops": None}


@pytest.mark.parametrize(("unit", "each"), EACH.items())
def test_a_budget_becomes_steps(unit, each):
    if each is None:
        each = train(tiny(), Causal(), Full(), TrainingSettings(steps=1)).spent.flops
    before = weights(tiny())
    model = tiny()
    result = train(model, Causal(), Full(), TrainingSettings(learning_rate=1e-2), budget=Budget(unit, 7.5 * each))
    assert result.steps == 7
    assert result.spent.of(unit) == 7 * each
    assert not same(weights(model), before)


def test_measuring_the_cost_leaves_no_trace():
    """A budget of six steps gives the bits of six steps, in weights, moments and buffers."""
    first, second = tiny(), tiny()
    one = train(first, Causal(), Full(), SETTINGS)
    other = train(second, Causal(), Full(), TrainingSettings(learning_rate=1e-2), budget=Budget("tokens", 6 * 64))
    assert same(weights(first), weights(second))
    assert timeless(one.curve) == timeless(other.curve)


def test_a_budget_in_seconds():
    """Each step is made to take 20 ms at least, so that a second pays for at most 50."""

    class Slow:
        def __call__(self, model, batch, *, generator):
            time.sleep(0.02)
            return Causal()(model, batch, generator=generator)

    result = train(tiny(), Slow(), Full(), TrainingSettings(), budget=Budget("seconds", 1.0, tolerance=0.99))
    assert 3 <= result.steps <= 50
    assert result.spent.seconds < 2.0


def test_too_many_steps_for_the_budget_are_refused_before_they_are_made():
    model = tiny()
    before = weights(model)
    told = r"would spend 384 of 300 tokens \(\+28.0%\); the tolerance is 2%. Lower steps to 4"
    with pytest.raises(BudgetExceeded, match=told):
        train(model, Causal(), Full(), SETTINGS, budget=Budget("tokens", 300))
    assert same(weights(model), before)
    assert train(model, Causal(), Full(), SETTINGS, budget=Budget("tokens", 380)).steps == 6  # within the tolerance


class Uneven:
    """Batches of 8, 12, 16, 8, 12 ... tokens a row: the first tells too little."""

    def batch(self, step):
        return Batch(Ragged(rows=4, time=8 + 4 * (step % 3)).batch(step).ids)


def test_a_run_whose_steps_get_dearer_ends_within_its_budget(tmp_path):
    evaluated = []
    words = {"budget": Budget("tokens", 480), "evaluate": lambda model: evaluated.append(0) or {"x": 1.0}}
    result = train(tiny(), Causal(), Uneven(), TrainingSettings(), folder=tmp_path, **words)
    assert [row["tokens"] for row in rows(tmp_path)] == [32, 80, 144, 176, 224, 288, 320, 368, 432]
    assert result.steps == 9, "planned were 15 by the first; a tenth might cost 64 and make 496 of 489.6"
    assert len(evaluated) == 1
    assert (tmp_path / "checkpoints" / "step-00000009").is_dir()
    again = train(tiny(), Causal(), Uneven(), TrainingSettings(), folder=tmp_path, **words)
    assert again.steps == 9, "a run that has ended is not gone on with"


def test_an_overrun_is_an_error_and_loses_nothing(tmp_path):
    """Batches that grow: the first one told too little."""

    class Growing:
        def batch(self, step):
            return Batch(Ragged(rows=4, time=8 + 8 * step).batch(step).ids)

    with pytest.raises(BudgetExceeded, match="training with causal spent 192 of 160 tokens"):
        train(tiny(), Causal(), Growing(), TrainingSettings(), budget=Budget("tokens", 160), folder=tmp_path)
    assert [row["tokens"] for row in rows(tmp_path)] == [32, 96, 192]
    assert (tmp_path / "checkpoints" / "step-00000003").is_dir()


def test_budgets_that_cannot_be():
    with pytest.raises(BudgetExceeded, match=r"spends 64 tokens, more than the whole budget of 10 tokens"):
        train(tiny(), Causal(), Full(), TrainingSettings(), budget=Budget("tokens", 10))
    with pytest.raises(ValueError, match="a step of training spends no new_tokens; give its budget in flops"):
        train(tiny(), Causal(), Full(), TrainingSettings(), budget=Budget("new_tokens", 10))
    with pytest.raises(ValueError, match="training has no end"):
        train(tiny(), Causal(), Full(), TrainingSettings())
    with pytest.raises(UnknownName):
        Budget("flop", 1)


def test_evaluation_counts_towards_no_budget_and_changes_no_bit():
    seen = []

    def evaluate(model):
        assert not model.training
        assert not torch.is_grad_enabled()
        seen.append(model(Full().batch(0).ids).logits.sum().item())
        torch.rand(3)  # whatever an evaluation draws
        return {"sum": seen[-1]}

    plain, evaluated = tiny(), tiny()
    without = train(plain, Causal(), Full(), SETTINGS)
    result = train(evaluated, Causal(), Full(), replace(SETTINGS, evaluate_every=4), evaluate=evaluate)
    assert [row["step"] for row in result.curve if "evaluation" in row] == [3, 5]
    assert result.evaluation == {"sum": seen[-1]}
    assert len(seen) == 2
    assert result.spent.flops == without.spent.flops
    assert result.spent.calls == 6
    assert same(weights(plain), weights(evaluated))


# Divergence -------------------------------------------------------------------------------------------------------


class Scripted:
    """A loss that follows a script, whatever the model says."""

    def __init__(self, values):
        self.values, self.calls = values, 0

    def __call__(self, model, batch, *, generator):
        loss = Causal()(model, batch, generator=generator)
        value = self.values[min(self.calls, len(self.values) - 1)]
        self.calls += 1
        return Loss(loss.total * 0.0 + value * loss.count, loss.count)


def test_a_loss_that_is_not_finite_ends_the_run_as_a_result(tmp_path):
    settings = TrainingSettings(steps=9, checkpoint_every=2)
    result = train(tiny(), Scripted([2.0, 2.0, 2.0, math.nan]), Full(), settings, folder=tmp_path)
    assert result.diverged == "the loss was not finite at step 3"
    assert result.steps == 4
    assert math.isnan(result.loss)
    assert rows(tmp_path)[3]["loss"] is None  # JSON knows no NaN
    left = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert left == ["step-00000002"], "a checkpoint of broken weights was written"


def test_a_loss_far_above_its_start_for_long_ends_the_run():
    settings = TrainingSettings(steps=3 * PATIENCE, learning_rate=0.0)
    result = train(tiny(), Scripted([2.0] + [3.01] * 3 * PATIENCE), Full(), settings)
    assert result.diverged is not None
    assert result.steps in (PATIENCE + 1, PATIENCE + 2)  # losses are read a step late
    back = [2.0] + ([3.5] * (PATIENCE - 1) + [2.9]) * 3
    assert train(tiny(), Scripted(back), Full(), TrainingSettings(steps=len(back), learning_rate=0.0)).diverged is None


def test_divergence_by_hand():
    curve = lambda losses: [{"step": n, "loss": loss} for n, loss in enumerate(losses)]  # noqa: E731
    assert diverged([]) is None
    assert diverged(curve([1.0, math.inf])) == "the loss was not finite at step 1"
    assert diverged(curve([1.0] + [2.1] * (PATIENCE - 1))) is None
    assert diverged(curve([1.0] + [2.1] * PATIENCE)) is not None
    assert diverged(curve([1.0] + [2.0] * PATIENCE)) is None


def test_a_rate_that_is_far_too_high_is_recorded_not_raised():
    settings = TrainingSettings(steps=200, learning_rate=30.0, clip=None, warmup=0.0, schedule="constant")
    result = train(tiny(), Causal(), Ragged(), settings)
    assert result.diverged is not None
    assert result.steps < 200


# Records ----------------------------------------------------------------------------------------------------------


def test_the_folder_tells_what_was_run(tmp_path):
    train(tiny(), Causal(), Full(), SETTINGS, folder=tmp_path)
    told = json.loads((tmp_path / "run.json").read_text())
    assert told["objective"] == {"method": "objectives/causal"}
    assert told["settings"]["learning_rate"] == 0.01
    assert told["steps"] == 6
    assert "versions" in told["provenance"]
    curve = rows(tmp_path)
    assert set(curve[0]) == {"step", "loss", "learning_rate", "gradient_norm", "tokens", "flops", "seconds"}
    assert [row["learning_rate"] for row in curve] == [SETTINGS.rate(step, 6) for step in range(6)]


def test_the_bar_is_advanced_to_its_end_whatever_it_counts(tmp_path):
    bars = [Bar(6), Bar(100), Bar(100)]
    train(tiny(), Causal(), Full(), SETTINGS, bar=bars[0])
    settings = TrainingSettings(steps=6, checkpoint_every=2)
    with pytest.raises(Stopped):
        train(tiny(), Causal(), StopAt(Full(), 4), settings, folder=tmp_path, bar=bars[1])
    train(tiny(), Causal(), Full(), settings, folder=tmp_path, bar=bars[2])
    assert [round(bar.done) for bar in bars] == [6, 67, 100]


def test_a_clock_that_goes_backwards_harms_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(time, "time", lambda: 1e9 - time.perf_counter() * 1e3)
    result = train(tiny(), Causal(), Full(), SETTINGS, folder=tmp_path)
    seconds = [row["seconds"] for row in result.curve]
    assert all(0 < a < b for a, b in pairwise(seconds))


# Refusals ---------------------------------------------------------------------------------------------------------


def test_a_frozen_model_and_an_unsuitable_one():
    model = tiny()
    with pytest.raises(ValueError, match="no parameter of this model requires a gradient"):
        train(model.requires_grad_(False), Causal(), Full(), SETTINGS)
    both = TableModel(torch.zeros(VOCAB, VOCAB))
    both.offers = frozenset({"bidirectional"})
    with pytest.raises(NotOffered, match=r"training with .* needs 'causal'"):
        train(both, Causal(), Full(), SETTINGS)


def test_batches_that_are_empty_or_fail():
    class Empty:
        def batch(self, step):
            return Batch(torch.zeros(0, 4, dtype=torch.int64))

    with pytest.raises(ValueError, match="the batch of step 0 has no rows"):
        train(tiny(), Causal(), Empty(), SETTINGS)
    with pytest.raises(Stopped):  # an error in the thread that prepares batches arrives here
        train(tiny(), Causal(), StopAt(Full(), 3), SETTINGS)


def test_a_full_disk_is_told_and_the_earlier_checkpoint_stays(tmp_path, monkeypatch):
    settings = TrainingSettings(steps=6, learning_rate=1e-2, checkpoint_every=2)
    inner, calls = checkpoint.save_file, [0]

    def full(tensors, path):
        calls[0] += 1
        if calls[0] > 3:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        inner(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match=r"step 4 could not be written .*No space left.*step-00000002 is kept: make room"):
        train(tiny(), Causal(), Full(), settings, folder=tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]
    monkeypatch.setattr(checkpoint, "save_file", inner)
    model, expected = tiny(), tiny()
    train(model, Causal(), Full(), settings, folder=tmp_path)
    train(expected, Causal(), Full(), settings)
    assert same(weights(model), weights(expected))


def test_a_limit_on_file_size_is_told_as_the_system_tells_it(tmp_path):
    """A real refusal by the system, in the middle of a file, from inside the library that writes tensors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match=r"the checkpoint of step 6 could not be written .*no earlier one exists"):
            train(tiny(width=32), Causal(), Full(), SETTINGS, folder=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert train(tiny(width=32), Causal(), Full(), SETTINGS, folder=tmp_path).steps == 6


def test_a_folder_that_cannot_be_written_is_an_error_before_any_step():
    made = []

    class Counted(Full):
        def batch(self, step):
            made.append(step)
            return super().batch(step)

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        user = os.geteuid()
        if user == 0:  # who may write anywhere
            os.seteuid(65534)
        try:
            with pytest.raises(PermissionError, match="run"):
                train(tiny(), Causal(), Counted(), SETTINGS, folder=Path(folder) / "run")
        finally:
            os.seteuid(user)
    assert made == []


def test_the_module_reads_no_clock_but_monotonic_ones():
    assert "time.time" not in Path(loop.__file__).read_text(encoding="utf-8")
