"""EMO: the distance by a slow loop and by a linear program, what is held constant, and the authors' numbers."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from tests.objectives.table import TableModel
from tests.objectives.test_contract import llama, ragged
from trivium.architectures.llama import Llama
from trivium.core.errors import NotOffered
from trivium.core.nouns import Batch
from trivium.core.protocols import LMOutput
from trivium.core.seeds import generator
from trivium.objectives.causal import Causal
from trivium.objectives.emo import Emo, distances, mixed

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "emo_loss.npz"
MIXES = ("adaptation", "pretraining")


class Headed(TableModel):
    """Given hidden states before a given output matrix."""

    def __init__(self, hidden, matrix):
        super().__init__(torch.zeros(len(matrix), 1, dtype=hidden.dtype))
        self.hidden, self.matrix = torch.nn.Parameter(hidden), torch.nn.Parameter(matrix)

    @property
    def head(self):
        return SimpleNamespace(weight=self.matrix)

    def run(self, ids, **_):
        return LMOutput(self.hidden @ self.matrix.T, self.hidden)


def loss(objective, model, batch):
    return objective(model, batch, generator=generator(0))


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed, "emo"))


def headed(vocab=5, width=3, time=4):
    model = Headed(drawn(1, time, width), drawn(vocab, width, seed=1))
    return model, Batch(torch.arange(time)[None] % vocab)


def cost(table):
    units = table / table.norm(dim=1, keepdim=True)
    return 1 - units @ units.T


@pytest.mark.parametrize(
    ("name", "mix", "fixed"),
    [
        ("emo1_adaptive", "adaptation", False),
        ("emo2_adaptive", "pretraining", False),
        ("emo2_fixed", "pretraining", True),
    ],
)
def test_values_and_gradients_are_the_authors(name, mix, fixed):
    if not VECTORS.exists():
        pytest.skip(f"{VECTORS} is not there")
    vector = {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(VECTORS).items()}
    labels = vector["in_labels"]
    model = Headed(vector["in_hidden"], vector["w_output_matrix"])
    costs = Headed(vector["in_hidden"], vector["w_fixed_cost_table"]) if fixed else None
    ignored = labels < 0
    batch = Batch(labels.clamp(min=0), None, ignored.long().cumsum(1))  # what begins a document is no target
    value = loss(Emo(mix=mix, costs=costs), model, batch).value
    value.backward()
    torch.testing.assert_close(value, vector[f"out_{name}_loss"], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(model.hidden.grad, vector[f"grad_{name}_hidden"], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(model.matrix.grad, vector[f"grad_{name}_output_matrix"], atol=1e-9, rtol=1e-9)
    if costs is not None:
        assert costs.matrix.grad is None


def test_a_number_by_hand():
    """Vectors at 0, 60 and 180 degrees cost 0, 1/2 and 2 from the first: with Q = (1/2, 1/4, 1/4) that is 5/8."""
    table = torch.tensor([[2.0, 0.0], [0.5, math.sqrt(0.75)], [-3.0, 0.0]], dtype=torch.float64)
    q = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64)
    assert distances(q, torch.tensor([0]), table).item() == pytest.approx(5 / 8, rel=1e-12)


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("subtract_target", [True, False])
@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_the_equation_by_a_slow_loop(mix, subtract_target, weight):
    model, batch = headed()
    found = loss(Emo(weight, mix, None, subtract_target), model, batch)
    total = 0.0
    for at in range(3):
        q, y = (model.hidden[0, at] @ model.matrix.T).softmax(0).tolist(), at + 1
        ce = -math.log(q[y])
        far = sum(q[v] * float(cost(model.matrix.detach())[y, v]) for v in range(5)) + subtract_target * q[y]
        pair = ((ce + ce / far * far) / 2) if mix == "adaptation" else (far + far / ce * ce)
        total += (1 - weight) * ce + weight * pair
    assert found.total.item() == pytest.approx(total, rel=1e-8)  # the constant in the ratios is 1e-10
    assert found.count == 3


@pytest.mark.parametrize("mix", MIXES)
def test_gradients_are_those_of_the_terms_with_the_ratio_frozen(mix):
    """O3: the ratio, the target's share and the cost table are numbers here, so finite differences may be taken."""
    model, batch = headed()
    table, targets = model.matrix.detach(), batch.ids[0, 1:]
    logits = (model.hidden @ model.matrix.T).detach()[0, :-1]

    def terms(logits):
        log_q = logits.log_softmax(-1)
        return -log_q.gather(1, targets[:, None])[:, 0], (cost(table)[targets] * log_q.exp()).sum(1)

    ce_now, distance_now = terms(logits)
    target_now = (-ce_now).exp()
    distance_now = distance_now + target_now

    def frozen(logits):
        ce, distance = terms(logits)
        distance = distance + target_now
        if mix == "adaptation":
            return ((ce + ce_now / distance_now * distance) / 2).sum()
        return (distance + distance_now / ce_now * ce).sum()

    moving = logits.clone().requires_grad_()
    assert torch.autograd.gradcheck(frozen, (moving,))
    frozen(moving).backward()
    loss(Emo(mix=mix), model, batch).total.backward()
    torch.testing.assert_close(model.hidden.grad[0, :-1], moving.grad @ table, atol=1e-8, rtol=1e-8)


