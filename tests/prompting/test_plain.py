"""Plain prompting is the ordinary text."""

import torch

from tests.prompting.models import Questions, system
from trivium.core.meter import Meter
from trivium.prompting.plain import Plain
from trivium.prompting.set_based import SetBased


def test_the_prompt_is_the_text_in_the_order_given():
    task = Plain()(Questions(), system(), generator=torch.Generator())
    example = task.examples("test")[1]
    question = task.ask(example)
    plan = task.lay(system(), question)
    assert question.text == "Pick: a rose; grass; sky; red?"
    assert plan.ids.tolist() == system().prompt(question.text)[0].tolist()
    assert plan.plain
    assert plan.positions.tolist() == list(range(len(plan)))


def test_it_undoes_another_prompting_and_costs_nothing():
    generator = torch.Generator()
    sets = SetBased()(Questions(), system(), generator=generator)
    with Meter() as meter:
        task = Plain()(sets, system(), generator=generator)
    assert meter.spent.calls == 0
    question = task.ask(task.examples("test")[0])
    assert not sets.lay(system(), question).plain
    assert task.lay(system(), question).plain
    flat = Questions().lay(system(), question)
    assert torch.equal(task.lay(system(), question).ids, flat.ids)
    assert task.weigh(system(), question, flat) == Questions().weigh(system(), question, flat)
