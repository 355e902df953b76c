"""One update against the same thing written out: accumulation, clipping, weight decay, precision."""

import pytest
import torch

from tests.training.small import VOCAB, Ragged, same, tiny, weights
from trivium.architectures.h3 import H3
from trivium.core.meter import Meter
from trivium.core.nouns import Batch, Loss
from trivium.core.seeds import generator
from trivium.objectives.causal import Causal
from trivium.training.loop import train
from trivium.training.optimizers import decayed
from trivium.training.parallel import World
from trivium.training.settings import TrainingSettings
from trivium.training.update import Updater


def by_hand(model, settings, steps):
    """The loop in a dozen lines: mean loss of the whole batch, torch's clipping, torch's AdamW."""
    groups = zip(decayed(model), (settings.weight_decay, 0.0), strict=True)
    optimizer = torch.optim.AdamW(
        [{"params": params, "weight_decay": decay} for params, decay in groups], betas=settings.betas, foreach=False
    )
    norms = []
    for step in range(steps):
        loss = Causal()(model, Ragged().batch(step), generator=generator(0))
        loss.value.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip or float("inf")).item())
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step, steps)
        optimizer.step()
        optimizer.zero_grad()
    return norms


def test_a_pass_is_counted_for_what_it_does_whatever_was_counted_before():
    """H3 passes documents as rows of their own, so that a batch with several costs otherwise than one with a single."""
    ids = torch.zeros(2, 32, dtype=torch.int64)
    apart = torch.arange(32).expand(2, -1) // 9
    one, several = Batch(ids, segments=torch.zeros_like(ids)), Batch(ids, segments=apart)
    model = H3(width=16, depth=2, heads=2).build(VOCAB)

    def spent(*batches):
        update, found = Updater(model, Causal(), TrainingSettings(steps=9), World()), []
        for step, batch in enumerate(batches):
            with Meter() as meter, torch.random.fork_rng():  # which an update seeds anew
                update(step, 9, batch, 64)
            found.append(meter.spent.flops)
        return found

    assert spent(one, several) == spent(several, one)[::-1]
    assert len(set(spent(one, several))) == 2


@pytest.mark.parametrize("micro_batch", [None, 8, 2, 3, 1])
def test_micro_batches_change_nothing(micro_batch):
    """1 batch of 8 = 4 micro-batches of 2, though they have unequal numbers of tokens; 3 does not divide 8 and may."""
    settings = TrainingSettings(steps=5, learning_rate=1e-2, micro_batch=micro_batch)
    model, expected = tiny().double(), tiny().double()
    result = train(model, Causal(), Ragged(), settings)
    norms = by_hand(expected, settings, 5)
    for name, weight in weights(model).items():
        torch.testing.assert_close(weight, expected.get_parameter(name), atol=1e-6, rtol=1e-6)
    assert [row["gradient_norm"] for row in result.curve] == pytest.approx(norms, rel=1e-6)


def test_the_rows_of_the_batches_are_unequal():
    """Or the test above would show nothing."""
    assert len(set(Ragged().batch(0).mask.sum(1).tolist())) > 3


@pytest.mark.parametrize("clip", [None, 0.05, 1e6])
def test_clipping(clip):
    settings = TrainingSettings(steps=4, learning_rate=1e-2, clip=clip)
    model, expected = tiny().double(), tiny().double()
    result = train(model, Causal(), Ragged(), settings)
    by_hand(expected, settings, 4)
    assert all(row["gradient_norm"] > 0.05 for row in result.curve)
    for name, weight in weights(model).items():
        torch.testing.assert_close(weight, expected.get_parameter(name), atol=1e-6, rtol=1e-6)


