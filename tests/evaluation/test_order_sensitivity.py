"""Order sensitivity, by answerers whose answers are known."""

import json
from dataclasses import replace

import pytest
import torch

from tests.prompting.models import system
from trivium.core.nouns import Example
from trivium.evaluation.order_sensitivity import OrderSensitivity
from trivium.prompting._steps import Changed
from trivium.prompting.plain import Plain
from trivium.prompting.set_based import SetBased

TASK = OrderSensitivity()
EXAMPLE = Example("one", "", fields={"question": "red?", "options": ("sky", "rose", "grass"), "answer": 1})


def answering(weights):
    """A task whose answers get these weights: the listed options -> numbers."""
    return Changed(TASK, weighs=lambda system, question, plan: weights([a.strip() for a in question.answers]))


def scored(weights, example=EXAMPLE, task=TASK):
    return task.score(system(), example, answering(weights))


def test_an_answerer_that_takes_the_first_option_by_hand():
    seen = scored(lambda options: [0.0, -1.0, -2.0])
    assert seen.values | {"prompt_tokens": 0} == {
        "changed": 1.0,
        "accuracy": pytest.approx(2 / 6),  # of 3! orders two begin with the right option
        "given": 0.0,
        "best": 1.0,
        "worst": 0.0,
        "spread": 2.0,
        "prompt_tokens": 0,
    }
    assert seen.shown["text"] == "answers: sky (2 of 6), rose (2 of 6), grass (2 of 6); right: rose"


def test_an_answerer_that_reads_the_text():
    right = scored(lambda options: [float(option == "rose") for option in options]).values
    assert (right["changed"], right["accuracy"], right["given"], right["worst"], right["spread"]) == (0, 1, 1, 1, 0)
    wrong = scored(lambda options: [float(option == "sky") for option in options]).values
    assert (wrong["changed"], wrong["accuracy"], wrong["best"]) == (0, 0, 0)


def test_equal_weights_are_no_change_and_duplicates_are_one_option():
    assert scored(lambda options: [0.0] * 3).values["changed"] == 0.0
    twice = Example("two", "", fields={"question": "red?", "options": ("rose", "sky", "rose"), "answer": 2})
    seen = scored(lambda options: [float(option == "rose") for option in options], twice)
    assert (seen.values["changed"], seen.values["accuracy"]) == (0.0, 1.0)


def test_orders():
    assert len(TASK.orderings(3)) == 6
    assert len(set(TASK.orderings(4))) == 24
    assert len(OrderSensitivity(orders=120).orderings(5)) == 120
    some = TASK.orderings(5)
    assert len(set(some)) == len(some) == 8
    assert some[:2] == [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0)]
    assert some == OrderSensitivity().orderings(5)
    moved = TASK.permuted(EXAMPLE, (2, 0, 1))
    assert moved.fields["options"] == ("grass", "sky", "rose")
    assert moved.fields["options"][moved.fields["answer"]] == "rose"
    assert EXAMPLE.fields["options"] == ("sky", "rose", "grass")


def test_the_model_is_asked_as_said():
    question = TASK.ask(EXAMPLE)
    assert question.text == "Options:\n- sky\n- rose\n- grass\nQuestion: red?\nAnswer:"
    assert question.answers == (" sky", " rose", " grass")
    plan = TASK.lay(system(), question)
    assert plan.ids.tolist() == system().prompt(question.text)[0].tolist()
    total, mean = (OrderSensitivity(score_by=by).weigh(system(), question, plan) for by in ("sum", "mean"))
    for answer, summed, averaged in zip(question.answers, total, mean, strict=True):
        ids = system().prompt(question.text + answer)
        with torch.no_grad():
            logp = system().model(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
        own = float(logp[-len(answer) :].sum())
        assert summed == pytest.approx(own, abs=1e-4)
        assert averaged == pytest.approx(own / len(answer), abs=1e-4)


def test_plain_is_sensitive_and_set_based_is_not():
    generator = torch.Generator()
    plain, sets = (method(TASK, system(), generator=generator) for method in (Plain(), SetBased()))
    assert TASK.score(system(), EXAMPLE, plain).values["spread"] > 0.1
    assert TASK.score(system(), EXAMPLE, plain).values == TASK.score(system(), EXAMPLE, TASK).values
    seen = TASK.score(system(), EXAMPLE, sets).values
    assert (seen["changed"], seen["spread"]) == (0.0, 0.0)


@pytest.mark.parametrize("lost", ["positions", "mask"])
def test_set_based_prompting_without_equal_positions_or_without_its_mask_is_found_out(lost):
    """Each alone leaves an order, so the measure sees what the method would be if it were broken."""

    def lay(system, question):
        plan = SetBased(canonical=False).lay(system, question)
        if lost == "positions":
            return replace(plan, positions=torch.arange(len(plan)))
        return replace(plan, visible=torch.ones_like(plan.visible).tril())

    whole = Changed(TASK, lays=lambda system, question: SetBased(canonical=False).lay(system, question))
    assert TASK.score(system(), EXAMPLE, whole).values["spread"] < 1e-4  # sums run in another order
    assert TASK.score(system(), EXAMPLE, Changed(TASK, lays=lay)).values["spread"] > 1e-2


def test_questions_of_a_file(tmp_path):
    path = tmp_path / "q.jsonl"
    entries = [
        {"id": f"q{n}", "question": "?", "choices": {"label": ["A", "B"], "text": ["x", "y"]}, "answerKey": "A"}
        for n in range(9)
    ]
    path.write_text("\n".join(map(json.dumps, entries)))
    task = OrderSensitivity(path=str(path), items=4)
    assert [example.id for example in task.examples("test")] == ["q0", "q1", "q2", "q3"]
    assert [example.id for example in task.examples("validation")] == ["q4", "q5"]
    assert len(OrderSensitivity(path=str(path), items=None).examples("test")) == 9
    assert len(TASK.examples("test")) == 40
    assert len(TASK.examples("validation")) == 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"items": 0}, "items must be"), ({"orders": 1}, "orders must be"), ({"score_by": "max"}, "score_by must be")],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        OrderSensitivity(**settings)
    with pytest.raises(ValueError, match="splits"):
        TASK.examples("train")
