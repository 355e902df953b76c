"""ContextualCalibration, on weights that are known and on a model."""

import pytest
import torch

from tests.prompting.known import Known, logs
from tests.prompting.models import Questions, Worded, system
from trivium.core.errors import NotOffered
from trivium.prompting.contextual_calibration import ContextualCalibration

FREE = {"": logs((0.8, 0.2))[0], "N/A": logs((0.5, 0.5))[0], "[MASK]": logs((0.2, 0.8))[0]}
GENERATOR = torch.Generator()


def test_by_hand():
    """The three texts have (0.5, 0.5) on average, which changes nothing; without the last, (0.65, 0.35)."""
    task = Known([logs((0.7, 0.3))], FREE)
    put = ContextualCalibration()(task, system(), generator=GENERATOR)
    (found,) = put.weigh_all(system(), [put.ask(task.examples("test")[0])])
    torch.testing.assert_close(torch.tensor(found).exp(), torch.tensor([0.7, 0.3]))
    assert task.asked[:3] == ["0||", "0|N/A|", "0|[MASK]|"]
    leaning = Known([logs((0.7, 0.3))], FREE | {"[MASK]": FREE[""]})
    put = ContextualCalibration()(leaning, system(), generator=GENERATOR)
    (found,) = put.weigh_all(system(), [put.ask(leaning.examples("test")[0])])
    by_hand = torch.tensor([0.7 / 0.7, 0.3 / 0.3])
    torch.testing.assert_close(torch.tensor(found).exp(), by_hand / by_hand.sum())


def test_exemplars_stay_before_the_empty_item():
    task = Worded()
    put = ContextualCalibration()(task, system(), generator=GENERATOR)
    question = put.ask(task.examples("test")[0])
    assert question == task.ask(task.examples("test")[0])
    (plain,), (found,) = task.weigh_all(system(), [question]), put.weigh_all(system(), [question])
    empty = task.wording.ask({"text": ""}, task.labels)
    assert empty.text.count("Colour of") == 3
    assert sum(map(pow, [2.718281828459045] * 3, found)) == pytest.approx(1.0)
    assert found != pytest.approx(plain)


def test_a_task_without_labels_is_refused():
    with pytest.raises(NotOffered, match="contextual calibration puts questions in other words"):
        ContextualCalibration()(Questions(), system(), generator=GENERATOR)
