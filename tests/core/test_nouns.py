import pytest
import torch

from trivium.core.errors import NotFinite
from trivium.core.nouns import Attribution, Batch, Generation, Loss, Target, Trace


def test_target_scalars_agree_with_each_other():
    logits = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64)
    logp = Target(2)(logits)
    assert Target(2, objective="prob")(logits).item() == pytest.approx(logp.exp().item())
    assert Target(2, objective="logit")(logits).item() == 4.0
    contrast = Target(2, foil=0, objective="contrast")(logits)
    assert contrast.item() == pytest.approx((logp - Target(0)(logits)).item())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"token": 1, "objective": "odds"}, "objective must be"),
        ({"token": 1, "objective": "contrast"}, "go together"),
        ({"token": 1, "foil": 2}, "go together"),
        ({"token": 1, "foil": 1, "objective": "contrast"}, "must differ"),
    ],
)
def test_targets_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Target(**fields)


def test_a_target_outside_the_vocabulary_is_named():
    with pytest.raises(ValueError, match="target token 9 is outside the vocabulary of 3"):
        Target(9)(torch.zeros(1, 3))


def test_attributions_are_finite_and_of_one_length():
    ids = torch.tensor([1, 2])
    with pytest.raises(NotFinite, match=r"positions \[1\]"):
        Attribution(torch.tensor([0.0, float("nan")]), ids, Target(0))
    with pytest.raises(ValueError, match="need as many scores"):
        Attribution(torch.zeros(3), ids, Target(0))
    assert Attribution(torch.tensor([0.5, -2.0]), ids, Target(0)).top(1) == [1]


def test_traces_count_the_extra_token_and_verified_drafts():
    trace = Trace()
    trace.note(rows=2, verified=8, accepted=4, committed=6)
    trace.note(rows=2, verified=2, accepted=1, committed=3)
    assert trace.mean_accepted_length == 9 / 4
    assert trace.acceptance_rate == 0.5
    assert Trace().acceptance_rate is None


def test_rows_of_a_generation_end_at_their_length():
    made = Generation(torch.tensor([[4, 5, 0]]), torch.zeros(1, 3), torch.tensor([2]))
    assert made.row(0).tolist() == [4, 5]


def test_losses_are_numerator_over_denominator():
    assert Loss(torch.tensor(6.0), torch.tensor(4)).value.item() == 1.5


def test_batches_split_into_micro_batches():
    batch = Batch(torch.arange(10).reshape(5, 2), segments=torch.zeros(5, 2))
    parts = batch.split(2)
    assert [len(part) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.ids for part in parts]), batch.ids)
    assert parts[0].mask is None
    assert parts[2].segments.shape == (1, 2)


def test_a_trace_sums_what_iterations_say_of_each_depth():
    trace = Trace()
    trace.note({"accepted": [1, 0, 0]}, accepted=1)
    trace.note(committed=1)
    trace.note({"accepted": [2, 1]}, accepted=3)
    assert trace.by_depth("accepted") == [3, 1, 0]
    assert trace.by_depth("verified") == []
    assert len(trace.depths) == len(trace.iterations) == 3


def test_where_a_batch_predicts():
    """Rows: left padding, two documents, right padding. Hand-marked."""
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    segments = torch.tensor([[0, 0, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]])
    batch = Batch(torch.zeros(3, 5, dtype=torch.int64), mask, segments)
    assert batch.predicts().int().tolist() == [[0, 0, 1, 1, 0], [1, 0, 1, 1, 0], [1, 1, 0, 0, 0]]
    assert Batch(batch.ids).predicts().int().tolist() == [[1, 1, 1, 1, 0]] * 3