def test_weight_decay_is_on_matrices_only():
    """Where the gradient is zero AdamW only decays: by 1 - rate * decay a step."""

    class Nothing:
        def __call__(self, model, batch, *, generator):
            loss = Causal()(model, batch, generator=generator)
            return Loss(loss.total * 0.0, loss.count)

    model = tiny(tied=False)
    before = weights(model)
    train(model, Nothing(), Ragged(), TrainingSettings(steps=1, warmup=0.0, schedule="constant", learning_rate=0.1))
    for name, weight in weights(model).items():
        matrix = name.endswith("proj.weight") or name == "head.weight"
        torch.testing.assert_close(weight, before[name] * (1 - 0.1 * 0.1 if matrix else 1.0))
    assert sum(name.endswith("proj.weight") for name in before) == 14


def test_a_tied_table_and_marked_parameters_are_spared():
    model = tiny(tied=True)
    model.blocks[0].mixer.q_proj.weight._no_weight_decay = True
    matrices, others = decayed(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert "embedding.weight" in {names[id(parameter)] for parameter in others}
    assert "blocks.0.mixer.q_proj.weight" in {names[id(parameter)] for parameter in others}
    assert len(matrices) == 13
    assert len(matrices) + len(others) == len(names)


def test_frozen_parameters_stay():
    model = tiny()
    for parameter in model.blocks[0].parameters():
        parameter.requires_grad_(False)
    before = weights(model)
    train(model, Causal(), Ragged(), TrainingSettings(steps=2))
    for name, weight in weights(model).items():
        assert torch.equal(weight, before[name]) == name.startswith("blocks.0."), name


def test_bfloat16_keeps_float32_weights_and_comes_close():
    exact, half = tiny(), tiny()
    settings = TrainingSettings(steps=30, learning_rate=1e-2)
    seen = []

    class Watched:
        def __call__(self, model, batch, *, generator):
            loss = Causal()(model, batch, generator=generator)
            seen.append((model(batch.ids).logits.dtype, loss.total.dtype))
            return loss

    expected = train(exact, Causal(), Ragged(), settings)
    got = train(half, Watched(), Ragged(), TrainingSettings(steps=30, learning_rate=1e-2, precision="bfloat16"))
    assert set(seen) == {(torch.bfloat16, torch.float32)}
    assert all(weight.dtype == torch.float32 for weight in weights(half).values())
    assert got.loss != expected.loss
    assert got.loss == pytest.approx(expected.loss, abs=0.1)
    assert got.loss < got.curve[0]["loss"] - 0.3


def test_a_batch_without_a_target_is_an_error():
    class Single:
        def batch(self, step):
            batch = Ragged(rows=2).batch(step)
            batch.mask[:, 1:] = False
            return batch

    with pytest.raises(ValueError, match="the batch of step 0 has no token to predict"):
        train(tiny(), Causal(), Single(), TrainingSettings(steps=3))


def test_a_loss_that_reaches_nothing_is_an_error():
    class Detached:
        def __call__(self, model, batch, *, generator):
            loss = Causal()(model, batch, generator=generator)
            return Loss(loss.total.detach(), loss.count)

    class Elsewhere:
        stray = torch.ones((), requires_grad=True)

        def __call__(self, model, batch, *, generator):
            return Loss(self.stray * VOCAB, torch.tensor(1))

    for objective in (Detached(), Elsewhere()):
        with pytest.raises(ValueError, match=f"the loss of {type(objective).__name__} reaches no trainable parameter"):
            train(tiny(), objective, Ragged(), TrainingSettings(steps=2))


def test_an_objective_that_changes_is_asked_once_per_update_what_it_is_now():
    asked = []

    class Changing:
        def at(self, progress):
            asked.append(progress)
            return Causal()

        def __call__(self, model, batch, *, generator):
            raise AssertionError("what it is now should have been called")

    model, expected = tiny(), tiny()
    settings = TrainingSettings(steps=4, micro_batch=3)
    train(model, Changing(), Ragged(), settings)
    train(expected, Causal(), Ragged(), settings)
    assert asked == [0.0, 0.25, 0.5, 0.75]
    assert same(weights(model), weights(expected))
