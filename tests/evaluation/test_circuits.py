"""The truth of a circuit is what knocking out each head says, and scores are judged as scikit-learn would."""

import pytest
import torch

from tests.families import wrapped
from trivium.core.errors import UnknownName
from trivium.evaluation.circuits import Circuits, Truth
from trivium.models.heads import Effects, contributions
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer


class Plain(ByteTokenizer):
    """Nothing before a text."""

    opening = ()


def made(gap_upwards=True):
    """A random model of bytes that prefers the answer after positives a little: its logits are turned round if not."""
    system = System(wrapped("llama", vocab_size=259, num_hidden_layers=2), Plain(), "made")
    task = TASK
    (example,) = task.examples("test")
    pairs = task.contrasts(system, example)
    here, there = task._rows(system, pairs)
    gap = task._plain(system, here, task._judged(system, pairs, "text"))
    gap -= task._plain(system, there, task._judged(system, pairs, "negative"))
    if (gap > 0) != gap_upwards:
        with torch.no_grad():
            system.model.inner.lm_head.weight.mul_(-1)
    return system


TASK = Circuits(("greater_than",), pairs=4, tokens=6, share=0.05)


@pytest.fixture(scope="module")
def system():
    return made()


def judged(system, pair, ids):
    """Log-odds of the later decade, by hand."""
    with torch.no_grad():
        logits = system.model(ids[None]).logits[0, -1].double()
    right, wrong = ([ord(said) for said in sort] for sort in (pair.answers, pair.wrong))
    return float(logits[right].exp().sum().log() - logits[wrong].exp().sum().log())


@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_the_truth_is_what_a_slow_loop_over_heads_says(system, ablation):
    task = Circuits(("greater_than",), pairs=4, tokens=6, share=0.05, ablation=ablation)
    (example,) = task.examples("test")
    truth, pairs = task.truth(system, example), task.contrasts(system, example)
    rows = [(pair, *(system.prompt(text)[0] for text in (pair.text, pair.negative))) for pair in pairs]
    plain = sum(judged(system, pair, ids) for pair, ids, _ in rows) / 4
    other = sum(judged(system, pair, ids) for pair, _, ids in rows) / 4
    assert truth.gap == pytest.approx(plain - other, abs=1e-6)
    means = 0.0
    if ablation == "mean":
        with torch.no_grad(), system.model.capture("blocks.1.attn.z") as seen:
            system.model(torch.stack([ids for _, _, ids in rows]))
        means = seen["blocks.1.attn.z"].mean(0)[:, 3]

    def gone(z):
        z = z.clone()
        z[:, :, 3] = means
        return z

    with system.model.edit({"blocks.1.attn.z": gone}):
        without = sum(judged(system, pair, ids) for pair, ids, _ in rows) / 4
    assert float(truth.found.lost[1, 3]) == pytest.approx(plain - without, abs=1e-6)
    assert torch.equal(truth.heads, truth.found.lost > 0.05 * truth.gap)
    assert task.truth(system, example) is truth  # it is found once


def test_activations_are_those_of_the_pairs(system):
    (example,) = TASK.examples("test")
    x, y = TASK.activations(system, example)
    pairs = TASK.contrasts(system, example)
    assert x.shape == (8, 8, 32)
    assert y.tolist() == [1] * 4 + [0] * 4
    texts = [pair.text for pair in pairs] + [pair.negative for pair in pairs]
    torch.testing.assert_close(x, contributions(system.model, [system.prompt(text)[0] for text in texts]))
    (other,) = TASK.examples("validation")
    assert TASK.contrasts(system, other) != pairs


def known(system, threshold=None):
    """Four of eight heads are of the circuit."""
    task = Circuits(("greater_than",), pairs=4, tokens=6, threshold=threshold)
    (example,) = task.examples("test")
    heads = torch.tensor([[True, False, False, True], [False, True, True, False]])
    task._truths[(system.serial, example.id)] = Truth(heads, 1.0, Effects(1.0, heads.double()))
    return task, example


SCORES = torch.tensor([[9.0, 1.0, 2.0, 6.0], [7.0, 8.0, 0.0, 3.0]])


def test_scores_are_judged_by_hand(system):
    """In order: true, true, false, true, false, false, false, true. Best after four: 3 hits of 4, recall 3 of 4."""
    task, example = known(system)
    got = task.score(system, example, SCORES)
    assert got.values["auc"] == pytest.approx((4 + 4 + 3 + 0) / 16)
    assert got.values["precision"] == got.values["recall"] == got.values["f1"] == pytest.approx(0.75)
    assert got.values["circuit"] == 0.5
    assert got.shown["circuit"] == [(0, 0), (0, 3), (1, 1), (1, 2)]
    assert 0.5 < got.values["f1_permuted"] < 0.85
    assert task.score(system, example, SCORES.flatten()).values == got.values
    perfect = task.score(system, example, torch.tensor([9.0, 0, 0, 9, 0, 9, 9, 0])).values
    assert (perfect["auc"], perfect["f1"]) == (1.0, 1.0)
    assert perfect["f1_permuted"] < 0.9


def test_a_threshold_is_one_of_the_softmax(system):
    """Softmax of 9 and 8 is 0.63 and 0.23, of 7 it is 0.09."""
    task, example = known(system, threshold=0.1)
    got = task.score(system, example, SCORES).values
    assert (got["precision"], got["recall"]) == (1.0, 0.5)
    assert got["f1"] == pytest.approx(2 / 3)
    task, example = known(system, threshold=1.0)
    assert task.score(system, example, SCORES).values["f1"] == 0.0


def test_scores_that_do_not_fit_are_refused(system):
    task, example = known(system)
    with pytest.raises(ValueError, match=r"a score for each of 8; got \(2, 3\)"):
        task.score(system, example, SCORES[:, :3])
    with pytest.raises(ValueError, match="1 of 8 scores are not finite"):
        task.score(system, example, torch.tensor([float("nan")] + [0.0] * 7))


def test_a_model_that_does_not_do_the_task_has_no_truth(system, monkeypatch):
    (example,) = TASK.examples("test")
    with pytest.raises(ValueError, match=r"gains -.* from the task"):
        TASK.truth(made(gap_upwards=False), example)
    for lost, said in ((torch.zeros(2, 4), "no"), (torch.full((2, 4), 1e6), "every")):
        monkeypatch.setattr("trivium.evaluation.circuits.effects", lambda *a, lost=lost, **k: Effects(1e3, lost))
        with pytest.raises(ValueError, match=f"{said} head of made takes more than 0.05 of the gap"):
            Circuits(("greater_than",), pairs=4, tokens=6, share=0.05).truth(system, example)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pairs": 1}, "pairs must be at least 2, got 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"ablation": "none"}, "ablation must be one of zero, mean; got 'none'"),
        ({"share": 1.0}, r"between 0 and 1; got 1\.0"),
        ({"threshold": 2.0}, r"threshold is a softmax, 0 to 1; got 2\.0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Circuits(**settings)


def test_unknown_names_are_refused(system):
    with pytest.raises(UnknownName, match="no circuit task is called 'oii'; did you mean 'ioi'"):
        Circuits(("oii",))
    with pytest.raises(ValueError, match="the splits are"):
        TASK.examples("train")
