"""Hidden-state optimization: its off-switch, its gradient, its causality, and what it leaves alone."""

import copy

import pytest
import torch
from torch import nn

from tests.decoding.models import Table, tiny
from tests.families import wrapped
from trivium.architectures.llama import Llama
from trivium.compare.contender import describe
from trivium.core.errors import NotOffered
from trivium.core.meter import Meter
from trivium.decoding.greedy import Greedy
from trivium.decoding.hidden_state_optimization import BETAS, EPSILON, HiddenStateOptimization, Moved
from trivium.decoding.sampling import Sampling
from trivium.models.state import SMALLEST, Buffers, KeyValueState

IDS = torch.randint(3, 60, (2, 23), generator=torch.Generator().manual_seed(0))
EXACT = {"atol": 1e-11, "rtol": 0}


def native():
    return Llama(width=16, depth=2, heads=2).build(64, seed=1).double().eval()


def models():
    return {"native": native(), **{family: tiny(family) for family in ("llama", "gpt2", "gemma", "gpt_neox")}}


def plain(model, ids):
    with torch.no_grad():
        return model(ids).logits.log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0]


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma", "native"])
def test_a_rate_of_zero_is_the_plain_model(name, steps):
    model = models()[name]
    for chunk in (7, 100):
        off = HiddenStateOptimization(chunk, 0.0, steps)
        torch.testing.assert_close(off.evaluate(model, IDS), plain(model, IDS), **EXACT)
    off = HiddenStateOptimization(5, 0.0, steps)
    made, usual = (d(model, IDS, limit=6, generator=torch.Generator()) for d in (off, Greedy()))
    assert torch.equal(made.ids, usual.ids)
    torch.testing.assert_close(made.logprobs, usual.logprobs, **EXACT)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma", "native"])
def test_the_weights_stay_and_hold_no_gradients(name):
    model = models()[name]
    before = copy.deepcopy(model.state_dict())
    asked = [weight.requires_grad for weight in model.parameters()]
    moving = HiddenStateOptimization(4, 0.1)
    moved = moving.evaluate(model, IDS)
    assert (moved[:, 4:] - plain(model, IDS)[:, 4:]).abs().max() > 1e-3
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())
    assert asked == [weight.requires_grad for weight in model.parameters()]
    assert not moved.requires_grad


@pytest.mark.parametrize("name", ["llama", "native"])
def test_frozen_weights_and_inference_mode_are_no_hindrance(name):
    model = copy.deepcopy(models()[name])
    expected = HiddenStateOptimization(4, 0.05).evaluate(model, IDS)
    model.requires_grad_(False)
    with torch.inference_mode():
        ids = IDS.clone()
        found = HiddenStateOptimization(4, 0.05).evaluate(model, ids)
    torch.testing.assert_close(found, expected, **EXACT)


def test_dropout_is_off_and_the_mode_is_put_back():
    model = wrapped("gpt2", resid_pdrop=0.5, attn_pdrop=0.5)
    expected = HiddenStateOptimization(4).evaluate(model, IDS)
    model.train()
    torch.testing.assert_close(HiddenStateOptimization(4).evaluate(model, IDS), expected, **EXACT)
    assert model.training


@pytest.mark.parametrize("name", ["llama", "native"])
def test_what_is_recorded_depends_on_earlier_tokens_only_and_is_recorded_before_the_update(name):
    model, moving = models()[name], HiddenStateOptimization(4, 0.05, 2)
    whole = moving.evaluate(model, IDS)
    torch.testing.assert_close(whole[:, :4], plain(model, IDS)[:, :4], **EXACT)  # nothing is updated before them
    for end in (6, 9, 13, 20):
        changed = IDS.clone()
        changed[:, end:] = (changed[:, end:] + 1) % 60
        torch.testing.assert_close(moving.evaluate(model, changed)[:, : end - 1], whole[:, : end - 1], **EXACT)
        torch.testing.assert_close(moving.evaluate(model, IDS[:, :end]), whole[:, : end - 1], **EXACT)


