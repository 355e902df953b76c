"""Losses that layers report are added to the objective's, with the weights of the model, and add up exactly."""

import pytest
import torch

from tests.training.small import VOCAB, Ragged, tiny, weights
from trivium.architectures.mixture_of_experts import MixtureOfExperts
from trivium.core.nouns import Batch, Loss
from trivium.core.seeds import generator
from trivium.objectives.causal import Causal
from trivium.training.auxiliary import asked_for
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings


def routed(**changes):
    recipe = MixtureOfExperts(**{"width": 16, "heads": 2, "hidden": 12, "balance": 0.3, "z_loss": 0.2} | changes)
    return recipe.build(VOCAB, seed=2).double()


def packed(seed=0):
    """Rows of several documents and no padding: the rows have unequal numbers of predictions."""
    draws = generator(seed, "packed")
    ids = torch.randint(0, VOCAB, (8, 12), generator=draws)
    return Batch(ids, None, (torch.rand(8, 12, generator=draws) < 0.3).long().cumsum(1))


def loss_of(model, batch, objective=None):
    with asked_for(model) as added:
        return added((objective or Causal())(model, batch, generator=generator(0)))


@pytest.mark.parametrize("batch", [packed(), Ragged().batch(0)])
def test_the_value_is_that_of_the_equation(batch):
    model = routed().train()
    loss, plain = loss_of(model, batch), Causal()(model, batch, generator=generator(0))
    aux = model(batch.ids, mask=batch.mask, segments=batch.segments).aux
    counted = batch.predicts()
    expected = plain.value
    for name, weight in (("balance", 0.3), ("z", 0.2)):
        expected = expected + weight * (aux[f"{name}.0"][counted].mean() + aux[f"{name}.1"][counted].mean()) / 2
    torch.testing.assert_close(loss.value, expected, atol=1e-12, rtol=0)
    assert loss.count == plain.count == counted.sum()
    assert (loss.value - plain.value) > 0.1


@pytest.mark.parametrize("batch", [packed(), Ragged().batch(0)])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_micro_batches_add_up_exactly(batch, rows):
    model = routed().train()
    whole = loss_of(model, batch)
    whole.value.backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    pieces = [loss_of(model, micro) for micro in batch.split(rows)]
    assert len({int(piece.count) for piece in pieces}) > 1
    sum(piece.total for piece in pieces).div(whole.count).backward()
    torch.testing.assert_close(sum(piece.total for piece in pieces), whole.total, atol=1e-9, rtol=0)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-12, rtol=1e-9)


def test_the_training_loop_minimises_it():
    """One step: the loss in the curve, and the weights after a step by hand."""
    settings = TrainingSettings(steps=1, learning_rate=1e-2, micro_batch=2, clip=None, warmup=0.0, weight_decay=0.0)
    model, expected = routed(), routed().train()
    result = train(model, Causal(), Ragged(), settings)
    loss = loss_of(expected, Ragged().batch(0))
    assert result.loss == pytest.approx(loss.value.item(), rel=1e-9)
    loss.value.backward()
    optimizer = torch.optim.AdamW(expected.parameters(), lr=settings.rate(0, 1), betas=settings.betas, weight_decay=0.0)
    optimizer.step()
    for name, weight in weights(model).items():
        torch.testing.assert_close(weight, expected.get_parameter(name), atol=1e-6, rtol=1e-6)


def test_without_weights_nothing_is_added():
    model = routed(balance=0.0, z_loss=0.0).train()
    for one in (model, tiny()):
        plain = Causal()(one, packed(), generator=generator(0))
        assert torch.equal(loss_of(one, packed()).total, plain.total)
        assert not one._forward_hooks


def test_passes_without_a_gradient_ask_for_nothing():
    model = routed().train()

    class Twice:
        def __call__(self, model, batch, *, generator):
            with torch.no_grad():
                model(batch.ids.flip(1))
            return Causal()(model, batch, generator=generator)

    assert loss_of(model, packed(), Twice()).total == loss_of(model, packed()).total


def test_of_several_passes_the_mean_is_added():
    model, one, two = routed().train(), packed(0), packed(1)

    class Both:
        def __call__(self, model, batch, *, generator):
            losses = [Causal()(model, each, generator=generator) for each in (one, two)]
            return Loss(losses[0].total, losses[0].count)

    extras = []
    for batch in (one, two):
        extras.append(loss_of(model, batch).total - Causal()(model, batch, generator=generator(0)).total)
    counts = [int(batch.predicts().sum()) for batch in (one, two)]
    plain = Causal()(model, one, generator=generator(0)).total
    expected = plain + counts[0] * sum(extras) / sum(counts)
    torch.testing.assert_close(loss_of(model, one, Both()).total, expected, atol=1e-10, rtol=0)


def test_a_loss_that_no_layer_reports_is_an_error():
    model = tiny()
    model.auxiliary = {"balance": 0.1}
    with pytest.raises(ValueError, match=r"weighs a loss 'balance' with 0\.1, but no layer reported one"):
        loss_of(model, packed())
    assert not model._forward_hooks
