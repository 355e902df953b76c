import pytest
import sklearn.metrics
import torch

from trivium.core.seeds import generator
from trivium.nn.confusion import accuracy, balanced_accuracy, f1_each, label_bias, macro_f1, matthews, table, trivial_f1

TABLE = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 2.0], [0.0, 0.0, 2.0]])  # rows: said, columns: right


def test_by_hand():
    """F1: 2*3 / (4 + 3), 2*2 / (4 + 3), 2*2 / (2 + 4); said 4, 4, 2 against right 3, 3, 4 of 10."""
    assert float(macro_f1(TABLE)) == pytest.approx((6 / 7 + 4 / 7 + 4 / 6) / 3)
    assert float(accuracy(TABLE)) == pytest.approx(0.7)
    assert float(label_bias(TABLE)) == pytest.approx(0.2)
    # 10 items, 7 right; products of the margins 4*3 + 4*3 + 2*4; squares of what is said 36, of what is right 34
    assert float(matthews(TABLE)) == pytest.approx((7 * 10 - 32) / ((100 - 36) * (100 - 34)) ** 0.5)
    two = torch.tensor([[6.0, 1.0], [2.0, 3.0]])  # tn fn, fp tp
    assert float(matthews(two)) == pytest.approx((3 * 6 - 2 * 1) / (5 * 4 * 8 * 7) ** 0.5)


def test_limits():
    perfect = torch.diag(torch.tensor([5.0, 1.0]))
    one_label = torch.tensor([[9.0, 1.0], [0.0, 0.0]])
    assert (float(macro_f1(perfect)), float(label_bias(perfect))) == (1.0, 0.0)
    assert float(macro_f1(one_label)) == pytest.approx((18 / 19 + 0) / 2)
    assert float(label_bias(one_label)) == pytest.approx(0.1)
    assert (float(matthews(perfect)), float(matthews(one_label))) == (pytest.approx(1.0), 0.0)
    never = torch.tensor([[0.0, 4.0], [0.0, 0.0]])
    assert float(label_bias(never)) == 1.0


def test_a_label_that_does_not_occur_is_no_label():
    wider = torch.zeros(2, 4, 4)
    wider[:, :3, :3] = TABLE
    assert macro_f1(wider).tolist() == pytest.approx([float(macro_f1(TABLE))] * 2)


def test_each_is_scikit_learns():
    draw = generator(0, "confusion")
    said, right = (torch.rand(200, generator=draw) < 0.6).long(), (torch.rand(200, generator=draw) < 0.2).long()
    counts = table(said, right)
    assert counts.sum() == 200
    assert counts[1, 0] == int(((said == 1) & (right == 0)).sum())
    assert f1_each(counts).tolist() == pytest.approx(sklearn.metrics.f1_score(right, said, average=None).tolist())
    assert float(balanced_accuracy(counts)) == pytest.approx(sklearn.metrics.balanced_accuracy_score(right, said))
    always = torch.ones(200, dtype=torch.int64)
    assert float(trivial_f1(counts, 1)) == pytest.approx(sklearn.metrics.f1_score(right, always))
    renamed = table(1 - said, 1 - right)
    assert f1_each(renamed).tolist() == pytest.approx(f1_each(counts).flip(0).tolist())
    assert float(balanced_accuracy(renamed)) == pytest.approx(float(balanced_accuracy(counts)))


def test_a_class_that_nobody_has():
    counts = table(torch.tensor([0, 0]), torch.tensor([0, 0]))
    assert f1_each(counts).tolist() == [1.0, 0.0]
    assert float(balanced_accuracy(counts)) == 1.0


def test_matthews_is_the_correlation_of_two_labels():
    generator = torch.Generator().manual_seed(0)
    said, right = torch.randint(2, (2, 50), generator=generator).double()
    table = torch.zeros(2, 2)
    table.index_put_((said.long(), right.long()), torch.ones(50), accumulate=True)
    assert float(matthews(table)) == pytest.approx(float(torch.corrcoef(torch.stack([said, right]))[0, 1]), abs=1e-6)