def chunk_loss(model, tensors, state, ids, own=None):
    """Loss of predicting each token of ``ids`` but the first from the state, its keys and values replaced."""
    with torch.no_grad():
        out = model(ids[:, :-1], state=state.holding(tensors, own or ()), keep_state=True)
    return -out.logits.log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0].mean(1).sum()


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "native"])  # others reckon their norms in float32
def test_the_gradient_is_that_of_finite_differences(name):
    model, seen = models()[name], {}

    class Spied(Moved):
        def _adam(self, loss, after, rows, *, fresh):
            seen["grads"] = torch.autograd.grad(loss, after.tensors(), retain_graph=True)
            seen["past"] = self.state
            return super()._adam(loss, after, rows, fresh=fresh)

    moved = Spied(HiddenStateOptimization(8, 0.0), model, 2)
    moved.read(IDS[:, :17], torch.ones(2, 16, dtype=torch.bool))
    past, h = seen["past"], 1e-5
    tensors = [one[:, :, :8] for one in past.tensors()]
    with torch.no_grad():
        zeros = [
            torch.zeros_like(one[:, :, :8]) for one in model(IDS[:, 8:16], state=past, keep_state=True).state.tensors()
        ]
    for layer, at in ((0, (0, 0, 2, 1)), (3, (1, 1, 5, 0)), (len(tensors) - 1, (1, 0, 7, 3))):
        for own in (False, True):
            losses = []
            for sign in (1, -1):
                kept, shifts = [x.clone() for x in tensors], [x.clone() for x in zeros]
                (shifts if own else kept)[layer][at] += sign * h
                losses.append(chunk_loss(model, kept, past, IDS[:, 8:17], shifts))
            slot = (*at[:2], at[2] + 8 * own, at[3])
            assert float(seen["grads"][layer][slot]) == pytest.approx(
                float(losses[0] - losses[1]) / (2 * h), abs=1e-8, rel=1e-5
            )


@pytest.mark.parametrize("name", ["llama", "native"])
def test_a_small_step_lowers_the_loss_of_the_same_chunk_by_the_rate_times_the_squared_gradient(name):
    model, seen = models()[name], {}

    class Spied(Moved):
        def _adam(self, loss, after, rows, *, fresh):
            seen.update(grads=torch.autograd.grad(loss, after.tensors(), retain_graph=True), past=self.state, loss=loss)
            seen["moves"] = super()._adam(loss, after, rows, fresh=fresh)
            return seen["moves"]

    Spied(HiddenStateOptimization(8, 1e-4), model, 2).read(IDS[:, :17], torch.ones(2, 16, dtype=torch.bool))
    past = seen["past"]
    before, grads = [one[:, :, :8] for one in past.tensors()], [g[:, :, :8] for g in seen["grads"]]
    assert float(chunk_loss(model, before, past, IDS[:, 8:17])) == pytest.approx(float(seen["loss"].detach()))
    rate = 1e-4
    after = chunk_loss(model, [x - rate * g for x, g in zip(before, grads, strict=True)], past, IDS[:, 8:17])
    expected = rate * float(sum(g.square().sum() for g in grads))
    assert float(seen["loss"].detach() - after) == pytest.approx(expected, rel=0.01)
    moved = chunk_loss(model, [x + m[:, :, :8] for x, m in zip(before, seen["moves"], strict=True)], past, IDS[:, 8:17])
    assert float(moved) < float(seen["loss"])


