"""Prompt selection: the template that each score chooses, on weights that are known."""

from typing import get_args

import pytest
import torch

from tests.prompting.known import Known, logs
from tests.prompting.models import Questions, Worded, system
from trivium.core.errors import NotOffered
from trivium.prompting.mutual_information import MutualInformation, Score, perplexities

UNSURE = logs((0.5, 0.5), (0.5, 0.5), (0.5, 0.5), (0.5, 0.5))
BIASED = logs((0.97, 0.03), (0.97, 0.03), (0.97, 0.03), (0.97, 0.03))
VARIED = logs((0.9, 0.1), (0.1, 0.9), (0.9, 0.1), (0.1, 0.9))
LEANING = logs((0.9, 0.1), (0.6, 0.4), (0.9, 0.1), (0.6, 0.4))
TABLES = [UNSURE, BIASED, VARIED]


def run(task, **settings):
    return MutualInformation(**settings)(task, system(), generator=torch.Generator())


def chosen(tables, **settings):
    task = Known(tables)
    return task.templates.index(run(task, **settings).wording.form)


@pytest.mark.parametrize(
    ("score", "template"),
    [("mi", 2), ("mi_g", 2), ("ge", 2), ("ge_m", 0), ("le", 0), ("mdl_m", 1), ("zpm", 0), ("zmv", 0), ("zlp", 0)],
)
def test_the_template_of_each_score_by_hand(score, template):
    assert chosen(TABLES, score=score) == template


@pytest.mark.parametrize(("score", "templates"), [("mdl", [1, 1, 1, 1]), ("mi_l", [2] * 4), ("mi_gl", [2] * 4)])
def test_a_template_for_each_item(score, templates):
    task = Known(TABLES)
    put = run(task, score=score)
    asked = [put.ask(example).text for example in task.examples("test")]
    assert [int(text[0]) for text in asked] == templates
    mixed = Known([logs((0.99, 0.01), (0.6, 0.4)), logs((0.6, 0.4), (0.01, 0.99))])
    own = run(mixed, score="mdl")
    assert [own.ask(example).text for example in mixed.examples("test")] == ["0|0|", "1|1|"]


def test_calibration_brings_out_what_a_bias_hides():
    """LEANING says yes throughout, but less so where the answer is no; its calibrated answers vary."""
    assert chosen([UNSURE, LEANING], score="ge") == 0  # neither ever says no: the first
    assert chosen([UNSURE, LEANING], score="ge", choose_by="cbm") == 1
    task = Known([UNSURE, LEANING])
    answers = {}
    for mode, (choose, answer) in {
        "X": ("none",) * 2,
        "A": ("none", "cbm"),
        "P": ("cbm", "none"),
        "PA": ("cbm",) * 2,
    }.items():
        put = run(task, choose_by=choose, answer_by=answer)
        assert put.wording.form is task.templates[1]
        weights = put.weigh_all(system(), [put.ask(example) for example in task.examples("test")])
        answers[mode] = [one.index(max(one)) for one in weights]
    assert answers == {"X": [0] * 4, "P": [0] * 4, "A": [0, 1, 0, 1], "PA": [0, 1, 0, 1]}


def test_other_calibrations_and_renormalisation():
    free = {"": logs((0.9, 0.1))[0], "N/A": logs((0.6, 0.4))[0], "[MASK]": logs((0.6, 0.4))[0]}
    task = Known([LEANING], free)
    pmi, contextual = (run(task, answer_by=kind) for kind in ("pmi_dc", "contextual"))
    (found,) = pmi.weigh_all(system(), [pmi.ask(task.examples("test")[1])])
    torch.testing.assert_close(torch.tensor(found).exp(), torch.tensor([0.6 / 0.9, 4.0]) / (0.6 / 0.9 + 4.0))
    (found,) = contextual.weigh_all(system(), [contextual.ask(task.examples("test")[1])])
    torch.testing.assert_close(
        torch.tensor(found).exp(), torch.tensor([0.6 / 0.7, 0.4 / 0.3]) / (0.6 / 0.7 + 0.4 / 0.3)
    )
    varied = logs((0.2, 0.8), (0.8, 0.2), (0.2, 0.8), (0.8, 0.2))
    assert chosen([LEANING, varied], choose_by="cbm", renormalise="softmax") == 1


def test_no_label_is_looked_at_and_the_pool_is_as_large_as_said():
    class Secret(Known):
        def read(self, example):
            found = super().read(example)

            class Blind:
                fields = found.fields

                @property
                def label(self):
                    raise AssertionError("a label was looked at")

            return Blind()

    task = Secret(TABLES)
    for score in get_args(Score)[:-2]:
        run(task, score=score, pool=2)
    task.asked.clear()
    run(task, pool=2)
    assert task.asked == [f"{t}|{x}|" for t in range(3) for x in range(2)]
    task.asked.clear()
    run(task, pool=None)
    assert len(task.asked) == 12


def test_perplexity_takes_the_lowest():
    task = Worded()
    put = run(task, score="ppl")
    by_hand = []
    for form in task.templates:
        each = []
        for example in task.examples("validation"):
            question = type(task.wording)(form, task.wording.exemplars).ask({"text": example.text}, task.labels)
            ids = system().prompt(question.text)
            with torch.no_grad():
                logp = system().model(ids).logits.double().log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
            each.append(float((-logp.mean()).exp()))
            assert float(perplexities(system(), [question])[0]) == pytest.approx(each[-1], rel=1e-4)
        by_hand.append(sum(each) / 2)
    assert put.wording.form is task.templates[by_hand.index(min(by_hand))]
    item = run(task, score="ppl_l").ask(task.examples("test")[0])
    asked = [
        type(task.wording)(form, task.wording.exemplars).ask({"text": "sky"}, task.labels) for form in task.templates
    ]
    costs = perplexities(system(), asked).tolist()
    assert item.text.endswith(task.templates[costs.index(min(costs))].ask({"text": "sky"}))


def test_bad_settings_and_tasks_are_refused():
    for settings, message in (
        ({"score": "best"}, "score must be one of mi, "),
        ({"choose_by": "guess"}, "choose_by must be one of none, cbm"),
        ({"answer_by": "guess"}, "answer_by must be one of none, cbm"),
        ({"renormalise": "sum"}, "renormalise must be 'mean' or 'softmax'"),
        ({"pool": 0}, "pool must be at least 1 item"),
        ({"score": "mdl", "answer_by": "cbm"}, "mdl chooses a template for each item"),
    ):
        with pytest.raises(ValueError, match=message):
            MutualInformation(**settings)
    with pytest.raises(NotOffered, match="this task has no labels"):
        run(Questions())
    broken = Known([logs((0.5, 0.5)), [[float("nan"), 0.0]]])
    with pytest.raises(ValueError, match="answer 0 under prompt 1 for item 0 is not finite"):
        run(broken)
