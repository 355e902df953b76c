import math

import pytest
import torch

from tests.prompting.models import Sorts, system
from trivium.compare.holes import prompted_shows
from trivium.core.errors import BudgetExceeded, NotOffered
from trivium.core.nouns import Example
from trivium.core.seeds import generator
from trivium.core.wording import Exemplar
from trivium.prompting.noisy_vote import NoisyVote

SMALL = NoisyVote(groups=4, each=2)


class Counting(Sorts):
    """A group votes for the label that most of its examples have, the first of equals, whatever is asked."""

    def weigh_all(self, system, questions):
        shown = [str(question.segments[1]) for question in questions]
        return [[text.count(f">{label};") for label in self.labels] for text in shown]


def asked(task, voting, text="mm"):
    question = voting.task.ask(Example("one", text, fields={"label": "x"}))
    weights = voting.task.weigh(system(), question, voting.task.lay(system(), question))
    return question, weights


def test_groups_are_disjoint_and_each_stands_in_one_prompt():
    voting = SMALL.voting(Sorts(), generator=generator(0))
    used = [one.fields["text"] + one.label for group in voting.groups for one in group]
    assert len(voting.groups) == 4
    assert len(used) == 8
    question = voting.task.ask(Sorts().examples("test")[0])
    assert question.text == "Sort:mm>"  # what is asked holds no private example
    for prompt, group in zip(voting.prompts(question), voting.groups, strict=True):
        shown = "".join(f"{one.fields['text']}>{one.label};" for one in group)
        assert prompt.text == f"Sort:{shown}mm>"
        assert prompt.answers == question.answers


def test_no_noise_is_the_plain_majority():
    voting = NoisyVote(groups=6, each=3, noise="none").voting(Counting(), generator=generator(1))
    question, weights = asked(Counting(), voting)
    counts = torch.bincount(torch.tensor(voting.votes(system(), question)), minlength=3)
    assert weights == [float(place == counts.argmax()) for place in range(3)]
    assert voting.budget.uses == 0
    assert prompted_shows(system(), voting.task) == {"privacy": "no noise and no privacy"}


def test_a_changed_record_changes_one_vote():
    one = Counting()
    votes = []
    for changed in (False, True):
        task = Counting()
        if changed:
            task.pool = (*one.pool[:5], Exemplar({"text": "zz"}, "z"), *one.pool[6:])
        voting = NoisyVote(groups=8, each=3).voting(task, generator=generator(2))
        question = voting.task.ask(task.examples("test")[0])
        votes.append((voting.votes(system(), question), [len({*group}) for group in map(str, voting.groups)]))
        prompts = [prompt.text for prompt in voting.prompts(question)]
        votes[-1] = (votes[-1][0], prompts)
    assert sum(a != b for a, b in zip(votes[0][1], votes[1][1], strict=True)) == 1
    assert sum(a != b for a, b in zip(votes[0][0], votes[1][0], strict=True)) <= 1


def test_questions_are_paid_for_once_and_refused_beyond_the_total():
    voting = NoisyVote(groups=4, epsilon=1.0, total=2.5, delta=1e-9).voting(Counting(), generator=generator(3))
    _, first = asked(Counting(), voting)
    assert voting.budget.uses == 1
    assert asked(Counting(), voting)[1] == first
    assert voting.budget.uses == 1
    asked(Counting(), voting, "nn")
    assert prompted_shows(system(), voting.task) == {"privacy": str(voting.budget)}
    assert str(voting.budget) == "total epsilon 2 of 2.5 after 2 uses, delta 1e-09; one use alone 1"
    with pytest.raises(BudgetExceeded, match=r"from 2 to 3, above the total of 2\.5"):
        asked(Counting(), voting, "oo")
    assert asked(Counting(), voting)[1] == first


def test_answers_do_not_depend_on_the_order_of_the_questions():
    texts = [f"q{number}" for number in range(8)]
    made = [NoisyVote(groups=4, epsilon=0.5, noise=noise) for noise in ("gumbel", "laplace", "gaussian")]
    for method in made:
        forth, back = (method.voting(Counting(), generator=generator(4)) for _ in range(2))
        one = {text: asked(Counting(), forth, text)[1] for text in texts}
        other = {text: asked(Counting(), back, text)[1] for text in texts[::-1]}
        assert one == other
        assert len({tuple(weights) for weights in one.values()}) > 1  # the noise differs from question to question
        assert all(sorted(weights) == [0.0, 0.0, 1.0] for weights in one.values())


def test_the_noise_has_the_scale_of_its_epsilon():
    assert NoisyVote(epsilon=4.0).scale == 0.5
    assert NoisyVote(epsilon=4.0, noise="laplace").scale == 0.5
    sigma = NoisyVote(epsilon=4.0, noise="gaussian", delta=1e-6).scale
    assert 1 / sigma**2 + 2 * math.sqrt(math.log(1e6)) / sigma == pytest.approx(4.0, abs=1e-9)


def test_a_system_votes_by_its_own_weights():
    voting = SMALL.voting(Sorts(), generator=generator(5))
    question, _ = asked(Sorts(), voting)
    for vote, prompt in zip(voting.votes(system(), question), voting.prompts(question), strict=True):
        weights = Sorts().weigh(system(), prompt, Sorts().lay(system(), prompt))
        assert weights[vote] == max(weights)


def test_bad_settings_are_refused():
    for changed, said in (
        ({"groups": 1}, "groups must be at least 2"),
        ({"each": 0}, "each at least 1"),
        ({"noise": "uniform"}, "noise must be one of none, gumbel, laplace, gaussian"),
        ({"epsilon": 0.0}, "epsilon must be positive"),
        ({"delta": 1.0}, "delta is a probability"),
        ({"total": -1.0}, "epsilon must be positive"),
    ):
        with pytest.raises(ValueError, match=said):
            NoisyVote(**changed)
    with pytest.raises(ValueError, match="the pool has 24 records, too few for 13 groups of 2"):
        NoisyVote(groups=13)(Sorts(), system(), generator=generator(0))
    with pytest.raises(NotOffered, match="noisy_vote puts questions in other words"):
        NoisyVote()(object(), system(), generator=generator(0))
