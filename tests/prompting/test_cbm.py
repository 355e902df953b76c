"""Calibration by marginalisation, on weights that are known."""

import pytest
import torch

from tests.prompting.known import Known, logs
from tests.prompting.models import Questions, system
from trivium.core.errors import NotOffered
from trivium.prompting.cbm import Cbm


def answers(task, **settings):
    put = Cbm(**settings)(task, system(), generator=torch.Generator())
    return torch.tensor(put.weigh_all(system(), [put.ask(example) for example in task.examples("test")])).double().exp()


def test_by_hand():
    """Marginal (0.75, 0.25): 0.9 and 0.1 become 1.2 and 0.4, and 0.6 and 0.4 become 0.8 and 1.6."""
    found = answers(Known([logs((0.9, 0.1), (0.6, 0.4))]))
    torch.testing.assert_close(
        found, torch.tensor([[0.75, 0.25], [1 / 3, 2 / 3]], dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_an_even_marginal_changes_no_answer():
    rows = ((0.9, 0.1), (0.1, 0.9), (0.45, 0.55), (0.55, 0.45))
    torch.testing.assert_close(
        answers(Known([logs(*rows)])), torch.tensor(rows, dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_weights_need_not_be_normalised_and_the_pool_counts():
    shifted = [[x - 7.0 for x in row] for row in logs((0.9, 0.1), (0.6, 0.4))]
    torch.testing.assert_close(answers(Known([shifted])), answers(Known([logs((0.9, 0.1), (0.6, 0.4))])))
    first = answers(Known([logs((0.9, 0.1), (0.6, 0.4))]), pool=1)
    torch.testing.assert_close(first[0], torch.tensor([0.5, 0.5], dtype=torch.float64), atol=1e-6, rtol=0)


def test_a_right_preference_is_taken_back_too():
    """Nine of ten items are yes, and the model knows it: where it leans to yes a little less, it now answers no."""
    rows = [(0.95, 0.05)] * 5 + [(0.8, 0.2)] * 4 + [(0.2, 0.8)]
    assert torch.tensor(rows).argmax(1).tolist() == [0] * 9 + [1]
    assert answers(Known([logs(*rows)])).argmax(1).tolist() == [0] * 5 + [1] * 5


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="pool must be at least 1 item"):
        Cbm(pool=0)
    with pytest.raises(NotOffered, match="calibration by marginalisation puts questions in other words"):
        Cbm()(Questions(), system(), generator=torch.Generator())
    with pytest.raises(ValueError, match="answer 1 has no probability under prompt 0 for any item"):
        answers(Known([[[0.0, float("-inf")], [0.0, float("-inf")]]]))