def test_adam_against_torch_and_moments_belong_to_tokens():
    """The first chunk's tokens are two updates old when those of the second are one."""
    model, log = tiny(), []

    class Spied(Moved):
        def _adam(self, loss, after, rows, *, fresh):
            grads = torch.autograd.grad(loss, after.tensors(), retain_graph=True)
            log.append(([g[:, :, : after.slots] for g in grads], super()._adam(loss, after, rows, fresh=fresh)))
            return log[-1][1]

    moved = Spied(HiddenStateOptimization(4, 0.01), model, 2)
    moved.read(IDS[:, :9], torch.ones(2, 8, dtype=torch.bool))
    assert moved.ages.tolist() == [[2.0] * 4 + [1.0] * 4] * 2
    (one, first), (two, second) = log
    for part, steps in ((slice(0, 4), (one, two)), (slice(4, 8), (two,))):
        for at in range(len(one)):
            weight = nn.Parameter(torch.zeros_like(two[at][:, :, part]))
            adam = torch.optim.Adam([weight], lr=0.01, betas=BETAS, eps=EPSILON)
            for grads in steps:
                before, weight.grad = weight.detach().clone(), grads[at][:, :, part]
                adam.step()
            torch.testing.assert_close(second[at][:, :, part], weight.detach() - before, atol=1e-12, rtol=1e-9)
    assert first[0].shape[2] == 4


@pytest.mark.parametrize("name", ["llama", "native"])
def test_each_step_lowers_the_loss_of_its_chunk(name):
    losses = []

    class Spied(Moved):
        def _adam(self, loss, after, rows, *, fresh):
            losses.append(float(loss.detach()))
            return super()._adam(loss, after, rows, fresh=fresh)

    Spied(HiddenStateOptimization(8, 1e-3, 4), models()[name], 2).read(IDS[:, :17], torch.ones(2, 16).bool())
    for steps in (losses[:4], losses[4:]):
        assert len(steps) == 4
        assert steps == sorted(steps, reverse=True)
        assert len(set(steps)) == 4


def test_the_first_prediction_reads_what_was_moved():
    moving = HiddenStateOptimization(100, 0.05)
    made = moving(tiny(), IDS, limit=3, generator=torch.Generator())
    own = moving.law(tiny(), torch.cat([IDS, made.ids], 1), IDS.shape[1]).log_softmax(-1)
    expected = own[:, IDS.shape[1] - 1 : -1].gather(2, made.ids[..., None])[..., 0]
    torch.testing.assert_close(made.logprobs, expected, atol=1e-9, rtol=0)
    first = plain(tiny(), torch.cat([IDS, made.ids], 1))[:, IDS.shape[1] - 1]
    assert (made.logprobs[:, 0] - first).abs().min() > 1e-4


@pytest.mark.parametrize("chunk", [2, 3, 100])
def test_rows_of_unequal_length_are_optimised_as_alone(chunk):
    rows = [[1, 5, 6, 7, 5, 6, 7, 5, 6], [3], [9, 8, 9, 8, 9]]
    ids = torch.tensor([[0] * (9 - len(row)) + row for row in rows])
    mask = torch.tensor([[False] * (9 - len(row)) + [True] * len(row) for row in rows])
    moving = HiddenStateOptimization(chunk, 0.05, 2)
    together = moving(tiny(), ids, mask=mask, limit=4, generator=torch.Generator())
    for at, row in enumerate(rows):
        alone = moving(tiny(), torch.tensor([row]), limit=4, generator=torch.Generator())
        assert torch.equal(together.ids[at], alone.ids[0])
        torch.testing.assert_close(together.logprobs[at], alone.logprobs[0], atol=1e-9, rtol=0)


def test_any_sampler_may_follow():
    moving = HiddenStateOptimization(5, 0.0, of=Sampling())
    one, two = (d(tiny(), IDS, limit=8, generator=torch.Generator().manual_seed(1)) for d in (moving, Sampling()))
    assert torch.equal(one.ids, two.ids)
    assert "hidden_state_optimization(chunk=5" in describe(moving)


CANDIDATES = [torch.tensor([4]), torch.tensor([7, 8]), torch.tensor([9, 10, 11])]


