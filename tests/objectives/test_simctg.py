"""SimCTG: the contrast by a slow loop over documents, its limits, and the authors' numbers."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.objectives.table import TableModel
from tests.objectives.test_contract import llama, ragged
from trivium.core.nouns import Batch
from trivium.core.protocols import LMOutput
from trivium.core.seeds import generator
from trivium.nn.contrastive import contrastive
from trivium.objectives.causal import Causal
from trivium.objectives.simctg import SimCtg, pairs_of

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "simctg_loss.npz"


class Given(TableModel):
    """Gives the hidden states and the logits that it was made with."""

    def __init__(self, hidden, vocab):
        super().__init__(torch.zeros(vocab, vocab, dtype=hidden.dtype))
        self.hidden = torch.nn.Parameter(hidden)

    def run(self, ids, **_):
        return LMOutput(self.table[ids], self.hidden)


def loss(objective, model, batch):
    return objective(model, batch, generator=generator(0))


def contrast_of(objective, model, batch):
    return loss(objective, model, batch).total - loss(Causal(), model, batch).total


@pytest.mark.parametrize("margin", [0.0, 0.5, 0.8])
def test_values_and_gradients_are_the_authors(margin):
    """Their mean runs over the pairs of all rows together, which is worked out here from the same pairs."""
    if not VECTORS.exists():
        pytest.skip(f"{VECTORS} is not there")
    vector = {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(VECTORS).items()}
    hidden = vector["in_hidden"].requires_grad_()
    _, pairs = pairs_of(Batch(vector["in_ids"], vector["in_ids"] != vector["hp_pad_id"]), same_token=True)
    value = contrastive(hidden, pairs, margin).sum() / pairs.sum()
    value.backward()
    name = f"contrastive_margin{margin:g}"
    torch.testing.assert_close(value, vector[f"out_{name}"], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(hidden.grad, vector[f"grad_{name}_hidden"], atol=1e-6, rtol=1e-6)


def test_a_number_by_hand():
    """Three states at 0, 60 and 90 degrees: cosines 1/2, 0 and cos 30; with margin 0.8 only 0.3 and 0.666 are left."""
    states = torch.tensor([[[1.0, 0.0], [0.5, math.sqrt(0.75)], [0.0, 2.0]]], dtype=torch.float64)
    batch = Batch(torch.tensor([[0, 1, 2]]))
    expected = 2 * 2 * (0.3 + math.sqrt(0.75) - 0.2) / 6  # two predictions, and each pair in both orders
    found = contrast_of(SimCtg(margin=0.8), Given(states, 3), batch)
    assert found.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("margin", [0.5, 1.0])
@pytest.mark.parametrize("same_token", [True, False])
def test_the_equation_by_a_slow_loop_over_documents(margin, same_token):
    batch = ragged(rows=4)
    hidden = 0.5 + torch.randn(4, 12, 6, dtype=torch.float64, generator=generator(1))
    found = contrast_of(SimCtg(margin, same_token), Given(hidden, 11), batch)
    total, left_out = 0.0, 0
    for row in range(4):
        for document in (0, 1):
            places = (batch.mask[row] & (batch.segments[row] == document)).nonzero()[:, 0].tolist()
            costs = []
            for i in places:
                for j in places:
                    same = bool(batch.ids[row, i] == batch.ids[row, j])
                    left_out += same and i != j
                    if i != j and (same_token or not same):
                        cosine = torch.cosine_similarity(hidden[row, i], hidden[row, j], dim=0)
                        costs.append(max(0.0, margin - 1 + float(cosine)))
            if costs:
                total += (len(places) - 1) * sum(costs) / len(costs)
    assert left_out > 0
    assert found.item() == pytest.approx(total, rel=1e-10)


def test_without_a_margin_it_is_plain_training():
    """O1, loss and gradients."""
    found = []
    for objective in (SimCtg(margin=0.0), Causal()):
        model = llama()
        one = loss(objective, model, ragged())
        one.value.backward()
        found.append([one.total.detach(), *(p.grad for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("margin", [0.3, 1.0])
def test_orthogonal_states_cost_nothing_and_equal_ones_the_margin(margin):
    batch = Batch(torch.tensor([[0, 1, 2, 0]]))
    apart, alike = torch.eye(4, dtype=torch.float64)[None], torch.ones(1, 4, 4, dtype=torch.float64)
    assert contrast_of(SimCtg(margin), Given(apart, 3), batch) == 0
    assert contrast_of(SimCtg(margin), Given(alike, 3), batch).item() == pytest.approx(3 * margin, rel=1e-9)


def test_a_document_without_a_pair_adds_nothing():
    one = torch.ones(1, 3, 2, dtype=torch.float64)
    batch = Batch(torch.tensor([[1, 1, 1]]), None, torch.tensor([[0, 1, 1]]))
    assert contrast_of(SimCtg(same_token=False), Given(one, 3), batch) == 0
    assert contrast_of(SimCtg(), Given(one, 3), batch).item() == pytest.approx(0.5)


def test_descent_turns_the_states_apart():
    """The claim at toy size: the contrast alone makes a text's states more different."""
    hidden = 1 + 0.3 * torch.randn(1, 6, 8, dtype=torch.float64, generator=generator(0))
    model, batch = Given(hidden, 6), Batch(torch.arange(6)[None])
    before = contrast_of(SimCtg(), model, batch).item()
    for _ in range(50):
        (slope,) = torch.autograd.grad(loss(SimCtg(), model, batch).total, model.hidden)
        with torch.no_grad():
            model.hidden -= 0.5 * slope
    assert contrast_of(SimCtg(), model, batch).item() < 0.1 * before


def test_bad_margins_are_refused():
    for margin in (-0.1, 1.5, math.nan):
        with pytest.raises(ValueError, match="margin must be 0 to 1"):
            SimCtg(margin=margin)
