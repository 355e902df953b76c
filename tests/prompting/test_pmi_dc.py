"""PmiDc, on weights that are known and on a model."""

import pytest
import torch

from tests.prompting.known import Known, logs
from tests.prompting.models import Questions, Worded, system
from trivium.core.errors import NotOffered
from trivium.prompting.pmi_dc import PmiDc

FREE = {"": logs((0.8, 0.2))[0], "N/A": logs((0.5, 0.5))[0], "[MASK]": logs((0.2, 0.8))[0]}
GENERATOR = torch.Generator()


def test_by_hand():
    """0.7 / 0.8 against 0.3 / 0.2, whatever other texts without content have."""
    task = Known([logs((0.7, 0.3))], FREE)
    put = PmiDc()(task, system(), generator=GENERATOR)
    (found,) = put.weigh_all(system(), [put.ask(task.examples("test")[0])])
    by_hand = torch.tensor([0.7 / 0.8, 0.3 / 0.2])
    torch.testing.assert_close(torch.tensor(found).exp(), by_hand / by_hand.sum())
    assert found[1] > found[0]
    assert task.asked[0] == "0||"


def test_exemplars_stay_before_the_empty_item():
    task = Worded()
    put = PmiDc()(task, system(), generator=GENERATOR)
    question = put.ask(task.examples("test")[0])
    assert question == task.ask(task.examples("test")[0])
    (plain,), (found,) = task.weigh_all(system(), [question]), put.weigh_all(system(), [question])
    empty = task.wording.ask({"text": ""}, task.labels)
    assert empty.text.count("Colour of") == 3
    assert sum(map(pow, [2.718281828459045] * 3, found)) == pytest.approx(1.0)
    assert found != pytest.approx(plain)


def test_a_task_without_labels_is_refused():
    with pytest.raises(NotOffered, match="domain-conditional PMI puts questions in other words"):
        PmiDc()(Questions(), system(), generator=GENERATOR)