def test_the_target_is_subtracted_from_the_value_alone():
    """The pretraining mix has the value 2 D, and with the subtraction 2 (D + Q(y))."""
    model, batch = headed()
    q = (model.hidden @ model.matrix.T).softmax(-1)[0, :-1]
    plain = distances(q, batch.ids[0, 1:], model.matrix)
    values = [loss(Emo(mix="pretraining", subtract_target=way), model, batch).total for way in (True, False)]
    own = q.gather(1, batch.ids[0, 1:, None]).sum()
    torch.testing.assert_close(values[0] - values[1], 2 * own, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(values[1], 2 * plain.sum(), atol=1e-8, rtol=1e-8)


def test_one_true_token_makes_the_bound_the_earth_mover_distance():
    """Against a linear program; where the truth is spread the product coupling is an upper bound only."""
    table = drawn(5, 3)
    costs = cost(table)
    q, p = drawn(5, seed=2).softmax(0), drawn(5, seed=3).softmax(0)

    def earth_mover(p):
        rows = np.kron(np.eye(5), np.ones(5)), np.kron(np.ones(5), np.eye(5))
        margins = torch.cat([p, q]).numpy()
        return linprog(costs.flatten().numpy(), A_eq=np.vstack(rows), b_eq=margins).fun

    every = distances(q.expand(5, 5), torch.arange(5), table)
    for y in range(5):
        assert every[y].item() == pytest.approx(earth_mover(torch.eye(5, dtype=torch.float64)[y]), abs=1e-9)
    assert float(p @ every) > earth_mover(p) + 1e-3


def test_limits_of_the_distance():
    """Orthogonal vectors: 1 - Q(y). All on equal vectors: 0. All on the opposite one: 2. Swapping equals: nothing."""
    q = drawn(4, 6).softmax(-1)
    targets = torch.tensor([0, 1, 2, 5])
    eye = torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(distances(q, targets, eye), 1 - q.gather(1, targets[:, None])[:, 0])
    table = drawn(6, 3, seed=1)
    table[3], table[4] = 2 * table[0], -table[0]
    torch.testing.assert_close(distances(eye[[3, 4]], torch.tensor([0, 0]), table), 2 * eye[0, [1, 0]])
    other = q[:, [3, 1, 2, 0, 4, 5]]
    torch.testing.assert_close(distances(other, targets, table), distances(q, targets, table))


def test_both_terms_weigh_the_same_in_the_value():
    ce, far = drawn(7).exp(), drawn(7, seed=1).exp()
    torch.testing.assert_close(mixed(ce, far, "adaptation"), ce, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(mixed(ce, far, "pretraining"), 2 * far, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("mix", MIXES)
def test_without_weight_it_is_plain_training(mix):
    """O1, loss and gradients."""
    found = []
    for objective in (Emo(weight=0.0, mix=mix), Causal()):
        model = llama()
        one = loss(objective, model, ragged())
        one.value.backward()
        found.append([one.total.detach(), *(p.grad for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("gap", [-1e4, -27.6, 20.0, 1e4])
def test_finite_in_both_mixes_without_subtraction(mix, gap):
    """O4, with distances of exactly 0 in float32 where the target is certain."""
    model = TableModel(torch.tensor([[0.0, gap], [0.0, 0.0]]))
    found = loss(Emo(mix=mix, subtract_target=False), model, Batch(torch.tensor([[0, 1]]))).value
    found.backward()
    assert found.isfinite()
    assert model.table.grad.isfinite().all()


def test_a_model_of_its_own_gives_the_costs():
    """Its width may differ, its vocabulary may not; it is not trained."""
    model = llama()
    costs = Llama(width=32, depth=1, heads=2, hidden=24).build(11, seed=4)
    own, other = (loss(Emo(mix="pretraining", costs=model_of), model, ragged()) for model_of in (None, costs))
    other.value.backward()
    assert own.value != other.value
    assert all(p.grad is None for p in costs.parameters())
    with pytest.raises(ValueError, match="vocabulary of 12 and the trained one of 11"):
        loss(Emo(costs=Llama(width=16, depth=1, heads=2, hidden=24).build(12)), model, ragged())


def test_a_wrong_token_with_a_like_vector_costs_less():
    """The claim at toy size: equal cross-entropy, and the error that points the same way is the cheaper one."""
    table = torch.tensor([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0]])
    q = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5]])
    near, far = distances(q, torch.tensor([0, 0]), table)
    assert near < 0.01
    assert far == pytest.approx(1.0)


def test_bad_settings_and_models_are_refused():
    for weight in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="weight is a share"):
            Emo(weight=weight)
    with pytest.raises(ValueError, match="adaptation, pretraining; got 'both'"):
        Emo(mix="both")  # type: ignore[arg-type]
    model, batch = headed()
    model.matrix = None
    with pytest.raises(NotOffered, match="head is a matrix"):
        loss(Emo(), model, batch)
