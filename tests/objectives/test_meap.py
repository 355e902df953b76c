"""MEAP: which places are hidden, what is predicted there, its off-switch, and the authors' counts."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.objectives.table import TableModel
from tests.objectives.test_contract import llama, ragged
from trivium.architectures.llama import Llama
from trivium.core.meter import count_flops
from trivium.core.nouns import Batch
from trivium.core.seeds import generator
from trivium.data.exchanges import Exchanges
from trivium.nn.cross_entropy import IGNORED
from trivium.objectives.causal import Causal, next_tokens
from trivium.objectives.meap import Meap

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "meap_masking.npz"


class Recording(TableModel):
    """Keeps what it was given."""

    def __init__(self, vocab):
        super().__init__(torch.zeros(vocab, vocab, dtype=torch.float64))
        self.given = []

    def run(self, ids, **more):
        self.given.append(ids)
        return super().run(ids, **more)


def loss(objective, model, batch, seed=0):
    return objective(model, batch, generator=generator(seed, "meap"))


def holes(objective, batch, vocab=1000, seed=0):
    """(batch, time) bool: where the model was given another token than the text has."""
    model = Recording(vocab)
    loss(objective, model, batch, seed)
    return model.given[0] != batch.ids


def text(rows=4, time=41, vocab=900, seed=1):
    return Batch(torch.randint(vocab, (rows, time), generator=generator(seed, "text")))


@pytest.fixture(scope="module")
def vector():
    if not VECTORS.exists():
        pytest.skip(f"{VECTORS} is not there")
    return {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(VECTORS).items()}


@pytest.mark.parametrize("rate", [0.15, 0.01])
@pytest.mark.parametrize("step", [0, 1, 50, 51])
def test_as_many_places_in_the_same_range_as_the_authors_hide(vector, rate, step):
    """Their draws come from Python's random; number, range, symbol and untouched targets can be compared."""
    batch = Batch(vector["in_train_data"])
    theirs = vector[f"out_positions_r{rate}_step{step}"]
    own = holes(Meap(rate=rate, shared=True, mask_id=int(vector["hp_mask_id"])), batch, seed=step)
    assert own[:, -1].sum() == 0
    places = own[:, :-1]
    assert (places == places[0]).all()
    assert places[0].sum() == len(theirs.unique())
    assert not places[:, 39:].any()
    assert theirs.max() < 39
    given = batch.ids[:, :-1].clone()
    given[:, theirs] = vector["hp_mask_id"]
    assert torch.equal(given, vector[f"out_inputs_r{rate}_step{step}"])
    assert torch.equal(next_tokens(batch)[:, :-1], vector["out_targets"])


def test_answers_are_learned_as_by_the_authors(vector):
    """A long answer, a copy of it with as many holes as theirs, and a short one; labels stand at what is predicted."""
    rows = [vector[f"out_sft_inputs_{n}"] for n in range(3)]
    labels = [vector[f"out_sft_labels_{n}"] for n in range(3)]
    begins = [int((one == IGNORED).sum()) for one in (labels[0], labels[2])]
    batch = Exchanges.of(
        [(row[:at].tolist(), row[at:].tolist()) for row, at in zip((rows[0], rows[2]), begins, strict=True)]
    )
    model = Recording(120)
    objective = Meap(
        rate=float(vector["hp_sft_ratio"]),
        mask_id=99,
        longer_than=int(vector["hp_sft_min_answer_len_exclusive"]),
    )
    found = loss(objective, model, batch)
    assert found.count == sum(int((one != IGNORED).sum()) for one in labels)
    hidden, theirs = model.given[1] != batch.ids, rows[1] != rows[0]
    assert hidden.sum(1).tolist() == [int(theirs.sum()), 0]
    assert torch.equal(labels[1], torch.where(theirs, rows[0], IGNORED))
    assert theirs.nonzero().min() >= begins[0]
    assert not hidden[~batch.answer].any()


def test_a_number_by_hand():
    """Of 0 1 0 the first place is the only one that may be hidden: p(1 | MASK) = 1/5 and p(0 | 1) = 3/4."""
    table = torch.tensor([[9.0, 0.0, 0.0], [math.log(6.0), 0.0, 0.0], [math.log(3.0), 0.0, 0.0]], dtype=torch.float64)
    found = loss(Meap(), TableModel(table), Batch(torch.tensor([[0, 1, 0]])))
    assert found.count == 2
    assert found.total.item() == pytest.approx(math.log(5) + math.log(4 / 3), rel=1e-12)


