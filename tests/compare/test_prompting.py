"""A comparison of prompting: filled once per seed, scored per example, its budget for what it finds out."""

import json
from dataclasses import dataclass

import pytest
import torch

from tests.prompting.models import system
from trivium.compare.comparison import Comparison
from trivium.core.nouns import Example
from trivium.evaluation.order_sensitivity import OrderSensitivity
from trivium.prompting._steps import Changed


@dataclass(frozen=True)
class Few(OrderSensitivity):
    """Two short questions."""

    long: bool = False

    def examples(self, split: str):
        words = ("sky", "rose" * (240 if self.long else 1))
        return [Example(f"{split}-{n}", "red?", fields={"question": "red?", "options": words, "answer": n})
                for n in range(2)]  # fmt: skip


@dataclass(frozen=True)
class Searches:
    """Passes the model so many times, once for all examples, and draws a number."""

    passes: int = 3

    def __call__(self, task, system, *, generator):
        for _ in range(self.passes):
            system.model(torch.tensor([[256, 65]]))
        shift = float(torch.rand((), generator=generator))
        return Changed(task, weighs=lambda system, question, plan: [shift, 0.5])


def records(folder):
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def test_end_to_end(tmp_path):
    report = Comparison("prompting", ["plain", "set_based"], system=system(), task=Few(), seeds=2).run(tmp_path / "run")
    sets, plain = report.contender("set_based"), report.contender("plain")
    assert sets["measures"]["changed"]["mean"] == sets["measures"]["spread"]["mean"] == 0.0
    assert plain["measures"]["spread"]["mean"] > 0.0
    assert sets["spent"]["calls"] == {"median": 2.0, "low": 2.0, "high": 2.0, "total": 4.0}  # a check per seed
    assert "calls" not in plain["spent"]
    assert report.data["once"] is True
    assert report.page.is_file()


def test_what_is_found_serves_all_examples_of_a_seed(tmp_path):
    Comparison("prompting", [Searches()], system=system(), task=Few(), seeds=2).run(tmp_path / "run")
    found = [one for one in records(tmp_path / "run") if one["contender"].startswith("Searches")]
    assert len(found) == 4
    assert {one["spent"]["calls"] for one in found} == {3}
    assert all(one["drew"] for one in found)


def test_the_budget_is_for_finding(tmp_path):
    report = Comparison(
        "prompting", ["plain", Searches(5)], system=system(), task=Few(), budget="4 evaluations", seeds=1
    ).run(tmp_path / "run")
    failed = report.contender("Searches")["failed"]
    assert [(one["type"], one["count"]) for one in failed] == [("BudgetExceeded", 2)]
    assert report.contender("plain")["measures"]  # whose answers cost more than that


def test_tasks_that_ask_nothing_and_questions_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match="needs a task that asks questions"):
        Comparison("prompting", ["plain"], system=system(), task="continuation").run(tmp_path / "a")
    with pytest.raises(ValueError, match=r"example 'test-0': a prompt of .* drop the example"):
        Comparison("prompting", ["plain"], system=system(), task=Few(long=True)).run(tmp_path / "b")


def test_a_model_without_trees_is_not_applicable(tmp_path):
    report = Comparison("prompting", ["set_based"], system=system("mamba"), task=Few(), seeds=1).run(tmp_path / "run")
    assert report.contender("set_based")["note"].startswith("not applicable, needs")
    assert report.contender("plain")["measures"]
