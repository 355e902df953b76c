"""Blocks that are computed again or compiled train as others do, and are left as they were."""

import json
import subprocess
import sys

import pytest
import torch

from tests.families import wrapped
from tests.training.small import Ragged, same, tiny, weights
from trivium.core.seeds import generator
from trivium.objectives.causal import Causal
from trivium.training.execution import executed
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings


def evaluate(model):
    return {"first": model(Ragged().batch(99).ids).logits[0, 0, 0].item()}


def trained(model, **changed):
    settings = TrainingSettings(steps=4, learning_rate=1e-2, evaluate_every=2, **changed)
    return train(model, Causal(), Ragged(), settings, evaluate=evaluate)


@pytest.mark.parametrize("make", [tiny, lambda: wrapped("gpt2", torch.float32)], ids=["native", "gpt2 with dropout"])
def test_computing_again_changes_no_bit(make):
    plain, again = make(), make()
    expected, got = trained(plain), trained(again, recompute=True)
    assert same(weights(plain), weights(again))
    assert got.evaluation == expected.evaluation
    assert 1.2 < got.spent.flops / expected.spent.flops < 1.4  # a forward pass of the blocks more, of three


def test_computing_again_keeps_less():
    """Tensors that the graph holds on to between the passes."""

    def held(recompute):
        model, kept = tiny(depth=4), []
        hooks = torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x)
        with executed(model, TrainingSettings(steps=1, recompute=recompute)), hooks:
            loss = Causal()(model, Ragged().batch(0), generator=generator(0))
        loss.total.backward()
        return sum(kept)

    assert held(True) < 0.5 * held(False)


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_blocks_come_close(recompute):
    """In a process of its own, for the compiler cannot look through the shape checks that these tests switch on."""
    code = (
        "import json\n"
        "from tests.training.test_execution import tiny, trained\n"
        "plain, fast = tiny(), tiny()\n"
        f"runs = trained(plain), trained(fast, compile=True, recompute={recompute})\n"
        "apart = max((a - b).abs().max().item() for a, b in zip(plain.parameters(), fast.parameters()))\n"
        "print(json.dumps([[run.loss, run.evaluation['first'], run.spent.flops] for run in runs] + [apart]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (loss, first, flops), (got, seen, spent), apart = json.loads(done.stdout.splitlines()[-1])
    assert got == pytest.approx(loss, abs=1e-4)
    assert seen == pytest.approx(first, abs=1e-3)
    assert 0 < apart < 1e-3
    assert spent == flops or recompute


def test_compiled_is_what_runs_and_counting_is_not(monkeypatch):
    ran = []

    def compiling(plain):
        def run(*args, **words):
            ran.append(1)
            return plain(*args, **words)

        return run

    monkeypatch.setattr(torch, "compile", compiling)
    model, expected = tiny(), tiny()
    trained(model, compile=True)
    trained(expected)
    assert same(weights(model), weights(expected))
    assert len(ran) == 2 * 3  # two blocks; the first of four steps is counted, and evaluations run the plain form


@pytest.mark.parametrize("changed", [{"recompute": True}, {"recompute": True, "compile": True}])
def test_blocks_are_given_back(changed, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda plain: plain)
    model = tiny()
    with pytest.raises(RuntimeError, match="in the middle"), executed(model, TrainingSettings(steps=1, **changed)):
        assert all("forward" in vars(block) for block in model.blocks)
        raise RuntimeError("in the middle")
    assert not any("forward" in vars(block) for block in model.blocks)


def test_a_model_without_blocks_is_refused():
    class Flat(torch.nn.Module):
        depth = 3

    asked = executed(Flat(), TrainingSettings(steps=1, recompute=True))
    with (
        pytest.raises(ValueError, match="Flat has no list of blocks as long as it is deep; leave out recompute"),
        asked,
    ):
        pass
