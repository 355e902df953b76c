"""Prompt choice: shares of what the best template reaches."""

import pytest

from tests.prompting.models import system
from trivium.compare.comparison import Comparison
from trivium.compare.pooled import Pooled
from trivium.core.wording import Template, Wording
from trivium.evaluation.classification import Classification
from trivium.evaluation.prompt_choice import PromptChoice
from trivium.prompting._steps import WORDED, Changed

TASK = Classification(labels_kept=("weather", "music"), items=8)
CHOICE = PromptChoice(TASK)


def right_in(task, template):
    put = Changed(task, words=Wording(template))
    return [task.score(system(), example, put) for example in task.examples("test")]


def test_the_oracle_is_the_best_template_by_brute_force_and_is_its_own_share():
    def f1(seen):
        own = {f"e{n}": [one.vectors["own"]] for n, one in enumerate(seen)}
        reference = {f"e{n}": one.vectors["reference"] for n, one in enumerate(seen)}
        return Pooled("macro_f1", {"a": own}, reference, {e: e for e in reference}).summary("a").mean

    by_hand = [f1(right_in(TASK, template)) for template in TASK.templates]
    best, answers = CHOICE.oracle(system(), "test")
    assert by_hand[best] == pytest.approx(max(by_hand))
    assert best == by_hand.index(max(by_hand))
    assert len(set(by_hand)) > 1
    seen = right_in(CHOICE, TASK.templates[best])
    assert [one.values["lost"] for one in seen] == [0.0] * 8
    assert [int(one.vectors["own"][0]) for one in seen] == answers
    assert all(one.vectors["own"] == one.vectors["reference"] for one in seen)


def test_what_is_lost_is_the_difference_to_it():
    worst = Template("{text}", words=(("weather", "qzxv"),))
    seen = right_in(CHOICE, worst)
    _, answers = CHOICE.oracle(system(), "test")
    for one, example, best in zip(seen, CHOICE.examples("test"), answers, strict=True):
        right = ("weather", "music").index(example.fields["label"])
        assert one.values["lost"] == float(best == right) - one.values["accuracy"]
    assert all(hasattr(CHOICE, name) for name in WORDED)


def test_a_comparison_of_prompting_by_it(tmp_path):
    report = Comparison(
        "prompting",
        ["plain", "mutual_information(pool=4)", "cbm(pool=4)"],
        system=system(),
        task=CHOICE,
        budget="400 evaluations",
        seeds=1,
    ).run(tmp_path / "run")
    for name in ("plain", "mutual_information", "cbm"):
        row = next(one for one in report.data["contenders"] if one["name"].startswith(name))
        assert row["measures"]["scaled_f1"]["mean"] >= 0
        assert row["measures"]["scaled_accuracy"]["mean"] == pytest.approx(
            row["measures"]["accuracy"]["mean"]
            / (row["measures"]["accuracy"]["mean"] + row["measures"]["lost"]["mean"])
        )
