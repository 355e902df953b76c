"""Masked next-token prediction: what is masked, who sees whom, what is predicted from where, and its two limits."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.objectives.table import TableModel
from tests.objectives.test_contract import llama, ragged
from trivium.architectures.gpt_bert import GptBert
from trivium.architectures.transnormer import TransNormer
from trivium.core.errors import NotOffered
from trivium.core.nouns import Batch
from trivium.core.protocols import LMOutput, Scheduled
from trivium.core.seeds import generator
from trivium.data.batches import Batches
from trivium.nn.cross_entropy import IGNORED
from trivium.objectives._corrupted import smallest
from trivium.objectives.causal import Causal, next_tokens
from trivium.objectives.masked_next_token import MaskedNextToken, sight
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "gpt_bert_masking.npz"


class Recording(TableModel):
    """Keeps what it was given."""

    def __init__(self, vocab):
        super().__init__(torch.zeros(vocab, vocab, dtype=torch.float64))

    def run(self, ids, *, mask=None, positions=None, **more):
        self.given, self.mask, self.positions = ids, mask, positions
        return super().run(ids, **more)


class Given(TableModel):
    """Gives the logits that it was made with, so that gradients with respect to them can be seen."""

    def __init__(self, logits):
        super().__init__(torch.zeros(logits.shape[-1], 1))
        self.vocab_size, self.logits = logits.shape[-1], torch.nn.Parameter(logits)

    def run(self, ids, **more):
        return LMOutput(self.logits, self.logits)


def loss(objective, model, batch, seed=0):
    return objective(model, batch, generator=generator(seed, "masked"))


def corrupted(objective, batch, vocab=1000, seed=0):
    """Ids as given, tokens taken, rows masked."""
    return objective.corrupted(batch, next_tokens(batch) != IGNORED, vocab, generator(seed, "masked"))


def text(rows=4, time=41, vocab=900, seed=1):
    return Batch(torch.randint(vocab, (rows, time), generator=generator(seed, "text")))


def runs(marks):
    """(start, length) of each stretch of marked places."""
    found, start = [], None
    for at, mark in enumerate([*marks.tolist(), False]):
        if mark and start is None:
            start = at
        elif not mark and start is not None:
            found.append((start, at - start))
            start = None
    return found


# The authors' numbers ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vector():
    if not VECTORS.exists():
        pytest.skip(f"{VECTORS} is not there")
    arrays = {key: np.asarray(value) for key, value in np.load(VECTORS).items()}
    return {key: torch.from_numpy(value) for key, value in arrays.items() if value.dtype.kind != "U"}


@pytest.mark.parametrize("counted", ["", "_counted"])
@pytest.mark.parametrize("case", [0, 1, 2])
def test_the_tokens_that_the_authors_take(vector, case, counted):
    """Their scores, draw and replacements; with counts their scores were multiplied beforehand."""
    get = lambda kind, name: vector[f"{kind}_case{case}_{name}"]  # noqa: E731
    tokens, scores = get("in", "tokens"), get("in", f"scores{counted}").double()
    rate = MaskedNextToken().at(int(vector[f"hp_case{case}_step"]) / int(vector["hp_max_steps"])).rate
    wanted = max(1, int(len(tokens) * rate + float(get("in", "uniform_draw"))))
    taken = smallest(scores.where(scores < 1e29, torch.inf)[None], torch.tensor([wanted]))[0]
    assert torch.equal(torch.where(taken, get("in", f"replacements{counted}"), tokens), get("out", f"inputs{counted}"))
    assert torch.equal(torch.where(taken, tokens, IGNORED), get("out", f"targets{counted}"))


def test_rows_are_laid_out_as_by_the_authors(vector):
    """Two documents and padding: what is predicted from where, and who sees whom. Theirs hides padding from itself."""
    causal, masked = (
        {part: vector[f"out_{sort}Dataset_item_{part}"][None] for part in ("inputs", "targets", "blocked")}
        for sort in ("Causal", "Masked")
    )
    ids, begin = causal["inputs"], int((causal["inputs"][0] == 1).nonzero()[1])
    batch = Batch(ids, ids != 3, (torch.arange(32) >= begin).long()[None])
    assert torch.equal(next_tokens(batch), causal["targets"])
    taken = masked["targets"] != IGNORED
    assert torch.equal(next_tokens(batch).masked_fill(~taken, IGNORED), masked["targets"])
    assert (masked["inputs"] != ids)[:, 1:].sum() > 3
    assert not ((masked["inputs"] != ids)[:, 1:] & ~taken[:, :-1]).any()  # what is changed is predicted one before
    for item, both_ways in ((causal, False), (masked, True)):
        sees = sight(batch, torch.tensor([both_ways]))[0][:, 0]
        theirs = ~item["blocked"]
        theirs[0, 31, 31] = True
        assert torch.equal(sees, theirs)


def test_as_many_tokens_are_masked_as_by_the_authors(vector):
    """Their shares at five steps, of texts of 126 tokens: within a point; and what becomes of masked ones."""
    batch = text(rows=2000, time=126, vocab=900)
    for step, share, hidden, kept in vector["out_schedule"].tolist():
        given, taken, _ = corrupted(MaskedNextToken(mask_share=1.0).at(step / 1000), batch)
        assert float(taken.double().mean()) == pytest.approx(share, abs=0.01)
        assert float((given[taken] == 999).double().mean()) == pytest.approx(hidden, abs=0.01)
        assert float((given[taken] == batch.ids[taken]).double().mean()) == pytest.approx(kept, abs=0.01)


# Numbers ----------------------------------------------------------------------------------------------------------


def test_a_number_by_hand():
    """0 1 0, all of it masked but left as it is: p(1 | 0) = 3/4 and p(0 | 1) = 1/2, in a row that sees everything."""
    model = TableModel(torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]], dtype=torch.float64))
    batch = Batch(torch.tensor([[0, 1, 0]]))
    objective = MaskedNextToken(mask_share=1.0, rate=1.0, random=0.0, kept=1.0, z_weight=0.0)
    found = loss(objective, model, batch)
    assert found.count == 2
    assert found.total.item() == pytest.approx(math.log(4 / 3) + math.log(2), rel=1e-12)
    squares = math.log(4) ** 2 + math.log(2) ** 2
    with_z = loss(MaskedNextToken(mask_share=1.0, rate=1.0, random=0.0, kept=1.0, z_weight=0.1), model, batch)
    assert (with_z.total - found.total).item() == pytest.approx(0.1 * squares, rel=1e-12)


def test_one_masked_token_counts_for_all_predictions_of_its_row():
    """Of 0 1 0 one token is masked: its loss alone, twice."""
    model = TableModel(torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]], dtype=torch.float64))
    objective = MaskedNextToken(mask_share=1.0, rate=0.0, longest_span=1, random=0.0, kept=1.0, z_weight=0.0)
    totals = {
        round(loss(objective, model, Batch(torch.tensor([[0, 1, 0]])), seed).total.item(), 9) for seed in range(20)
    }
    assert totals == {round(2 * math.log(4 / 3), 9), round(2 * math.log(2), 9)}


@pytest.mark.parametrize("mask_share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("z_weight", [0.0, 0.01])
def test_the_equation_by_a_slow_loop_over_documents(mask_share, z_weight):
    """Each document by itself; in masked rows from the place before, with all of the corrupted document in sight."""
    objective = MaskedNextToken(mask_share, rate=0.4, z_weight=z_weight, random=0.3, kept=0.2)
    model, batch = llama(), ragged()
    given, taken, masked = corrupted(objective, batch, vocab=11)
    if mask_share == 0.5:
        assert 0 < masked.sum() < len(batch)
    total, count = 0.0, 0
    for row in range(len(batch)):
        terms, predictions = [], 0
        for document in (0, 1):
            at = (batch.mask[row] & (batch.segments[row] == document)).nonzero()[:, 0]
            sees = torch.ones(1, 1, len(at), len(at), dtype=torch.bool)
            logits = model(given[row, at][None], mask=sees if masked[row] else None).logits[0]
            predictions += len(at) - 1
            for i in range(len(at) - 1):
                if not masked[row] or taken[row, at[i + 1]]:
                    mass = logits[i].logsumexp(0)
                    terms.append((mass - logits[i, batch.ids[row, at[i + 1]]] + z_weight * mass**2).item())
        total += predictions / len(terms) * sum(terms)
        count += predictions
    found = loss(objective, model, batch)
    assert found.total.item() == pytest.approx(total, rel=1e-10)
    assert found.count == count


# Its limits -------------------------------------------------------------------------------------------------------


def test_without_masked_rows_it_is_plain_training():
    """O1, loss and gradients."""
    found = []
    for objective in (MaskedNextToken(mask_share=0.0, z_weight=0.0), Causal()):
        model = llama()
        one = loss(objective, model, ragged())
        one.value.backward()
        found.append([one.total.detach(), *(p.grad for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_limit_of_no_masked_rows_is_plain_training_too():
    """A share so small that no row is masked, through the whole of the computation."""
    model = llama()
    own, plain = loss(MaskedNextToken(mask_share=1e-12, z_weight=0.0), model, ragged()), loss(Causal(), model, ragged())
    torch.testing.assert_close(own.total, plain.total, atol=1e-10, rtol=1e-10)
    assert own.count == plain.count


def test_with_masked_rows_alone_the_masked_tokens_alone_are_predicted_from_the_place_before():
    """Shifted masked language modelling: gradients reach the logits one place before each masked token."""
    batch, objective = text(), MaskedNextToken(mask_share=1.0, random=0.0, kept=0.0)
    given, taken, masked = corrupted(objective, batch)
    assert masked.all()
    assert (given[taken] == 999).all()
    assert torch.equal(given[~taken], batch.ids[~taken])
    model = Given(torch.zeros(4, 41, 1000, dtype=torch.float64))
    loss(objective, model, batch).total.backward()
    reached = model.logits.grad.abs().sum(-1) > 0
    assert torch.equal(reached[:, :-1], taken[:, 1:])
    assert not reached[:, -1].any()
    at = taken[:, 1:].nonzero()[0]  # the target's own logit falls, all others rise
    assert model.logits.grad[at[0], at[1]].argmin() == batch.ids[at[0], at[1] + 1]


def test_the_share_of_masked_rows():
    """1000 rows each: within five standard errors of the share."""
    batch = text(rows=1000, time=5)
    for share in (0.25, 0.9375):
        masked = corrupted(MaskedNextToken(mask_share=share), batch)[2]
        assert abs(float(masked.double().mean()) - share) < 5 * math.sqrt(share * (1 - share) / 1000)
        given = corrupted(MaskedNextToken(mask_share=share), batch)[0]
        assert torch.equal(given[~masked], batch.ids[~masked])


# Who sees whom ----------------------------------------------------------------------------------------------------


def test_rows_of_both_sorts_see_their_own_documents():
    ids = torch.zeros(2, 6, dtype=torch.int64)
    mask = torch.tensor([[0, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1, 0]]).bool()
    segments = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
    for both_ways in ([True, False], [False, True]):
        sees, places = sight(Batch(ids, mask, segments), torch.tensor(both_ways))
        assert places[0, 1:].tolist() == [0, 1, 0, 1, 2]
        assert places[1, [0, 1, 3, 4]].tolist() == [0, 1, 2, 3]
        for row in range(2):
            for t in range(6):
                for s in range(6):
                    together = mask[row, t] and mask[row, s] and segments[row, t] == segments[row, s]
                    expected = t == s or bool(together and (both_ways[row] or s <= t))
                    assert sees[row, 0, t, s] == expected


def test_the_model_is_given_that_sight():
    batch, model = ragged(), Recording(11)
    loss(MaskedNextToken(mask_share=0.5), model, batch)
    given, _, masked = corrupted(MaskedNextToken(mask_share=0.5), batch, vocab=11)
    sees, places = sight(batch, masked)
    assert torch.equal(model.given, given)
    assert torch.equal(model.mask, sees)
    assert torch.equal(model.positions, places)


# What is masked ---------------------------------------------------------------------------------------------------


def test_the_number_of_masked_tokens():
    """Spans of one token: 12 or 13 of 41 at a rate of 0.3, 12.3 on average; longer ones overshoot by less than one."""
    batch = text(rows=500)
    single = corrupted(MaskedNextToken(longest_span=1), batch)[1].sum(1)
    assert set(single.tolist()) == {12, 13}
    assert abs(float(single.double().mean()) - 12.3) < 5 * math.sqrt(0.3 * 0.7 / 500)
    taken = corrupted(MaskedNextToken(longest_span=3), batch)[1].sum(1)
    assert set(taken.tolist()) == {12, 13, 14, 15}
    assert set(corrupted(MaskedNextToken(rate=0.0), batch)[1].sum(1).tolist()) == {1, 2, 3}


@pytest.mark.parametrize("longest", [1, 2, 3, 5])
def test_spans_have_any_length_up_to_the_longest(longest):
    """One span in each of 1500 rows, those at the ends of a row left out, since they are cut there."""
    taken = corrupted(MaskedNextToken(rate=0.0, longest_span=longest), text(rows=1500, time=60))[1]
    found = [runs(row) for row in taken]
    assert all(len(row) == 1 for row in found)
    lengths = torch.tensor([length for ((start, length),) in found if start > 1 and start + length < 60])
    shares = torch.bincount(lengths, minlength=longest + 1)[1:] / len(lengths)
    share = 1 / longest
    assert len(shares) == longest
    assert ((shares - share).abs() < 5 * math.sqrt(share * (1 - share) / len(lengths)) + 1e-9).all()


def test_what_is_never_masked():
    batch = ragged(rows=16)
    free = torch.zeros_like(batch.mask)
    free[:, 1:] = (next_tokens(batch) != IGNORED)[:, :-1]
    free &= (batch.ids != 2) & (batch.ids != 3)
    for seed in range(10):
        given, taken, _ = corrupted(MaskedNextToken(rate=1.0, random=1.0, kept=0.0, special=(2, 3)), batch, 11, seed)
        assert torch.equal(taken, free)  # all that may be
        new = given[given != batch.ids]
        assert not torch.isin(new, torch.tensor([2, 3, 10])).any()
        assert len(new.unique()) > 5


def test_what_becomes_of_a_span_is_drawn_for_all_of_it():
    """One span a row, of 4000: the shares within five standard errors, and no span of two sorts."""
    batch = text(rows=4000, time=20, vocab=900)
    given, taken, masked = corrupted(MaskedNextToken(1.0, rate=0.0, random=0.3, kept=0.2), batch)
    assert masked.all()
    sorts = {"mask": 0, "kept": 0, "random": 0}
    for row in range(4000):
        ((start, length),) = runs(taken[row])
        now, was = given[row, start : start + length], batch.ids[row, start : start + length]
        sort = "mask" if (now == 999).all() else "kept" if (now == was).all() else "random"
        if sort == "random":
            assert (now != 999).all()
        sorts[sort] += 1
    for sort, share in (("mask", 0.5), ("kept", 0.2), ("random", 0.3)):
        assert abs(sorts[sort] / 4000 - share) < 5 * math.sqrt(share * (1 - share) / 4000), sort


def test_replacements_are_any_ordinary_token():
    given, taken, _ = corrupted(MaskedNextToken(1.0, rate=1.0, random=1.0, kept=0.0), text(rows=50, vocab=5), vocab=8)
    counts = torch.bincount(given[taken], minlength=8)
    assert counts[7] == 0  # the mask
    assert ((counts[:7] / counts.sum() - 1 / 7).abs() < 5 * math.sqrt(6 / 49 / int(counts.sum()))).all()


def test_the_symbol_is_the_last_of_the_vocabulary_unless_named():
    for objective, expected in ((MaskedNextToken(1.0), 999), (MaskedNextToken(1.0, mask_id=950), 950)):
        given = corrupted(objective, text())[0]
        assert (given == expected).sum() > 10
    with pytest.raises(ValueError, match="mask_id 11 is outside"):
        loss(MaskedNextToken(mask_id=11), llama(), ragged())
    with pytest.raises(ValueError, match="every token of the vocabulary is special"):
        loss(MaskedNextToken(special=tuple(range(11))), llama(), ragged())


def test_a_row_without_a_token_that_may_be_masked_counts_for_nothing():
    batch = Batch(torch.tensor([[1, 2, 2], [1, 3, 4]]))
    found = loss(MaskedNextToken(1.0, rate=1.0, special=(2,)), TableModel(torch.zeros(6, 6)), batch)
    assert found.count == 2
    assert found.total.isfinite()


# In training ------------------------------------------------------------------------------------------------------


def test_the_rate_falls_along_a_line():
    objective = MaskedNextToken(rate=0.3, final_rate=0.15)
    assert isinstance(objective, Scheduled)
    rates = [objective.at(progress).rate for progress in (0.0, 0.5, 1.0)]
    assert rates == pytest.approx([0.3, 0.225, 0.15])
    assert objective.at(0.5).at(1.0).rate == pytest.approx(0.225)
    counts = [corrupted(objective.at(progress), text(rows=200))[1].sum(1).double().mean() for progress in (0, 1)]
    assert counts[0] - counts[1] == pytest.approx(0.15 * 41, abs=0.5)


def test_a_model_learns_both_ways_to_read():
    """The claim at toy size: rows of pairs, a small letter and its capital. The small one is known from behind only."""
    small = torch.randint(6, (1000, 6), generator=generator(0, "pairs"))
    ids = torch.cat([torch.full((1000, 1), 12), torch.stack([small, small + 6], 2).flatten(1)], 1)
    model = GptBert(width=32, depth=1, heads=2, hidden=32).build(14)
    objective = MaskedNextToken(0.75, rate=0.2, final_rate=0.2, longest_span=1, random=0.0, kept=0.0, special=(12,))
    train(model, objective, Batches(ids.tolist(), 13, 32), TrainingSettings(steps=200, learning_rate=1e-2))
    model.eval()
    for at in (1, 5, 11):
        given = ids[:100].clone()
        given[:, at] = 13
        with torch.no_grad():
            both = model(given, mask=torch.ones(100, 1, 13, 13, dtype=torch.bool)).logits
            causal = model(ids[:100]).logits
        assert F.cross_entropy(both[:, at - 1], ids[:100, at]) < 0.3  # chance is ln 6 = 1.79
        assert F.cross_entropy(causal[:, at], ids[:100, at + 1]) < 0.3
        assert F.cross_entropy(causal[:, at - 1], ids[:100, at]) > 1.5


def test_a_model_that_looks_back_only_is_refused():
    model = TransNormer().build(19)
    with pytest.raises(NotOffered, match="needs 'bidirectional'"):
        train(model, MaskedNextToken(), Batches([[1, 2, 3, 4]], 4, 1), TrainingSettings(steps=1))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"mask_share": 1.1}, "mask_share is a share, so 0 to 1; got 1.1"),
        ({"rate": -0.1}, "rate is a share"),
        ({"final_rate": math.nan}, "final_rate is a share"),
        ({"random": 0.6, "kept": 0.5}, "random 0.6 and kept 0.5 are shares of one whole"),
        ({"longest_span": 0}, "longest_span must be at least 1, got 0"),
        ({"z_weight": -1.0}, "z_weight must be at least 0 and finite, got -1.0"),
        ({"z_weight": math.inf}, "z_weight must be at least 0 and finite"),
        ({"mask_id": -1}, "token ids, so at least 0"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        MaskedNextToken(**wrong)
