"""What every prompting method keeps, whatever its name: the file of a method appears, and this runs on it."""

import pytest
import torch

from tests.prompting.models import Sorts, system
from trivium.core.capabilities import lacking
from trivium.core.errors import NotOffered
from trivium.core.meter import Meter
from trivium.core.method import card_of, find, names
from trivium.core.prompt import pack
from trivium.decoding.greedy import Greedy

NAMES = names("prompting")


def prompted(name, seed=0, family="llama", task=None):
    generator = torch.Generator().manual_seed(seed)
    return find("prompting", name)()(task or Sorts(), system(family), generator=generator)


def told(task, family="llama"):
    """Everything that a task says and finds: questions, plans, weights."""
    found = []
    for example in task.examples("test"):
        question = task.ask(example)
        plan = task.lay(system(family), question)
        weights = task.weigh(system(family), question, plan)
        found.append((question, plan.ids.tolist(), plan.positions.tolist(), plan.visible.tolist(), list(weights)))
    return found


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma", "mamba"])
@pytest.mark.parametrize("name", NAMES)
def test_defaults_work_or_are_not_offered(name, family):
    if lacking(system(family).model, card_of(find("prompting", name)).needs):
        system(family)
        with Meter() as meter, pytest.raises(NotOffered):
            prompted(name, family=family)
        assert meter.spent.calls == 0
        return
    task = prompted(name, family=family)
    assert [measure.name for measure in task.measures] == ["answer"]
    for question, ids, positions, _, weights in told(task, family):
        assert len(weights) == len(question.answers) == 3
        assert torch.tensor(weights).isfinite().all()
        assert len(ids) == len(positions)
        assert positions[0] == 0
    for example in task.examples("test"):
        assert task.score(system(family), example, task).values["answer"] in (0.0, 1.0, 2.0)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides(name):
    assert told(prompted(name, seed=3)) == told(prompted(name, seed=3))


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_not_changed(name):
    task, model = Sorts(), system().model
    before, weights = told(task), {key: value.clone() for key, value in model.state_dict().items()}
    told(prompted(name, task=task))
    assert told(task) == before
    assert not vars(task)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_what_it_spends_is_what_the_meter_saw(name):
    model, rows = system().model, []
    hook = model.register_forward_pre_hook(
        lambda module, args, words: rows.append(len(args[0] if args else words["ids"])), with_kwargs=True
    )
    try:
        with Meter() as meter:
            prompted(name)
    finally:
        hook.remove()
    assert meter.spent.calls == len(rows)
    assert meter.spent.evaluations == sum(rows)


@pytest.mark.parametrize("name", NAMES)
def test_prompts_of_a_batch_give_what_they_give_alone(name):
    task, model = prompted(name), system().model
    plans = [task.lay(system(), task.ask(example)) for example in task.examples("test")]
    plans += [task.lay(system(), task.ask(task.examples("validation")[0]))]

    def write(some):
        ids, mask = pack(some)
        return Greedy()(model, ids, mask=mask, limit=4, generator=torch.Generator())

    together = write(plans)
    for row, plan in enumerate(plans):
        assert together.row(row).tolist() == write([plan]).row(0).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_a_prompting_can_be_given_what_another_made(name):
    """Or says what to use instead, as where one needs exemplars that another does not show."""
    for other in NAMES:
        made = prompted(name, task=prompted(other))
        try:
            assert len(told(made)) == 2
        except ValueError as error:
            assert "; use plain prompting" in str(error)  # noqa: PT017
