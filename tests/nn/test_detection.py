import pytest
import torch

from trivium.nn.detection import best_f1, precision_recall_f1, roc_auc, selected, selected_by_chance


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LABELS = draw(40, seed=1) > 0.3


def test_an_area_by_hand():
    """Positives 2, 3 and negatives 1, 2: of four pairs three are right and one is a tie."""
    labels = torch.tensor([True, True, False, False])
    assert roc_auc(torch.tensor([2.0, 3.0, 1.0, 2.0]), labels).item() == pytest.approx(3.5 / 4)
    assert roc_auc(torch.zeros(4), labels).item() == 0.5
    assert roc_auc(-torch.tensor([2.0, 3.0, 1.0, 2.0]), labels).item() == pytest.approx(0.5 / 4)


@pytest.mark.parametrize("ties", [False, True])
def test_areas_and_f1_are_those_of_scikit_learn(ties):
    metrics = pytest.importorskip("sklearn.metrics")
    scores = draw(3, 40, seed=2)
    scores = (3 * scores).round() if ties else scores
    for row, area in zip(scores, roc_auc(scores, LABELS), strict=True):
        assert area.item() == pytest.approx(metrics.roc_auc_score(LABELS, row))
        for threshold in row.unique():
            got = precision_recall_f1(row >= threshold, LABELS)
            want = metrics.precision_recall_fscore_support(LABELS, row >= threshold, average="binary", zero_division=0)
            assert [x.item() for x in got] == pytest.approx(list(want[:3]))
        best, threshold = best_f1(row, LABELS)
        every = [metrics.f1_score(LABELS, row >= one) for one in row.unique()]
        assert best == pytest.approx(max(every))
        assert metrics.f1_score(LABELS, row >= threshold) == pytest.approx(best)


def test_nothing_named_is_precision_zero():
    got = precision_recall_f1(torch.zeros(40, dtype=torch.bool), LABELS)
    assert [x.item() for x in got] == [0.0, 0.0, 0.0]
    wrong = precision_recall_f1(~LABELS, LABELS)
    assert [x.item() for x in wrong] == [0.0, 0.0, 0.0]


def test_the_best_of_the_first_half_is_tested_on_the_second_with_its_sign():
    labels = torch.tensor([True, True, False, False])
    first = torch.tensor([[2.0, 0.0, 1.0, 1.5], [0.0, 0.1, 3.0, 4.0]])  # the second is the best, upside down
    second = torch.tensor([[9.0, 9.0, 0.0, 0.0], [1.0, 3.0, 2.0, 4.0]])
    auc, place = selected(first, labels, second, labels)
    assert place.item() == 1
    assert auc.item() == pytest.approx(3 / 4)


def test_of_noise_the_best_is_no_better_than_chance_and_of_a_signal_it_is():
    states, tests = draw(40, 5, seed=3), draw(40, 5, seed=4)
    shared = dict(candidates=20, draws=200, generator=torch.Generator().manual_seed(0))
    noise = selected_by_chance(states, LABELS, tests, LABELS, **shared)
    assert noise.shape == (200,)
    assert abs(noise.mean() - 0.5) < 0.15
    signal = torch.zeros(5, dtype=torch.float64)
    signal[0] = 5.0
    states, tests = states + signal * LABELS[:, None], tests + signal * LABELS[:, None]
    more = dict(candidates=20, draws=200, generator=torch.Generator().manual_seed(0))
    found = selected_by_chance(states, LABELS, tests, LABELS, **more)
    assert found.mean() > 0.9
    alone = dict(candidates=1, draws=200, generator=torch.Generator().manual_seed(0))
    assert selected_by_chance(states, LABELS, tests, LABELS, **alone).mean() < found.mean() - 0.05


def test_the_same_seed_gives_the_same_draws():
    runs = [
        selected_by_chance(
            draw(40, 3), LABELS, draw(40, 3, seed=1), LABELS, candidates=4, draws=3, generator=torch.Generator()
        )
        for _ in range(2)
    ]
    assert torch.equal(*runs)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="all 3 labels are True"):
        roc_auc(torch.zeros(3), torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="all 3 labels are False"):
        roc_auc(torch.zeros(3), torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="1 of 2 scores are no numbers"):
        roc_auc(torch.tensor([0.0, float("nan")]), torch.tensor([True, False]))
    with pytest.raises(ValueError, match="none of the 3 is true"):
        precision_recall_f1(torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="got 0 and 1"):
        selected_by_chance(draw(40, 3), LABELS, draw(40, 3), LABELS, candidates=0, draws=1, generator=torch.Generator())
