"""Classifiers on models of every sort, against steps by hand and against themselves row by row."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear

from tests.compare.fakes import Uniform
from tests.families import wrapped
from trivium.architectures.flexibert import FlexiBERT
from trivium.architectures.gpt_bert import GptBert
from trivium.architectures.llama import Llama
from trivium.core.errors import NotFinite, NotOffered
from trivium.core.protocols import LMOutput
from trivium.models.fine_tuning import Classifier, Tuning, fine_tune
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

ROWS = [[1, 5 + n, 7, 9][: 3 + n % 2] for n in range(12)]  # the second token tells
CLASSES = [n % 2 for n in range(12)]
SIDES = (ROWS, CLASSES), (ROWS[:6], CLASSES[:6])
FAST = {"epochs": 3, "batch_size": 4, "rate": 1e-2}


class Few(ByteTokenizer):
    vocab_size = 64


def system(sort):
    if sort in ("gpt2", "llama", "mamba"):
        model = wrapped(sort, torch.float32)
    elif sort == "masked":
        model = FlexiBERT().build(64)
    elif sort == "both":
        model = GptBert(width=16, heads=2, depth=2).build(64)
    else:
        model = Llama(width=16, heads=2, depth=2).build(64)
    made = object.__new__(System)
    for name, value in {"model": model.eval(), "tokenizer": Few(), "name": sort, "fingerprint": ""}.items():
        object.__setattr__(made, name, value)
    return made


def weights(model):
    return {name: one.detach().clone() for name, one in model.named_parameters()}


SORTS = ("native", "gpt2", "llama", "mamba", "masked", "both")


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("trained", ["whole", "lora", "readout"])
def test_every_sort_of_model_learns_and_stays_as_it_was(sort, trained):
    made = system(sort)
    place = "mean" if sort == "masked" else "last"
    before, state = weights(made.model), torch.get_rng_state()
    tuning = Tuning(trained, place=place, both_ways=sort == "both", **FAST)
    tuned = fine_tune(made, *SIDES, 2, tuning)
    assert torch.equal(torch.get_rng_state(), state)
    after = weights(made.model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not made.model.training
    own = weights(tuned.classifier.model)
    if trained == "readout":
        assert tuned.classifier.model is made.model
    elif trained == "lora":
        assert not any("lora_" in name for name in before)
        frozen = {name.replace(".base_layer", ""): one for name, one in own.items() if "lora_" not in name}
        assert all(torch.equal(before[name], frozen[name]) for name in before)
        taught = [one for name, one in own.items() if "lora_B" in name]
        assert len(taught) > 1
        assert sum(bool(one.abs().sum() > 0) for one in taught) == len(taught)  # from nothing, each of them
    else:
        moved = {name for name in before if not torch.equal(before[name], own[name])}
        assert len(moved) >= len(before) - 2  # all but the head, which no class is read off
    assert tuned.classifier.model.serial == made.model.serial or trained != "readout"
    losses = [loss for _, loss in tuned.history]
    assert min(losses) < 0.7


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("place", ["last", "first", "mean"])
def test_states_do_not_depend_on_the_batch(sort, place):
    made = system(sort)
    both = sort == "both"
    classifier = Classifier(made.model, 2, Tuning(place=place, both_ways=both))
    with torch.no_grad():
        together = classifier.states(ROWS)
        for row, state in zip(ROWS, together, strict=True):
            torch.testing.assert_close(state, classifier.states([row])[0], atol=2e-5, rtol=1e-4)  # sums in float32
            ids = torch.tensor([row])
            mask = torch.ones(1, 1, len(row), len(row), dtype=torch.bool) if both else None
            hidden = made.model(ids, mask=mask).hidden[0].float()
            own = {"last": hidden[-1], "first": hidden[0], "mean": hidden.mean(0)}[place]
            torch.testing.assert_close(state, own, atol=2e-5, rtol=1e-4)


def test_one_step_by_hand():
    made = system("native")
    tuning = Tuning("readout", rate=0.1, epochs=1, batch_size=12)
    begun = Classifier(made.model, 2, tuning)
    x = begun.states(ROWS).detach()
    w, b = (one.detach().clone().requires_grad_() for one in (begun.readout.weight, begun.readout.bias))
    loss = -(linear(x, w, b).log_softmax(-1)[torch.arange(12), torch.tensor(CLASSES)]).mean()
    loss.backward()
    norm = (w.grad.square().sum() + b.grad.square().sum()).sqrt()
    grads = [one.grad / max(1.0, float(norm)) for one in (w, b)]
    adam = lambda one, g: (one - 0.1 * g / (g.abs() + 1e-8)).detach()  # its first step  # noqa: E731
    expected = [adam(one, g) for one, g in zip((w, b), grads, strict=True)]
    tuned = fine_tune(made, *SIDES, 2, tuning)
    for one, other in zip(expected, (tuned.classifier.readout.weight, tuned.classifier.readout.bias), strict=True):
        torch.testing.assert_close(one, other.detach(), atol=1e-5, rtol=1e-4)
    logits = linear(x[:6], *expected)
    assert tuned.history == [
        (pytest.approx(float((logits.argmax(1) == torch.tensor(CLASSES[:6])).float().mean())),
         pytest.approx(float(cross_entropy(logits, torch.tensor(CLASSES[:6]))), abs=1e-4)),
    ]  # fmt: skip


def test_several_steps_by_a_loop_with_gradients_cut_at_norm_1():
    """Adam by its equations, so large a rate that gradients grow beyond 1, and labels that nothing tells."""
    made, rows, classes = system("native"), ROWS[:6] * 2, [0] * 5 + [1] * 7
    tuning = Tuning("readout", rate=2.0, epochs=5, batch_size=12, patience=9)
    begun = Classifier(made.model, 2, tuning)
    x = begun.states(rows).detach()
    weights_ = [one.detach().clone() for one in (begun.readout.weight, begun.readout.bias)]
    first, second = [[torch.zeros_like(one) for one in weights_] for _ in range(2)]
    norms, history = [], []
    for step in range(1, 6):
        error = linear(x, *weights_).softmax(-1)
        error[torch.arange(12), torch.tensor(classes)] -= 1
        grads = [error.T @ x / 12, error.mean(0)]
        norms.append(float(sum(g.square().sum() for g in grads) ** 0.5))
        grads = [g / max(1.0, norms[-1] + 1e-6) for g in grads]
        for n, g in enumerate(grads):
            first[n] = 0.9 * first[n] + 0.1 * g
            second[n] = 0.999 * second[n] + 0.001 * g.square()
            rate = 2.0 * (1 - (step - 1) / 5)
            ahead, spread = first[n] / (1 - 0.9**step), (second[n] / (1 - 0.999**step)).sqrt()
            weights_[n] = weights_[n] - rate * ahead / (spread + 1e-8)
        history.append(float(cross_entropy(linear(x[:6], *weights_), torch.tensor(classes[:6]))))
    assert max(norms) > 1.0
    assert min(norms) < 1.0
    tuned = fine_tune(made, (rows, classes), (rows[:6], classes[:6]), 2, tuning)
    assert [loss for _, loss in tuned.history] == pytest.approx(history, rel=1e-3, abs=1e-4)


def test_the_rate_falls_in_a_line():
    """With one weight to learn and a gradient of one sign Adam moves by the rate at every step."""
    made = System(Uniform(), ByteTokenizer(), "uniform")
    with torch.no_grad():
        made.model.table.fill_(1.0)
    tuning = Tuning("readout", rate=1e-3, epochs=4, batch_size=1, patience=9)
    begun = Classifier(made.model, 2, tuning).readout.bias.detach().clone()
    tuned = fine_tune(made, ([[1]], [1]), ([[1]], [1]), 2, tuning)
    moved = tuned.classifier.readout.bias.detach() - begun
    assert float(moved[1]) == pytest.approx(1e-3 * (1 + 0.75 + 0.5 + 0.25), rel=1e-2)


def test_what_was_best_is_kept_and_patience_ends_it():
    made = system("native")
    wrong = [1 - one for one in CLASSES[:6]]  # what is learnt makes these worse
    tuned = fine_tune(made, SIDES[0], (ROWS[:6], wrong), 2, Tuning(epochs=9, patience=2, batch_size=4, rate=1e-2))
    assert len(tuned.history) == min(9, tuned.epoch + 2)
    assert tuned.best == max(tuned.history, key=lambda one: (one[0], -one[1]))
    logits = tuned.logits(ROWS[:6])
    assert float((logits.argmax(1) == torch.tensor(wrong)).float().mean()) == pytest.approx(tuned.best[0])
    assert float(cross_entropy(logits, torch.tensor(wrong))) == pytest.approx(tuned.best[1], abs=1e-6)


def test_seeds():
    made = system("native")
    one, same, other = (fine_tune(made, *SIDES, 2, Tuning("lora", seed=seed, **FAST)) for seed in (0, 0, 1))
    assert torch.equal(one.logits(ROWS), same.logits(ROWS))
    assert not torch.equal(one.logits(ROWS), other.logits(ROWS))
    assert torch.equal(one.logits(ROWS, 2).argsort(), one.logits(ROWS, 12).argsort())


class Bypassing(Uniform):
    """Reads the weight of its layer without calling the layer."""

    def __init__(self, value=0.1, offers=("causal", "gradient")):
        super().__init__(offers)
        self.layer = nn.utils.skip_init(nn.Linear, 4, 4)
        with torch.no_grad():
            self.table.fill_(value)
            self.layer.weight.fill_(0.1)

    def run(self, ids, **given):
        hidden = linear(self.table[ids], self.layer.weight)
        return LMOutput(torch.zeros(*ids.shape, 259), hidden)


def test_what_cannot_be_taught_is_refused():
    tokenizer = ByteTokenizer()
    for model in (Bypassing(), Uniform(("causal", "gradient"))):
        with pytest.raises(NotOffered, match="calls no linear layer that could take an adapter"):
            fine_tune(System(model, tokenizer, "x"), *SIDES, 2, Tuning("lora", **FAST))
    for trained in ("whole", "lora"):
        with pytest.raises(NotOffered, match="gradient"):
            fine_tune(System(Uniform(), tokenizer, "x"), *SIDES, 2, Tuning(trained))
    for trained in ("whole", "readout"):
        with pytest.raises(NotFinite, match=r"the loss is nan in epoch 1 at a rate of 0\.01"):
            fine_tune(System(Bypassing(float("nan")), tokenizer, "x"), *SIDES, 2, Tuning(trained, **FAST))
    with pytest.raises(ValueError, match="has seen nothing"):
        fine_tune(system("native"), *SIDES, 2, Tuning(place="first"))
    with pytest.raises(NotOffered, match="bidirectional"):
        fine_tune(system("mamba"), *SIDES, 2, Tuning(both_ways=True))
    with pytest.raises(ValueError, match="classes are 0 to 1, training has 0 to 2"):
        fine_tune(system("native"), (ROWS, [2, *CLASSES[1:]]), SIDES[1], 2)
    with pytest.raises(ValueError, match="validation needs texts of one token or more"):
        fine_tune(system("native"), SIDES[0], ([[1], []], [0, 1]), 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [("trained", "all"), ("place", "middle"), ("epochs", 0), ("rate", 0.0), ("rank", 0), ("dropout", 1.0),
     ("alpha", -1.0), ("patience", 0), ("weight_decay", -1.0), ("batch_size", 0)],
)  # fmt: skip
def test_settings_that_are_wrong(name, value):
    with pytest.raises(ValueError, match=name):
        Tuning(**{name: value})