def test_classification_without_a_rate_scores_candidates_as_the_model_does():
    query = torch.tensor([5, 6])
    scores = HiddenStateOptimization(4, 0.0).classify(tiny(), IDS[0], query, CANDIDATES)
    for one, score in zip(CANDIDATES, scores, strict=True):
        text = torch.cat([IDS[0], query, one])[None]
        assert float(score) == pytest.approx(float(plain(tiny(), text)[0, -len(one) :].sum()))


def test_classification_learns_from_the_labels_that_are_marked():
    shown = torch.tensor([11, 12, 4, 13, 14, 9, 15, 16, 4, 17, 18, 9, 19, 20, 4])
    labels = torch.tensor([False, False, True] * 5)
    query, answers = torch.tensor([21, 22]), [torch.tensor([4]), torch.tensor([30])]
    score = lambda rate, marked: HiddenStateOptimization(3, rate).classify(  # noqa: E731
        tiny(), shown, query, answers, labels=marked
    )
    off, on, every, none = score(0.0, labels), score(0.05, labels), score(0.05, None), score(0.05, labels & False)
    torch.testing.assert_close(off, none, **EXACT)  # nothing marked, nothing learned
    assert on[0] - on[1] > off[0] - off[1]
    assert not torch.allclose(on, every)


def test_passes_backwards_are_metered():
    with Meter() as meter:
        HiddenStateOptimization(8, steps=2).evaluate(tiny(), IDS)
    assert meter.spent.calls == 2 * 3
    assert meter.spent.backwards == 2 * 3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"chunk": 0}, "chunk"), ({"steps": 0}, "steps"), ({"rate": -0.1}, "rate"), ({"rate": float("nan")}, "rate")],
)
def test_settings_out_of_range(wrong, said):
    with pytest.raises(ValueError, match=said):
        HiddenStateOptimization(**wrong)
    with pytest.raises(TypeError, match="one distribution"):
        HiddenStateOptimization(of=HiddenStateOptimization())  # type: ignore[arg-type]


def test_models_without_what_it_takes_are_refused(monkeypatch):
    table = Table(torch.zeros(4, 4, dtype=torch.float64))
    with pytest.raises(NotOffered, match="gradient"):
        HiddenStateOptimization().evaluate(table, IDS % 4)
    with pytest.raises(NotOffered, match="hidden_state_optimization needs"):
        HiddenStateOptimization().evaluate(tiny("mamba"), IDS)
    model = wrapped("llama")
    kept = model.run

    def quantised(*arguments, **words):  # keys and values that no gradient reaches
        out = kept(*arguments, **words)
        state = KeyValueState(Buffers(SMALLEST), out.state.batch, out.state.slots)
        for layer, keys in out.state.buffers.keys.items():
            state.buffers.keys[layer], state.buffers.values[layer] = keys.detach(), keys.detach()
        return type(out)(out.logits, out.hidden, state)

    monkeypatch.setattr(model, "run", quantised)
    with pytest.raises(NotOffered, match="takes no gradients"):
        HiddenStateOptimization().evaluate(model, IDS)
    monkeypatch.setattr(type(model), "dtype", torch.int8)
    with pytest.raises(NotOffered, match="float weights"):
        HiddenStateOptimization().evaluate(model, IDS)


def test_bad_input_of_scoring():
    moving = HiddenStateOptimization()
    with pytest.raises(ValueError, match="int64"):
        moving.evaluate(tiny(), IDS.double())
    with pytest.raises(ValueError, match="positions"):
        moving.evaluate(tiny(), IDS.repeat(1, 10))
    with pytest.raises(ValueError, match="at least one candidate"):
        moving.classify(tiny(), IDS[0], IDS[0], [])
    with pytest.raises(ValueError, match="labels"):
        moving.classify(tiny(), IDS[0], IDS[0], CANDIDATES, labels=torch.ones(3, dtype=torch.bool))
    assert moving.evaluate(tiny(), IDS[:, :1]).shape == (2, 0)
