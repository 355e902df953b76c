"""Format search: the best of the formats, within the budget, and what is left as it was."""

import pytest
import torch

from tests.prompting.models import Questions, Worded, system
from trivium.core.errors import NotOffered
from trivium.core.nouns import Example
from trivium.core.wording import Exemplar
from trivium.prompting.format_search import FormatSearch


class Liking(Worded):
    """24 items, of which a share that depends on the format alone is answered right."""

    def __init__(self, rate):
        self.rate, self.asked = rate, []

    def examples(self, split):
        assert split == "validation"  # the test split is none of its business
        return [Example(f"v{n}", f"#{n}#", fields={"label": "red"}) for n in range(24)]

    def weigh_all(self, system, questions):
        self.asked += questions
        right = [int(q.text.split("#")[1]) < self.rate(q) * 24 for q in questions]
        return [[float(one), 0.5, 0.0] for one in right]


def by_first_letter(question):
    """Upper case is best."""
    return 0.9 if "THING" in question.text else 0.3


@pytest.mark.parametrize("search", ["thompson", "ucb", "equal"])
def test_the_best_casing_is_found_within_the_budget(search):
    task = Liking(by_first_letter)
    found = FormatSearch(formats=8, search=search, budget=400, batch=6, least=12)(
        task, system(), generator=torch.Generator().manual_seed(0)
    )
    assert found.wording.form.casing == "UPPER"
    assert found.wording.exemplars == task.wording.exemplars
    assert len(task.asked) <= 400
    assert len({question.text for question in task.asked}) == len(task.asked)  # nothing is asked twice
    question = found.ask(Worded().examples("test")[0])
    assert question.text.count("THING") == 3  # the exemplars are in it too
    assert question.answers[0].strip() == "red"


def test_less_budget_is_less_asked_and_none_is_refused():
    task = Liking(by_first_letter)
    FormatSearch(budget=40, batch=8, least=8)(task, system(), generator=torch.Generator())
    assert len(task.asked) == 24 + 2 * 8
    with pytest.raises(ValueError, match=r"budget of 30 prompts is used up by the 24 items .* raise it to 34"):
        FormatSearch(budget=30)(task, system(), generator=torch.Generator())


def test_the_original_stays_where_all_are_alike():
    for seed in range(3):
        task = Liking(lambda question: 0.5)
        found = FormatSearch(budget=400, least=24)(task, system(), generator=torch.Generator().manual_seed(seed))
        assert found.wording.form.pattern == "Thing: <|text|>\nColour: <|text|>"


def test_a_lucky_few_are_not_enough():
    """In every other format the first items of any order are right, and too few of them were tried."""
    task = Liking(lambda question: 0.5 if "Thing: #" in question.text and "Colour:" in question.text else 1.0)
    found = FormatSearch(formats=4, search="equal", budget=42, batch=6, least=20)(
        task, system(), generator=torch.Generator().manual_seed(0)
    )
    assert found.wording.form.pattern == "Thing: <|text|>\nColour: <|text|>"
    sure = FormatSearch(formats=4, search="equal", budget=42, batch=6, least=6)(
        task, system(), generator=torch.Generator().manual_seed(0)
    )
    assert sure.wording.form.pattern != "Thing: <|text|>\nColour: <|text|>"


def test_what_cannot_be_is_refused():
    with pytest.raises(NotOffered, match="format search puts questions in other words, and this task has no labels"):
        FormatSearch()(Questions(), system(), generator=torch.Generator())
    for settings, message in (
        ({"search": "greedy"}, "search must be one of thompson, ucb, equal"),
        ({"formats": 0}, "formats must be at least 1"),
        ({"budget": 0}, "budget must be at least 1"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"least": 0}, "least must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            FormatSearch(**settings)


class Empty(Worded):
    def examples(self, split):
        return []

    def read(self, example):
        return Exemplar({}, "")


def test_an_empty_validation_split_is_refused():
    with pytest.raises(ValueError, match="validation split is empty"):
        FormatSearch()(Empty(), system(), generator=torch.Generator())
