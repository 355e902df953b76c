"""Which optimiser has which parameter, and what Muon does to a matrix."""

import pytest
import torch

from tests.families import wrapped
from tests.training.small import Ragged, StopAt, Stopped, same, tiny, weights
from trivium.core.seeds import generator
from trivium.objectives.causal import Causal
from trivium.training.loop import train
from trivium.training.optimizers import optimizers
from trivium.training.settings import TrainingSettings

MUON = TrainingSettings(steps=6, learning_rate=1e-2, optimizer="muon", checkpoint_every=2)


def owned(model, settings=MUON):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        type(optimizer).__name__: {names[id(p)] for group in optimizer.param_groups for p in group["params"]}
        for optimizer in optimizers(model, settings)
    }


@pytest.mark.parametrize("tied", [True, False])
def test_muon_has_the_hidden_matrices(tied):
    found = owned(tiny(tied=tied))
    assert found["Muon"] == {name for name, _ in tiny().named_parameters() if name.endswith("proj.weight")}
    rest = {
        "embedding.weight",
        "norm.gain",
        *(f"blocks.{n}.{part}_norm.gain" for n in (0, 1) for part in ("mixer", "channel")),
    }
    assert found["AdamW"] == rest | (set() if tied else {"head.weight"})


def test_muon_leaves_the_head_of_a_wrapped_model():
    model = wrapped("llama", torch.float32)
    found = owned(model)
    head = {name for name, p in model.named_parameters() if p is model.parts.head.weight}
    assert head
    assert head <= found["AdamW"]
    assert all(model.get_parameter(name).ndim == 2 for name in found["Muon"])
    assert found["AdamW"] | found["Muon"] == {name for name, _ in model.named_parameters()}


def test_a_step_of_muon_is_orthogonal_and_as_large_as_adamws():
    """Without decay a first step changes a matrix by rate * 0.2 sqrt(max(shape)) times one whose singular values the
    iteration has brought near 1, where those of the gradient fall off steeply: its root mean square is near 0.2 * rate.
    The weakest directions need more than the five turns of the iteration, so only the first third is looked at."""
    model = tiny(width=32, heads=4, hidden=48)
    before = weights(model)
    Causal()(model, Ragged().batch(0), generator=generator(0)).value.backward()
    slopes = {name: torch.linalg.svdvals(p.grad) for name, p in model.named_parameters() if p.ndim == 2}
    model.zero_grad()
    settings = TrainingSettings(
        steps=1, learning_rate=1e-2, optimizer="muon", weight_decay=0.0, schedule="constant", warmup=0.0
    )
    train(model, Causal(), Ragged(), settings)
    for name, weight in weights(model).items():
        if name.endswith("proj.weight"):
            change = (weight - before[name]).double()
            values = torch.linalg.svdvals(change) / (1e-2 * 0.2 * max(change.shape) ** 0.5)
            third = len(values) // 3
            assert slopes[name][third] < 0.45 * slopes[name][0], name
            assert ((values[:third] > 0.65) & (values[:third] < 1.25)).all(), name
            assert 0.4 < float(change.square().mean().sqrt()) / (1e-2 * 0.2) < 1.2


def test_muon_learns_and_momentum_matters():
    ends = {}
    for momentum in (0.95, 0.0):
        settings = TrainingSettings(steps=30, learning_rate=2e-2, optimizer="muon", momentum=momentum)
        result = train(tiny(), Causal(), Ragged(), settings)
        assert result.loss < result.curve[0]["loss"] - 0.3
        ends[momentum] = result.loss
    assert ends[0.95] != ends[0.0]


def test_a_stopped_run_with_muon_goes_on_to_the_same_bits(tmp_path):
    whole, again = tiny(), tiny(seed=4)
    train(whole, Causal(), Ragged(), MUON)
    with pytest.raises(Stopped):
        train(tiny(), Causal(), StopAt(Ragged(), 5), MUON, folder=tmp_path)
    train(again, Causal(), Ragged(), MUON, folder=tmp_path)
    assert same(weights(whole), weights(again))


def test_what_muon_cannot_do_is_said(monkeypatch):
    model = tiny()
    for block in model.blocks:
        block.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable matrix between embedding and head"):
        optimizers(model, MUON)
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ValueError, match=r"'muon' came with torch 2\.9"):
        optimizers(tiny(), MUON)