def test_the_equation_by_a_slow_loop():
    """Every prediction is made, those at hidden places too, and of the text as it was."""
    model, batch, objective = llama(), ragged(), Meap(rate=0.4, mask_id=5)
    hidden = objective.hidden(batch, next_tokens(batch) != IGNORED, generator(0, "meap"))
    assert hidden.sum() > len(batch)
    total, count = 0.0, 0
    for row in range(len(batch)):
        for document in (0, 1):
            at = (batch.mask[row] & (batch.segments[row] == document)).nonzero()[:, 0]
            given = torch.where(hidden[row, at], 5, batch.ids[row, at])
            logits = model(given[None]).logits[0, :-1]
            total += F.cross_entropy(logits, batch.ids[row, at[1:]], reduction="sum").item()
            count += len(at) - 1
    found = loss(objective, model, batch)
    assert found.total.item() == pytest.approx(total, rel=1e-10)
    assert found.count == count


def test_with_nothing_hidden_it_is_plain_training():
    """O1, loss and gradients."""
    found = []
    for objective in (Meap(rate=0.0), Causal()):
        model = llama()
        one = loss(objective, model, ragged())
        one.value.backward()
        found.append([one.total.detach(), *(p.grad for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(("rate", "expected"), [(0.0, False), (0.15, True)])
def test_the_vector_of_the_symbol_is_learned_only_where_it_stands(rate, expected):
    model = Llama(width=16, depth=1, heads=2, hidden=24, tied=False).build(12).double()
    loss(Meap(rate=rate), model, ragged()).value.backward()
    assert (model.embedding.weight.grad[11].abs().sum() > 0) == expected


@pytest.mark.parametrize("rate", [0.1, 0.15, 0.5, 0.99])
def test_the_number_of_holes_is_exact_in_every_row(rate):
    batch = ragged(rows=16)
    own = holes(Meap(rate=rate), batch)
    predicted = (next_tokens(batch) != IGNORED).sum(1)
    for row in range(16):
        n = int(predicted[row])
        assert own[row].sum() == min(max(1, int(rate * n)), n - 1), row


def test_what_is_not_hidden():
    """Padding, special tokens, the last place from which a token is predicted, and what predicts nothing."""
    batch = ragged(rows=16)
    objective = Meap(rate=0.9, special=(2, 3))
    last = (next_tokens(batch) != IGNORED).cumsum(1).argmax(1)
    for seed in range(20):
        own = holes(objective, batch, seed=seed)
        assert not own[~batch.mask].any()
        assert not own[(batch.ids == 2) | (batch.ids == 3)].any()
        assert not own[torch.arange(16), last].any()
        assert not own[next_tokens(batch) == IGNORED].any()
    plain = holes(replace(objective, special=()), batch)
    assert plain[(batch.ids == 2) | (batch.ids == 3)].any()


def test_places_are_equally_likely_and_rows_differ_unless_shared():
    """1600 rows, 6 holes in 39 places: each place within five standard errors of its share."""
    batch, share = text(rows=1600), 6 / 39
    predicts = next_tokens(batch) != IGNORED
    own = Meap().hidden(batch, predicts, generator(0))
    assert (own.sum(1) == 6).all()
    assert not own[:, 39:].any()
    assert ((own[:, :39].double().mean(0) - share).abs() < 5 * math.sqrt(share * (1 - share) / 1600)).all()
    assert len(own.unique(dim=0)) > 1550
    counts = torch.zeros(41)
    for seed in range(800):
        alike = Meap(shared=True).hidden(Batch(batch.ids[:2]), predicts[:2], generator(seed))
        assert torch.equal(alike[0], alike[1])
        counts += alike[0]
    assert ((counts[:39] / 800 - share).abs() < 5 * math.sqrt(share * (1 - share) / 800)).all()


def test_a_hole_hides_the_token_from_everything_after_it():
    """The model cannot tell what stood there: only the prediction of the token itself, one place before, changes."""
    batch = text(rows=1, time=12, vocab=10)
    objective = Meap(rate=0.15, mask_id=10)
    model = Llama(width=16, depth=1, heads=2, hidden=24).build(11).double()
    at = int(objective.hidden(batch, next_tokens(batch) != IGNORED, generator(0, "meap"))[0].nonzero()[0, 0])
    given = batch.ids.clone()
    given[0, at] = 10
    logp = model(given).logits[0, :-1].log_softmax(-1)
    expected = F.nll_loss(logp, batch.ids[0, 1:], reduction="sum")
    torch.testing.assert_close(loss(objective, model, batch).total, expected)


def test_it_costs_what_plain_training_costs():
    """But for three cumulative sums over the ids, which the meter counts too."""
    model, batch = llama(), ragged()
    plain, own = (count_flops(lambda one=one: loss(one, model, batch).value.backward()) for one in (Causal(), Meap()))
    assert own - plain == 3 * batch.ids.numel()


# Answers ----------------------------------------------------------------------------------------------------------


def exchanges():
    """Answers of 3, 60 and 51 tokens behind questions of 5, 4 and 1."""
    draws = generator(3, "exchanges")
    tokens = lambda n: torch.randint(90, (n,), generator=draws).tolist()  # noqa: E731
    return Exchanges.of([(tokens(5), tokens(3)), (tokens(4), tokens(60)), (tokens(1), tokens(51))])


@pytest.mark.parametrize("longer_than", [50, 51, 2])
def test_of_answers_all_tokens_are_learned_and_of_long_ones_the_holes_again(longer_than):
    batch, model = exchanges(), Recording(100)
    objective = Meap(rate=0.1, mask_id=99, longer_than=longer_than)
    found = loss(objective, model, batch)
    plain, holed = model.given
    assert torch.equal(plain, batch.ids)
    hidden = holed != batch.ids
    assert not hidden[~batch.answer].any()
    lengths = [3, 60, 51]
    expected = [max(1, int(0.1 * n)) if n > longer_than else 0 for n in lengths]
    assert hidden.sum(1).tolist() == expected
    assert (holed[hidden] == 99).all()
    assert found.count == sum(lengths) + sum(expected)
    assert found.total.item() == pytest.approx(int(found.count) * math.log(100))  # the table knows nothing


def test_the_loss_of_answers_by_a_slow_loop():
    model = Llama(width=16, depth=1, heads=2, hidden=24).build(100).double()
    batch, objective = exchanges(), Meap(rate=0.1, mask_id=99)
    long = batch.answer & (batch.answer.sum(1, keepdim=True) > 50)
    hidden = objective.hidden(batch, long, generator(0, "meap"))
    total = 0.0
    for row in range(3):
        ids, real = batch.ids[row], int(batch.mask[row].sum())
        for given, wanted in ((ids, batch.answer[row]), (torch.where(hidden[row], 99, ids), hidden[row])):
            logp = model(given[None, :real]).logits[0].log_softmax(-1)
            total -= sum(logp[t - 1, ids[t]].item() for t in range(real) if wanted[t])
    assert loss(objective, model, batch).total.item() == pytest.approx(total, rel=1e-10)


def test_answers_without_holes_are_plain_training_on_them():
    batch, model = exchanges(), Recording(100)
    found = loss(Meap(rate=0.0), model, batch)
    assert len(model.given) == 1
    assert found.count == 3 + 60 + 51


def test_micro_batches_of_answers_add_up():
    batch, model = exchanges(), Llama(width=16, depth=1, heads=2, hidden=24).build(100).double()
    objective = Meap(rate=0.1)
    whole, parts = loss(objective, model, batch), [loss(objective, model, micro) for micro in batch.split(1)]
    torch.testing.assert_close(whole.total, sum(part.total for part in parts))
    assert whole.count == sum(part.count for part in parts)


# Settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"rate": -0.1}, "from 0 to less than 1; got -0.1"),
        ({"rate": 1.0}, "from 0 to less than 1"),
        ({"rate": math.nan}, "from 0 to less than 1"),
        ({"longer_than": -1}, "at least 0; got -1"),
        ({"mask_id": -1}, "token ids, so at least 0; got -1"),
        ({"special": (3, -2)}, "token ids, so at least 0; got -2"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        Meap(**wrong)


def test_a_symbol_that_the_model_lacks_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match="mask_id 11 is outside the model's vocabulary of 11; build the"):
        loss(Meap(mask_id=11), llama(), ragged())


def test_the_symbol_is_the_last_of_the_vocabulary_unless_named():
    batch = text()
    for objective, expected in ((Meap(), 999), (Meap(mask_id=950), 950)):
        model = Recording(1000)
        loss(objective, model, batch)
        assert (model.given[0][model.given[0] != batch.ids] == expected).all()


def test_a_saved_list_of_special_tokens_reads_as_a_tuple():
    assert Meap(special=[1, 2]) == Meap(special=(1, 2))  # type: ignore[arg-type]
