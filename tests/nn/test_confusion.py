import pytest
import torch

from trivium.nn.confusion import accuracy, label_bias, macro_f1

TABLE = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 2.0], [0.0, 0.0, 2.0]])  # rows: said, columns: right


def test_by_hand():
    """F1: 2*3 / (4 + 3), 2*2 / (4 + 3), 2*2 / (2 + 4); said 4, 4, 2 against right 3, 3, 4 of 10."""
    assert float(macro_f1(TABLE)) == pytest.approx((6 / 7 + 4 / 7 + 4 / 6) / 3)
    assert float(accuracy(TABLE)) == pytest.approx(0.7)
    assert float(label_bias(TABLE)) == pytest.approx(0.2)


def test_limits():
    perfect = torch.diag(torch.tensor([5.0, 1.0]))
    one_label = torch.tensor([[9.0, 1.0], [0.0, 0.0]])
    assert (float(macro_f1(perfect)), float(label_bias(perfect))) == (1.0, 0.0)
    assert float(macro_f1(one_label)) == pytest.approx((18 / 19 + 0) / 2)
    assert float(label_bias(one_label)) == pytest.approx(0.1)
    never = torch.tensor([[0.0, 4.0], [0.0, 0.0]])
    assert float(label_bias(never)) == 1.0


def test_a_label_that_does_not_occur_is_no_label():
    wider = torch.zeros(2, 4, 4)
    wider[:, :3, :3] = TABLE
    assert macro_f1(wider).tolist() == pytest.approx([float(macro_f1(TABLE))] * 2)
