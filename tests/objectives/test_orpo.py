"""ORPO."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.objectives.table import TableModel
from trivium.architectures.llama import Llama
from trivium.core.nouns import Batch
from trivium.core.protocols import LMOutput
from trivium.core.seeds import generator
from trivium.data.pairs import Pair, PairBatches, Pairs
from trivium.objectives.causal import Causal
from trivium.objectives.orpo import CERTAIN, Orpo, answers, log1mexp, log_odds
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "orpo_loss.npz"
PAIRS = [Pair((1, 2), (3, 4, 5), (6,)), Pair((7,), (8,), (9, 1, 2, 3)), Pair((4, 4, 4), (5, 6), (6, 5))]


def llama(vocab=11):
    return Llama(width=16, depth=1, heads=2, hidden=24).build(vocab, seed=3).double()


def loss(model, batch, weight=0.1):
    return Orpo(weight=weight)(model, batch, generator=generator(0))


class Given(TableModel):
    """Gives the logits that it was made with, so that gradients with respect to them can be compared."""

    def __init__(self, logits):
        super().__init__(torch.zeros(logits.shape[-1], logits.shape[-1]))
        self.logits = torch.nn.Parameter(logits)

    def run(self, ids, **_):
        return LMOutput(self.logits, self.logits)


@pytest.fixture(scope="module")
def vector():
    if not VECTORS.exists():
        pytest.skip(f"{VECTORS} is not there")
    return {name: torch.from_numpy(np.asarray(value)) for name, value in np.load(VECTORS).items()}


def given_pairs(vector, which=slice(None)):
    """Logits and labels of the reference as interleaved rows."""
    both = lambda name: torch.stack([vector[f"in_chosen_{name}"][which], vector[f"in_rejected_{name}"][which]], 1)  # noqa: E731
    labels = both("labels").flatten(0, 1)
    mask = torch.ones_like(labels, dtype=torch.bool)
    return Given(both("logits").flatten(0, 1)), Pairs(labels.clamp(min=0), mask, None, labels >= 0)


def test_parts_agree_with_the_reference(vector):
    winner, loser = answers(*given_pairs(vector))
    torch.testing.assert_close(winner, vector["out_chosen_mean_logp"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loser, vector["out_rejected_mean_logp"], atol=1e-5, rtol=1e-5)
    odds = log_odds(winner) - log_odds(loser)
    torch.testing.assert_close(odds.mean(), vector["out_mean_log_odds"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(0.1 * F.logsigmoid(odds), vector["out_weighted_log_sigmoid_odds"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(log1mexp(vector["in_log1mexp"]), vector["out_log1mexp"], atol=1e-5, rtol=1e-5)
    extreme = log_odds(vector["in_log1mexp"]) - log_odds(vector["in_extreme_rejected"])
    torch.testing.assert_close(
        0.1 * F.logsigmoid(extreme), vector["out_extreme_weighted_log_sigmoid"], atol=1e-5, rtol=1e-5
    )


def test_total_and_gradients_agree_with_the_reference(vector):
    """Its first term is a mean over tokens, ours one over pairs: a pair alone has both, so pairs are weighed here."""
    lengths = (vector["in_chosen_labels"] >= 0).sum(1)
    total = 0.0
    for row, length in enumerate(lengths):
        model, batch = given_pairs(vector, slice(row, row + 1))
        plain, whole = loss(model, batch, weight=0.0).value, loss(model, batch).value
        value = plain * length / lengths.sum() + (whole - plain) / len(lengths)
        value.backward()
        total += value.detach()
        for side, got in zip(("chosen", "rejected"), model.logits.grad, strict=True):
            torch.testing.assert_close(got, vector[f"grad_{side}_logits"][row], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(total, vector["out_total_response_only_ce"], atol=1e-5, rtol=1e-5)


def test_by_hand():
    """Answers of one token with probabilities 3/4 and 1/4: log odds ln 3 and -ln 3, their ratio 9."""
    model = TableModel(torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]], dtype=torch.float64))
    found = loss(model, Pairs.of([Pair((0,), (1,), (0,))]))
    assert found.count == 1
    assert found.total.item() == pytest.approx(math.log(4 / 3) - 0.1 * math.log(9 / 10), rel=1e-12)


def test_without_the_odds_it_is_plain_training_on_the_winners():
    """O1, loss and gradients; winners of one length, where means over pairs and over tokens are the same."""
    pairs = [Pair((1, 2), (3, 4, 5), (6,)), Pair((7, 8), (8, 9, 1), (9, 1, 2, 3))]
    model = llama()
    loss(model, Pairs.of(pairs), weight=0.0).value.backward()
    got = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    ids = torch.tensor([pair.context + pair.winner for pair in pairs])
    expected = F.cross_entropy(model(ids).logits[:, 1:-1].flatten(0, 1), ids[:, 2:].flatten())
    expected.backward()
    for mine, parameter in zip(got, model.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad, atol=1e-12, rtol=1e-9)


def test_the_loser_has_no_gradient_without_the_odds_and_one_with_them():
    logits = torch.randn(2, 4, 5, dtype=torch.float64, generator=generator(1))
    batch = Pairs.of([Pair((0, 1), (2, 3), (3, 2))])
    for weight in (0.0, 0.1):
        model = Given(logits.clone())
        loss(model, batch, weight).value.backward()
        assert (model.logits.grad[1].abs().sum() > 0) == (weight > 0)
        assert (model.logits.grad[:, [0, 3]] == 0).all()  # the context, and what stands behind the answer


def test_swapping_the_answers_negates_the_ratio_of_odds():
    model = llama()
    there, back = (
        Pairs.of([pair if way else Pair(pair.context, pair.loser, pair.winner) for pair in PAIRS]) for way in (1, 0)
    )
    ratios = [log_odds(winner) - log_odds(loser) for winner, loser in (answers(model, there), answers(model, back))]
    torch.testing.assert_close(ratios[0], -ratios[1], atol=1e-12, rtol=1e-9)


def test_equal_answers_cost_ln_2():
    batch = Pairs.of([Pair((1,), (2, 3), (2, 4))])
    same = Pairs(batch.ids[[0, 0]], batch.mask[[0, 0]], None, batch.answer[[0, 0]])
    model = llama()
    gap = loss(model, same, weight=1.0).value - loss(model, same, weight=0.0).value
    assert gap.item() == pytest.approx(math.log(2), rel=1e-9)


def test_a_step_raises_the_odds_of_the_winner_and_lowers_those_of_the_loser():
    """With a large weight, since the first term alone would raise the winner too."""
    logits = torch.randn(2, 4, 5, dtype=torch.float64, generator=generator(1))
    model, batch = Given(logits), Pairs.of([Pair((0, 1), (2, 3), (3, 2))])
    before = [log_odds(mean) for mean in answers(model, batch)]
    (loss(model, batch, weight=1.0).value - loss(model, batch, weight=0.0).value).backward()
    with torch.no_grad():
        model.logits -= 0.5 * model.logits.grad
    after = [log_odds(mean) for mean in answers(model, batch)]
    assert after[0] > before[0]
    assert after[1] < before[1]


def test_means_are_taken_over_tokens_not_sums():
    """Ten times the same token of the same probability: the mean stays, a sum would not."""
    model = TableModel(torch.zeros(3, 3, dtype=torch.float64))
    short, long = (answers(model, Pairs.of([Pair((0,), (1,) * n, (2,))]))[0] for n in (1, 10))
    assert short.item() == pytest.approx(math.log(1 / 3))
    torch.testing.assert_close(short, long)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mean", [0.0, -1e-30, -1e-9, CERTAIN, -0.6931, -0.6932, -50.0, -1e4])
def test_odds_are_finite_with_their_gradients(mean, dtype):
    x = torch.tensor(mean, dtype=dtype, requires_grad=True)
    found = log_odds(x)
    found.backward()
    assert found.isfinite()
    assert x.grad.isfinite()
    exact = min(mean, CERTAIN)
    # where the odds are even, terms near 0.7 cancel: float32 leaves 1e-7 of them
    assert found.item() == pytest.approx(exact - math.log(-math.expm1(exact)), rel=1e-5, abs=2e-7)


def test_certain_answers_leave_the_loss_finite():
    """p of exactly 1 in float32, winner or loser."""
    table = torch.zeros(3, 3)
    table[0, 1] = 1e4
    for pair in (Pair((0,), (1,), (2,)), Pair((0,), (2,), (1,))):
        model = TableModel(table.clone())
        found = loss(model, Pairs.of([pair])).value
        found.backward()
        assert found.isfinite()
        assert model.table.grad.isfinite().all()


def test_context_and_padding_do_not_count():
    model = llama()
    alone = [answers(model, Pairs.of([pair])) for pair in PAIRS]
    together = answers(model, Pairs.of(PAIRS))
    for side in (0, 1):
        torch.testing.assert_close(together[side], torch.cat([each[side] for each in alone]), atol=1e-12, rtol=1e-9)


def test_it_trains_in_the_loop_and_prefers_the_winners(tmp_path):
    model = llama().float()

    def ratio():
        with torch.no_grad():
            winner, loser = answers(model, Pairs.of(PAIRS))
        return float((log_odds(winner) - log_odds(loser)).mean())

    before = ratio()
    settings = TrainingSettings(steps=30, learning_rate=1e-2, micro_batch=2)
    train(model, Orpo(weight=1.0), PairBatches(PAIRS, 2), settings, folder=tmp_path)
    assert ratio() > before + 1


def test_plain_text_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"pairs of a preferred.*causal"):
        loss(llama(), Batch(torch.tensor([[1, 2, 3]])))
    with pytest.raises(ValueError, match="pairs of a preferred"):
        train(llama(), Orpo(), _Plain(), TrainingSettings(steps=1))  # type: ignore[arg-type]


class _Plain:
    def batch(self, step):
        return Batch(torch.tensor([[1, 2, 3]]))


@pytest.mark.parametrize("weight", [-0.1, math.inf, math.nan])
def test_weights_that_are_none_are_refused(weight):
    with pytest.raises(ValueError, match="weight must be at least 0"):
        Orpo(weight=weight)


def test_the_winners_alone_are_what_causal_training_sees():
    """The same tokens cost the same to both objectives: one pair, whose context is one token."""
    pair = Pair((1,), (2, 3), (4,))
    model = llama()
    plain = Causal()(model, Batch(torch.tensor([pair.context + pair.winner])), generator=generator(0))
    torch.testing.assert_close(loss(model, Pairs.of([pair]), weight=0.0).value, plain.value)
